package cli

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"dunlin/internal/api/admin"
)

// blobError is what the blob surface has refused.
type blobError struct {
	Status  int    `xml:"-"`
	Code    string `xml:"Code"`
	Message string `xml:"Message"`
}

func (e *blobError) Error() string {
	text, _, _ := strings.Cut(e.Message, "\n")
	if text == "" {
		return fmt.Sprintf("%s (%d)", e.Code, e.Status)
	}
	return fmt.Sprintf("%s (%s)", strings.TrimSuffix(text, "."), e.Code)
}

// blobCode reports whether an error is one with a code.
func blobCode(err error, code string) bool {
	e, ok := errors.AsType[*blobError](err)
	return ok && e.Code == code
}

// access gives the address of a container or, with a name, of a file, with a
// signature. An empty container is that of the files of devices.
func (c *client) access(ctx context.Context, container, name, permissions string, life time.Duration) (string, error) {
	var out admin.FileAddress
	err := c.admin(ctx, http.MethodPost, "/api/files/access", admin.FileAccess{Container: container, Name: name, Permissions: permissions, Seconds: life.Seconds()}, &out)
	return out.URI, err
}

// blob calls the blob surface with an address and its signature, as any client
// of it does, and gives the answer of a success, its body open. A size below
// 0 is not known.
func (c *client) blob(ctx context.Context, method, uri string, header map[string]string, body io.Reader, size int64) (*http.Response, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return nil, err
	}
	// The instance may be reached in another way than it tells others.
	req, err := http.NewRequestWithContext(ctx, method, c.base+u.EscapedPath()+"?"+u.RawQuery, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		if req.ContentLength = size; size == 0 {
			req.Body = http.NoBody
		}
	}
	req.Header.Set("x-ms-version", "2021-12-02")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explainDial(c.base, err)
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &blobError{Status: resp.StatusCode, Code: resp.Header.Get("x-ms-error-code")}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // a cut error is shown as far as it came
	_ = xml.Unmarshal(b, e)                              // the code is in the header, too
	return nil, e
}

// storedFile is a file as it is listed.
type storedFile struct {
	Name       string `xml:"Name" json:"name"`
	Properties struct {
		Created  string `xml:"Creation-Time"`
		Modified string `xml:"Last-Modified"`
		ETag     string `xml:"Etag"`
		Size     int64  `xml:"Content-Length"`
		Type     string `xml:"Content-Type"`
		MD5      string `xml:"Content-MD5"`
	} `xml:"Properties"`
}

// eachFile lists the files whose names begin with a prefix.
func (c *client) eachFile(ctx context.Context, container, prefix string, each func(*storedFile) error) error {
	const life = time.Hour
	uri, err := c.access(ctx, container, "", "l", life)
	if err != nil {
		return err
	}
	for marker := ""; ; {
		q := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {prefix}, "marker": {marker}}
		resp, err := c.blob(ctx, http.MethodGet, uri+"&"+q.Encode(), nil, nil, 0)
		if err != nil {
			return err
		}
		var page struct {
			Files []storedFile `xml:"Blobs>Blob"`
			Next  string       `xml:"NextMarker"`
		}
		err = xml.NewDecoder(resp.Body).Decode(&page)
		resp.Body.Close()
		if err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		for i := range page.Files {
			if err := each(&page.Files[i]); err != nil {
				return err
			}
		}
		if marker = page.Next; marker == "" {
			return nil
		}
	}
}
