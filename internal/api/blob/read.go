package blob

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/blob"
)

// show writes what is known of a blob.
func (c *call) show(p *blob.Properties) {
	h := c.w.Header()
	h["ETag"] = []string{`"` + p.ETag + `"`}
	h.Set("Last-Modified", p.Modified.UTC().Format(http.TimeFormat))
	h.Set("x-ms-creation-time", p.Created.UTC().Format(http.TimeFormat))
	h.Set("x-ms-blob-type", "BlockBlob")
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("x-ms-server-encrypted", "false")
	h.Set("Accept-Ranges", "bytes")
	b, over := &p.Headers, &c.claim.Headers
	for name, values := range map[string][2]string{
		"Content-Type": {over.Type, b.ContentType}, "Content-Encoding": {over.Encoding, b.ContentEncoding}, "Content-Language": {over.Language, b.ContentLanguage},
		"Content-Disposition": {over.Disposition, b.ContentDisposition}, "Cache-Control": {over.CacheControl, b.CacheControl},
	} {
		if v := values[0] + values[1]; values[0] != "" {
			h.Set(name, values[0])
		} else if v != "" {
			h.Set(name, v)
		}
	}
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	for name, value := range p.Metadata {
		h.Set("x-ms-meta-"+name, value)
	}
}

// usable looks at the conditions of a reader.
func (c *call) usable(p *blob.Properties) error {
	k, err := c.conditions()
	if err != nil {
		return err
	}
	failed, unchanged := k.fails(p)
	if failed {
		return blob.ErrCondition
	}
	if unchanged {
		c.w.Header()["ETag"] = []string{`"` + p.ETag + `"`}
		return errorf(http.StatusNotModified, "ConditionNotMet", "The blob has not changed.")
	}
	return nil
}

func md5Text(p *blob.Properties) string { return base64.StdEncoding.EncodeToString(p.Headers.MD5) }

// getProperties answers HEAD /{container}/{blob}, and comp=metadata.
func getProperties(c *call) error {
	p, err := c.deps.Store.Head(c.r.Context(), c.ref)
	if err == nil {
		err = c.usable(&p)
	}
	if err != nil {
		return err
	}
	c.show(&p)
	h := c.w.Header()
	if c.r.Method == http.MethodHead {
		h.Set("Content-Length", strconv.FormatInt(p.Size, 10))
	}
	if p.Headers.MD5 != nil {
		h.Set("Content-MD5", md5Text(&p))
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// span is a range of bytes that is asked for.
type span struct {
	offset, length int64 // a negative length: to the end
	set            bool
}

// span reads x-ms-range or Range: bytes=FIRST-[LAST].
func (c *call) span() (s span, err error) {
	name := "x-ms-range"
	text := c.r.Header.Get(name)
	if text == "" {
		name = "Range"
		text = c.r.Header.Get(name)
	}
	if text == "" {
		return span{length: -1}, nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	bad := badHeader(name, text, "it is bytes=FIRST- or bytes=FIRST-LAST")
	if !ok || !strings.HasPrefix(text, "bytes=") {
		return s, bad
	}
	if s.offset, err = strconv.ParseInt(first, 10, 64); err != nil || s.offset < 0 {
		return s, bad
	}
	s.set, s.length = true, -1
	if last == "" {
		return s, nil
	}
	end, err := strconv.ParseInt(last, 10, 64)
	if err != nil || end < s.offset {
		return s, bad
	}
	s.length = end - s.offset + 1
	return s, nil
}

// getBlob answers GET /{container}/{blob}.
func getBlob(c *call) error {
	s, err := c.span()
	if err != nil {
		return err
	}
	p, content, err := c.deps.Store.Open(c.r.Context(), c.ref, s.offset, s.length)
	if err != nil {
		return err
	}
	defer content.Close()
	if err := c.usable(&p); err != nil {
		return err
	}
	h := c.w.Header()
	if s.set && s.offset >= p.Size {
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(p.Size, 10))
		return errorf(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The range specified is invalid for the current size of the resource, %d bytes.", p.Size)
	}
	c.show(&p)
	length, status := p.Size-s.offset, http.StatusOK
	if s.length >= 0 {
		length = min(length, s.length)
	}
	if s.set {
		status = http.StatusPartialContent
		h.Set("Content-Range", "bytes "+strconv.FormatInt(s.offset, 10)+"-"+strconv.FormatInt(s.offset+length-1, 10)+"/"+strconv.FormatInt(p.Size, 10))
	}
	if p.Headers.MD5 != nil {
		if s.set {
			h.Set("x-ms-blob-content-md5", md5Text(&p))
		} else {
			h.Set("Content-MD5", md5Text(&p))
		}
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	c.w.WriteHeader(status)
	return c.send(content)
}

// buffers are for bytes on their way to readers.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// stall is how long a reader may take no bytes at all.
const stall = time.Minute

// send copies the content to a reader who takes it.
func (c *call) send(content io.Reader) error {
	rc := http.NewResponseController(c.w)
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	for {
		n, err := content.Read(*b)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(stall)) // tests have no deadlines
			if _, err := c.w.Write((*b)[:n]); err != nil {
				return nil // the reader has gone
			}
		}
		if errors.Is(err, io.EOF) {
			_ = rc.SetWriteDeadline(time.Time{})
			return nil
		}
		if err != nil {
			c.deps.Logger.Error("a blob could not be read to its end", slog.String("path", c.r.URL.Path), slog.Any("error", err))
			panic(http.ErrAbortHandler) // the reader must not take a part for the whole
		}
	}
}

// getBlockList answers GET /{container}/{blob}?comp=blocklist.
func getBlockList(c *call) error {
	p, committed, staged, err := c.deps.Store.Blocks(c.r.Context(), c.ref)
	if err != nil {
		return err
	}
	kind := c.query.Get("blocklisttype")
	switch strings.ToLower(kind) {
	case "", "committed":
		staged = nil
	case "uncommitted":
		committed = nil
	case "all":
	default:
		return badParameter("blocklisttype", kind, "it is committed, uncommitted or all")
	}
	var b strings.Builder
	b.WriteString(xml.Header + "<BlockList>")
	for _, part := range []struct {
		name string
		list []blob.Block
		want bool
	}{{"CommittedBlocks", committed, !strings.EqualFold(kind, "uncommitted")}, {"UncommittedBlocks", staged, kind != "" && !strings.EqualFold(kind, "committed")}} {
		if !part.want {
			continue
		}
		b.WriteString("<" + part.name + ">")
		for _, one := range part.list {
			b.WriteString("<Block>")
			element(&b, "Name", base64.StdEncoding.EncodeToString([]byte(one.ID)))
			element(&b, "Size", strconv.FormatInt(one.Size, 10))
			b.WriteString("</Block>")
		}
		b.WriteString("</" + part.name + ">")
	}
	b.WriteString("</BlockList>")
	h := c.w.Header()
	if p.ETag != "" {
		h["ETag"] = []string{`"` + p.ETag + `"`}
		h.Set("Last-Modified", p.Modified.UTC().Format(http.TimeFormat))
		h.Set("x-ms-blob-content-length", strconv.FormatInt(p.Size, 10))
	}
	c.replyXML(&b)
	return nil
}

func (c *call) replyXML(b *strings.Builder) {
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.WriteHeader(http.StatusOK)
	io.WriteString(c.w, b.String()) //nolint:errcheck // the caller has gone
}
