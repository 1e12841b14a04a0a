// Package blob is the part of the public blob interface that its clients need
// to upload, read, list and delete block blobs: what the device SDKs do with
// the address that the hub gives them for a file. Whoever calls must show a
// service SAS in the address; there is no other way in.
package blob

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/trust/grant"
	"dunlin/internal/wire/blobsas"
)

// Deps is what the surface needs.
type Deps struct {
	Store  blob.Store
	Grants *grant.Room
	// MaxBlob is the largest blob in bytes.
	MaxBlob int64
	Logger  *slog.Logger
}

// New gives the handler of the surface.
func New(d Deps) http.Handler { return &server{d} }

type server struct{ deps Deps }

// Wanted reports whether a request is one for this surface, which shares its
// host and port with the hub: it shows a signature in its address, as nothing
// else does, or is at least of a client of the blob interface, which names the
// version of that in a header. What it finds wrong is then told in the form
// that such a client reads.
func Wanted(r *http.Request) bool {
	if r.Header.Get("x-ms-version") != "" {
		return true
	}
	q := r.URL.RawQuery
	return q != "" && parameter(q, "sig=") && parameter(q, "sv=")
}

func parameter(query, name string) bool {
	return strings.HasPrefix(query, name) || strings.Contains(query, "&"+name)
}

// The version of the interface that is answered when a client names none.
const defaultVersion = "2021-12-02"

// call is one request on its way.
type call struct {
	*server
	w     http.ResponseWriter
	r     *http.Request
	ref   blob.Ref // without a name: the container
	query url.Values
	claim *blobsas.Claim
	body  *body
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	id := requestID()
	h.Set("x-ms-request-id", id)
	h.Set("x-ms-version", defaultVersion)
	if v := r.Header.Get("x-ms-version"); v != "" {
		if _, err := time.Parse(time.DateOnly, v); err == nil {
			h.Set("x-ms-version", v)
		}
	}
	if v := r.Header.Get("x-ms-client-request-id"); v != "" && len(v) <= 1024 {
		h.Set("x-ms-client-request-id", v)
	}
	// Devices write what is read here, on the host of the console.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	c := &call{server: s, w: w, r: r, body: &body{r: r.Body}}
	if err := c.serve(); err != nil {
		c.fail(err, id)
	}
}

func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	t := hex.EncodeToString(b[:])
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

func (c *call) serve() error {
	var err error
	if c.ref, err = address(c.r.URL.EscapedPath()); err != nil {
		return err
	}
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return errorf(http.StatusBadRequest, "InvalidUri", "the query of the address is not valid: %v", err)
	}
	if !c.query.Has("sig") {
		return errorf(http.StatusForbidden, "AuthenticationFailed", "the address has no signature: only a shared access signature (sv, sr, sp, se, sig) opens a blob here; the hub gives it to a device for its upload, and dunlin file sas makes one")
	}
	if c.claim, err = c.deps.Grants.Check(c.query, c.ref, remote(c.r), c.r.TLS != nil, time.Now()); err != nil {
		return err
	}
	op, err := c.operation()
	if err != nil {
		return err
	}
	if c.claim.Permissions&op.need == 0 {
		return errorf(http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission: it needs %s, and the signature grants %s", alternatives(op.need), c.claim.Permissions)
	}
	return op.run(c)
}

// alternatives names permissions of which one is enough.
func alternatives(p blobsas.Permission) string {
	return strings.Join(strings.Split(p.String(), ""), " or ")
}

// address takes a path apart. It is decoded once and only once.
func address(path string) (ref blob.Ref, err error) {
	container, name, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if ref.Container, err = url.PathUnescape(container); err == nil {
		ref.Name, err = url.PathUnescape(name)
	}
	switch {
	case err != nil:
		return ref, errorf(http.StatusBadRequest, "InvalidUri", "the path is not valid: %v", err)
	case !blob.ValidContainer(ref.Container):
		return ref, errorf(http.StatusBadRequest, "InvalidResourceName", "'%.80s' is no name of a container: 3 to 63 of a-z, 0-9 and single hyphens between them", strings.ToValidUTF8(ref.Container, "?"))
	case ref.Name != "" && !blob.ValidName(ref.Name):
		return ref, errorf(http.StatusBadRequest, "InvalidUri", "the name of the blob is not valid: at most %d characters of UTF-8 without control characters, in at most %d parts between slashes", blob.MaxName, blob.MaxSegments)
	}
	return ref, nil
}

func remote(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{} // there is no network
	}
	return a.Addr()
}

// operation is what can be done; a signature must grant one of need.
type operation struct {
	need blobsas.Permission
	run  func(c *call) error
}

// Operations on a blob, by method and the parameter comp.
var blobOperations = map[string]operation{
	"PUT ":           {blobsas.Write | blobsas.Create, putBlob},
	"PUT block":      {blobsas.Write | blobsas.Create, putBlock},
	"PUT blocklist":  {blobsas.Write | blobsas.Create, putBlockList},
	"PUT metadata":   {blobsas.Write, setMetadata},
	"PUT properties": {blobsas.Write, setProperties},
	"GET ":           {blobsas.Read, getBlob},
	"GET metadata":   {blobsas.Read, getProperties},
	"GET blocklist":  {blobsas.Read, getBlockList},
	"HEAD ":          {blobsas.Read, getProperties},
	"HEAD metadata":  {blobsas.Read, getProperties},
	"DELETE ":        {blobsas.Delete, deleteBlob},
}

// operation finds what is asked for.
func (c *call) operation() (operation, error) {
	comp := c.query.Get("comp")
	if c.ref.Name == "" {
		if c.r.Method == http.MethodGet && c.query.Get("restype") == "container" && comp == "list" {
			return operation{blobsas.List, listBlobs}, nil
		}
		return operation{}, errorf(http.StatusForbidden, "AuthorizationResourceTypeMismatch", "a signature opens no more of a container than its blobs and their list (GET, restype=container, comp=list)")
	}
	op, ok := blobOperations[c.r.Method+" "+comp]
	if !ok {
		if _, plain := blobOperations[c.r.Method+" "]; plain {
			return op, errorf(http.StatusBadRequest, "UnsupportedQueryParameter", "%s with comp=%.40s is not offered here: blobs are block blobs without snapshots, leases, tiers and tags", c.r.Method, comp)
		}
		return op, errorf(http.StatusMethodNotAllowed, "UnsupportedHttpVerb", "%.20s is not possible with a blob, but DELETE, GET, HEAD and PUT", c.r.Method)
	}
	for _, p := range [...]string{"snapshot", "versionid"} {
		if c.query.Has(p) {
			return op, errorf(http.StatusBadRequest, "UnsupportedQueryParameter", "blobs have no snapshots and versions here: leave out %s", p)
		}
	}
	for _, h := range [...]string{"x-ms-copy-source", "x-ms-lease-id", "x-ms-encryption-key", "x-ms-if-tags"} {
		if c.r.Header.Get(h) != "" {
			return op, errorf(http.StatusBadRequest, "UnsupportedHeader", "%s is not offered here", h)
		}
	}
	return op, nil
}

// body remembers why it could not be read, which is not for the server to
// explain.
type body struct {
	r    io.Reader
	err  error
	read bool
}

func (b *body) Read(p []byte) (int, error) {
	b.read = true
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		b.err = fmt.Errorf("read the request: %w", err)
		return n, b.err
	}
	return n, err
}
