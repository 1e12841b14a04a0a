package blob

import (
	"crypto/md5" //nolint:gosec // what the interface asks for, not for secrecy
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
)

// maxMetadata bounds the names and values of the metadata of a blob, in bytes.
const maxMetadata = 8 << 10

const metaPrefix = "X-Ms-Meta-"

// metadata reads x-ms-meta-NAME. Names become lower case, as HTTP does not
// keep it.
func (c *call) metadata() (map[string]string, error) {
	m := map[string]string{}
	size := 0
	for name, values := range c.r.Header {
		name, ok := strings.CutPrefix(name, metaPrefix)
		if !ok {
			continue
		}
		name = strings.ToLower(name)
		if !validMetadata(name) {
			return nil, errorf(http.StatusBadRequest, "InvalidMetadata", "The metadata name '%s' is not valid: letters, digits and _, and no digit first.", clip(name))
		}
		m[name] = strings.Join(values, ",")
		size += len(name) + len(m[name])
	}
	if size > maxMetadata {
		return nil, errorf(http.StatusBadRequest, "MetadataTooLarge", "The metadata has %d bytes, the limit is %d.", size, maxMetadata)
	}
	return m, nil
}

func validMetadata(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c == '_', c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return name != ""
}

// contentHeaders reads x-ms-blob-content-type and the like.
func (c *call) contentHeaders() (blob.Headers, error) {
	get := c.r.Header.Get
	h := blob.Headers{
		ContentType: get("x-ms-blob-content-type"), ContentEncoding: get("x-ms-blob-content-encoding"), ContentLanguage: get("x-ms-blob-content-language"),
		ContentDisposition: get("x-ms-blob-content-disposition"), CacheControl: get("x-ms-blob-cache-control"),
	}
	var err error
	h.MD5, err = digest(c.r.Header, "x-ms-blob-content-md5", md5.Size)
	return h, err
}

// digest reads a checksum in base64; nil when there is none.
func digest(h http.Header, name string, size int) ([]byte, error) {
	text := h.Get(name)
	if text == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != size {
		return nil, errorf(http.StatusBadRequest, "InvalidMd5", "%s is not the base64 text of %d bytes.", name, size)
	}
	return b, nil
}

// crcTable is that of x-ms-content-crc64.
var crcTable = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// checked gives the body of the request, which ends in an error unless it has
// the checksums that its headers promise. whole, when set, is another MD5 that
// it must have.
func (c *call) checked(whole []byte) (io.Reader, error) {
	sum, err := digest(c.r.Header, "Content-MD5", md5.Size)
	if err != nil {
		return nil, err
	}
	crc, err := digest(c.r.Header, "x-ms-content-crc64", crc64.Size)
	if err != nil {
		return nil, err
	}
	r := &checkedReader{r: c.body}
	if sum != nil || whole != nil {
		r.md5, r.sums = md5.New(), [][]byte{sum, whole} //nolint:gosec // see above
	}
	if crc != nil {
		r.crc, r.crcSum = crc64.New(crcTable), binary.LittleEndian.Uint64(crc)
	}
	if r.md5 == nil && r.crc == nil {
		return c.body, nil
	}
	return r, nil
}

type checkedReader struct {
	r      io.Reader
	md5    hash.Hash
	sums   [][]byte
	crc    hash.Hash64
	crcSum uint64
}

func (r *checkedReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.md5 != nil {
		r.md5.Write(p[:n])
	}
	if r.crc != nil {
		r.crc.Write(p[:n])
	}
	if err == io.EOF { // the very end
		if bad := r.check(); bad != nil {
			return n, bad
		}
	}
	return n, err
}

func (r *checkedReader) check() error {
	for _, want := range r.sums {
		if want != nil && string(want) != string(r.md5.Sum(nil)) {
			e := errorf(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request did not match with the MD5 value calculated by the server.")
			e.detail = [][2]string{{"UserSpecifiedMd5", base64.StdEncoding.EncodeToString(want)}, {"ServerCalculatedMd5", base64.StdEncoding.EncodeToString(r.md5.Sum(nil))}}
			return e
		}
	}
	if r.crc != nil && r.crc.Sum64() != r.crcSum {
		return errorf(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.")
	}
	return nil
}

// conditions are the conditional headers of a request.
type conditions struct {
	blob.Condition
	modified, unmodified time.Time
}

func (c *call) conditions() (k conditions, err error) {
	if k.IfMatch, err = oneTag(c.r.Header, "If-Match"); err != nil {
		return k, err
	}
	if k.IfNoneMatch, err = oneTag(c.r.Header, "If-None-Match"); err != nil {
		return k, err
	}
	for name, at := range map[string]*time.Time{"If-Modified-Since": &k.modified, "If-Unmodified-Since": &k.unmodified} {
		if text := c.r.Header.Get(name); text != "" {
			if *at, err = http.ParseTime(text); err != nil {
				return k, badHeader(name, text, "it is a date such as Sun, 06 Nov 1994 08:49:37 GMT")
			}
		}
	}
	return k, nil
}

// oneTag reads an ETag or *, with or without quotes.
func oneTag(h http.Header, name string) (string, error) {
	text := strings.TrimSpace(h.Get(name))
	tag := strings.TrimPrefix(text, "W/")
	if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
		tag = tag[1 : len(tag)-1]
	}
	if strings.ContainsAny(tag, `",`) {
		return "", badHeader(name, text, "it is one ETag or *")
	}
	return tag, nil
}

// fails reports whether the blob must not be used as it is; a blob that has
// not changed since is one that a reader has.
func (k *conditions) fails(p *blob.Properties) (failed, unchanged bool) {
	at := p.Modified.Truncate(time.Second)
	match := blob.Condition{IfMatch: k.IfMatch}
	if match.Check(p.ETag) != nil || !k.unmodified.IsZero() && at.After(k.unmodified) {
		return true, false
	}
	if k.IfNoneMatch != "" {
		return false, k.Check(p.ETag) != nil
	}
	return false, !k.modified.IsZero() && !at.After(k.modified)
}

// forWrite gives the condition of a write: times are looked at now, and then
// the blob must stay as it was.
func (c *call) forWrite() (blob.Condition, error) {
	k, err := c.conditions()
	if err != nil || k.modified.IsZero() && k.unmodified.IsZero() {
		return k.Condition, err
	}
	p, err := c.deps.Store.Head(c.r.Context(), c.ref)
	switch {
	case notThere(err):
		k.IfNoneMatch = "*"
		return k.Condition, nil
	case err != nil:
		return k.Condition, err
	}
	if failed, unchanged := k.fails(&p); failed || unchanged {
		return k.Condition, blob.ErrCondition
	}
	k.IfMatch = p.ETag
	return k.Condition, nil
}
