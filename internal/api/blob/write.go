package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"net/http"

	"dunlin/internal/engine/blob"
	"dunlin/internal/wire/blobsas"
)

func notThere(err error) bool { return errors.Is(err, blob.ErrNotFound) }

// options reads what goes with a write of a whole blob.
func (c *call) options() (o blob.WriteOptions, err error) {
	o.Limit = c.deps.MaxBlob
	if o.Headers, err = c.contentHeaders(); err != nil {
		return o, err
	}
	if o.Metadata, err = c.metadata(); err != nil {
		return o, err
	}
	if o.Condition, err = c.forWrite(); err != nil {
		return o, err
	}
	if c.mayOnlyCreate() {
		o.Condition.IfNoneMatch = "*"
	}
	return o, nil
}

// mayOnlyCreate reports whether the signature lets its bearer make blobs and
// not write over them.
func (c *call) mayOnlyCreate() bool { return c.claim.Permissions&blobsas.Write == 0 }

// notMade explains a condition on there being no blob.
func (c *call) notMade(err error) error {
	if !errors.Is(err, blob.ErrCondition) {
		return err
	}
	if c.mayOnlyCreate() {
		return errorf(http.StatusForbidden, "UnauthorizedBlobOverwrite", "This request is not authorized to perform blob overwrites: the signature grants c, and writing over a blob needs w.")
	}
	if tag, _ := oneTag(c.r.Header, "If-None-Match"); tag == "*" {
		return errorf(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists.")
	}
	return err
}

// written answers a write.
func (c *call) written(status int, p *blob.Properties) {
	h := c.w.Header()
	h["ETag"] = []string{`"` + p.ETag + `"`}
	h.Set("Last-Modified", p.Modified.UTC().Format(http.TimeFormat))
	h.Set("x-ms-request-server-encrypted", "false")
	c.w.WriteHeader(status)
}

// putBlob answers PUT /{container}/{blob}.
func putBlob(c *call) error {
	switch kind := c.r.Header.Get("x-ms-blob-type"); kind {
	case "BlockBlob":
	case "":
		e := errorf(http.StatusBadRequest, "MissingRequiredHeader", "An HTTP header that's mandatory for this request is not specified: x-ms-blob-type, which is BlockBlob.")
		e.detail = [][2]string{{"HeaderName", "x-ms-blob-type"}}
		return e
	default:
		return badHeader("x-ms-blob-type", kind, "only BlockBlob is offered here")
	}
	if c.r.ContentLength > c.deps.MaxBlob {
		return c.tooLarge()
	}
	o, err := c.options()
	if err != nil {
		return err
	}
	if o.Headers.ContentType == "" {
		o.Headers.ContentType = c.r.Header.Get("Content-Type")
	}
	r, err := c.checked(o.Headers.MD5)
	if err != nil {
		return err
	}
	p, err := c.deps.Store.Put(c.r.Context(), c.ref, r, o)
	if err != nil {
		return c.notMade(err)
	}
	c.w.Header().Set("Content-MD5", base64.StdEncoding.EncodeToString(p.Headers.MD5))
	c.written(http.StatusCreated, &p)
	return nil
}

// putBlock answers PUT /{container}/{blob}?comp=block&blockid={base64}.
func putBlock(c *call) error {
	id, err := blockID(c.query.Get("blockid"))
	if err != nil {
		return badParameter("blockid", c.query.Get("blockid"), "it is the base64 text of 1 to 64 bytes")
	}
	if c.r.ContentLength > c.deps.MaxBlob {
		return c.tooLarge()
	}
	if c.r.ContentLength == 0 {
		return badHeader("Content-Length", "0", "a block has at least one byte")
	}
	r, err := c.checked(nil)
	if err != nil {
		return err
	}
	if _, err := c.deps.Store.Stage(c.r.Context(), c.ref, id, r, c.deps.MaxBlob); err != nil {
		return err
	}
	h := c.w.Header()
	for _, name := range [...]string{"Content-MD5", "x-ms-content-crc64"} {
		if sum := c.r.Header.Get(name); sum != "" {
			h.Set(name, sum) // it was checked
		}
	}
	h.Set("x-ms-request-server-encrypted", "false")
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

func blockID(text string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 || len(b) > blob.MaxBlockID {
		return "", errorf(http.StatusBadRequest, "InvalidBlockId", "The specified block ID is invalid. The block ID must be the base64 text of 1 to %d bytes.", blob.MaxBlockID)
	}
	return string(b), nil
}

// maxBlockList bounds the text of a list of blocks, in bytes.
const maxBlockList = 8 << 20

// putBlockList answers PUT /{container}/{blob}?comp=blocklist.
func putBlockList(c *call) error {
	o, err := c.options()
	if err != nil {
		return err
	}
	r, err := c.checked(nil)
	if err != nil {
		return err
	}
	list, err := readBlockList(r)
	if err != nil {
		return err
	}
	p, err := c.deps.Store.Commit(c.r.Context(), c.ref, list, o)
	if err != nil {
		return c.notMade(err)
	}
	c.written(http.StatusCreated, &p)
	return nil
}

var sources = map[string]blob.BlockSource{"Latest": blob.Latest, "Uncommitted": blob.Staged, "Committed": blob.Committed}

// readBlockList reads <BlockList><Latest>id</Latest>...</BlockList>.
func readBlockList(r io.Reader) ([]blob.BlockRef, error) {
	limited := &io.LimitedReader{R: r, N: maxBlockList}
	d := xml.NewDecoder(limited)
	bad := func(text string) error {
		if limited.N <= 0 {
			return errorf(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "A list of blocks has at most %d bytes.", maxBlockList)
		}
		return errorf(http.StatusBadRequest, "InvalidXmlDocument", "XML specified is not syntactically valid: %s.", text)
	}
	var list []blob.BlockRef
	depth, from, id := 0, blob.Latest, ""
	rooted := false
	for {
		token, err := d.Token()
		if err == io.EOF { //nolint:errorlint // the very end
			break
		}
		if err != nil {
			var known *refusal
			var syntax *xml.SyntaxError
			if errors.As(err, &known) || !errors.As(err, &syntax) {
				return nil, err
			}
			return nil, bad(syntax.Msg)
		}
		switch t := token.(type) {
		case xml.StartElement:
			depth++
			source, ok := sources[t.Name.Local]
			switch {
			case depth == 1 && t.Name.Local == "BlockList" && !rooted:
				rooted = true
			case depth == 2 && ok:
				from, id = source, ""
			default:
				return nil, bad("it is <BlockList> with <Latest>, <Committed> and <Uncommitted>")
			}
		case xml.CharData:
			if depth == 2 {
				id += string(t)
			}
			if len(id) > 4*blob.MaxBlockID {
				return nil, bad("a block id is too long")
			}
		case xml.EndElement:
			if depth--; depth != 1 {
				continue
			}
			plain, err := blockID(id)
			if err != nil {
				return nil, err
			}
			if list = append(list, blob.BlockRef{ID: plain, From: from}); len(list) > blob.MaxBlocks {
				return nil, errorf(http.StatusBadRequest, "BlockListTooLong", "The block list may not contain more than %d blocks.", blob.MaxBlocks)
			}
			from, id = blob.Latest, ""
		}
	}
	if !rooted {
		return nil, bad("there is no <BlockList>")
	}
	// What stands behind the text belongs to its checksum.
	if _, err := io.Copy(io.Discard, limited); err != nil {
		return nil, err
	}
	return list, nil
}

// setMetadata answers PUT /{container}/{blob}?comp=metadata.
func setMetadata(c *call) error {
	m, err := c.metadata()
	if err != nil {
		return err
	}
	return c.update(nil, m)
}

// setProperties answers PUT /{container}/{blob}?comp=properties: what is not
// named is taken away.
func setProperties(c *call) error {
	h, err := c.contentHeaders()
	if err != nil {
		return err
	}
	return c.update(&h, nil)
}

func (c *call) update(h *blob.Headers, m map[string]string) error {
	k, err := c.forWrite()
	if err != nil {
		return err
	}
	p, err := c.deps.Store.Update(c.r.Context(), c.ref, h, m, k)
	if err != nil {
		return err
	}
	c.written(http.StatusOK, &p)
	return nil
}

// deleteBlob answers DELETE /{container}/{blob}.
func deleteBlob(c *call) error {
	k, err := c.forWrite()
	if err != nil {
		return err
	}
	if err := c.deps.Store.Delete(c.r.Context(), c.ref, k); err != nil {
		return err
	}
	c.w.Header().Set("x-ms-delete-type-permanent", "true")
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
