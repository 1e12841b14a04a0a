package blob

import (
	"encoding/base64"
	"encoding/xml"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"dunlin/internal/engine/blob"
)

// maxResults is the largest page of a list, and the usual one.
const maxResults = 5000

// listBlobs answers GET /{container}?restype=container&comp=list.
func listBlobs(c *call) error {
	o := blob.ListOptions{Prefix: c.query.Get("prefix"), Delimiter: c.query.Get("delimiter"), Max: maxResults}
	if text := c.query.Get("maxresults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			e := errorf(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "One of the query parameters specified in the request URI is outside the permissible range.")
			e.detail = [][2]string{{"QueryParameterName", "maxresults"}, {"QueryParameterValue", clip(text)}, {"MinimumAllowed", "1"}, {"MaximumAllowed", strconv.Itoa(maxResults)}}
			return e
		}
		o.Max = min(n, maxResults)
	}
	marker := c.query.Get("marker")
	if marker != "" {
		after, err := base64.RawURLEncoding.DecodeString(marker)
		if err != nil || !blob.ValidName(string(after)) {
			return badParameter("marker", marker, "it is the NextMarker of the page before")
		}
		o.After = string(after)
	}
	page, err := c.deps.Store.List(c.r.Context(), c.ref.Container, o)
	if err != nil {
		return err
	}
	metadata := slices.Contains(strings.Split(c.query.Get("include"), ","), "metadata")
	var b strings.Builder
	b.WriteString(xml.Header + `<EnumerationResults ServiceEndpoint="https://`)
	xml.EscapeText(&b, []byte(c.deps.Grants.HostFor(c.r.Host))) //nolint:errcheck // a Builder takes all
	b.WriteString(`/" ContainerName="` + c.ref.Container + `">`)
	for _, e := range [][2]string{{"Prefix", o.Prefix}, {"Marker", marker}, {"MaxResults", c.query.Get("maxresults")}, {"Delimiter", o.Delimiter}} {
		if e[1] != "" {
			element(&b, e[0], e[1])
		}
	}
	b.WriteString("<Blobs>")
	for i := range page.Entries {
		e := &page.Entries[i]
		if e.IsPrefix {
			b.WriteString("<BlobPrefix>")
			element(&b, "Name", e.Name)
			b.WriteString("</BlobPrefix>")
			continue
		}
		writeEntry(&b, e, metadata)
	}
	b.WriteString("</Blobs>")
	next := ""
	if page.Next != "" {
		next = base64.RawURLEncoding.EncodeToString([]byte(page.Next))
	}
	element(&b, "NextMarker", next)
	b.WriteString("</EnumerationResults>")
	c.replyXML(&b)
	return nil
}

func writeEntry(b *strings.Builder, e *blob.Entry, metadata bool) {
	b.WriteString("<Blob>")
	element(b, "Name", e.Name)
	b.WriteString("<Properties>")
	h := &e.Headers
	for _, p := range [...][2]string{
		{"Creation-Time", e.Created.UTC().Format(http.TimeFormat)},
		{"Last-Modified", e.Modified.UTC().Format(http.TimeFormat)},
		{"Etag", e.ETag},
		{"Content-Length", strconv.FormatInt(e.Size, 10)},
		{"Content-Type", h.ContentType},
		{"Content-Encoding", h.ContentEncoding},
		{"Content-Language", h.ContentLanguage},
		{"Content-MD5", md5Text(&e.Properties)},
		{"Cache-Control", h.CacheControl},
		{"Content-Disposition", h.ContentDisposition},
		{"BlobType", "BlockBlob"},
		{"LeaseStatus", "unlocked"},
		{"LeaseState", "available"},
		{"ServerEncrypted", "false"},
	} {
		element(b, p[0], p[1])
	}
	b.WriteString("</Properties>")
	if metadata {
		b.WriteString("<Metadata>")
		for _, name := range slices.Sorted(maps.Keys(e.Metadata)) {
			element(b, name, e.Metadata[name])
		}
		b.WriteString("</Metadata>")
	}
	b.WriteString("</Blob>")
}
