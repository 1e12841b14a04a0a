package blob

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"hash/crc64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/trust/grant"
	"dunlin/internal/wire/blobsas"
)

// site is a surface on a store of its own.
type site struct {
	t      *testing.T
	server *httptest.Server
	store  *dir.Store
	path   string
	grants *grant.Room
	logged *bytes.Buffer
}

const maxBlob = 1 << 20

func newSite(t *testing.T, c dir.Config) *site {
	t.Helper()
	s := &site{t: t, path: filepath.Join(t.TempDir(), "blobs"), logged: &bytes.Buffer{}}
	if c.Path = s.path; c.Reserve == 0 {
		c.Reserve = 1
	}
	var err error
	if s.store, err = dir.Open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	if err := s.store.MakeContainer(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	s.grants, err = grant.Open(t.Context(), grant.Deps{
		DB: statetest.SQLite(t), Account: "hub", Host: func() string { return "hub.example" }, Ours: func(string) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.server = httptest.NewTLSServer(New(Deps{Store: s.store, Grants: s.grants, MaxBlob: maxBlob, Logger: slog.New(slog.NewTextHandler(s.logged, nil))}))
	t.Cleanup(s.server.Close)
	return s
}

// sas gives a signature for a blob, or the container when it has no name.
func (s *site) sas(name, permissions string) string {
	p, ok := blobsas.ParsePermissions(permissions)
	if !ok {
		s.t.Fatal(permissions)
	}
	return s.grants.Sign(blobsas.Spec{Container: "box", Blob: name, Permissions: p, Expiry: time.Now().Add(time.Hour)})
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// send makes a call; path is written as it is, headers come as name and value
// in turn.
func (s *site) send(method, path, query string, body io.Reader, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.server.URL, body)
	if err != nil {
		s.t.Fatal(err)
	}
	req.URL.Opaque = "//" + req.URL.Host + path
	req.URL.RawQuery = query
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.server.Client().Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{s.t, resp.StatusCode, resp.Header, string(b)}
}

var errorShape = regexp.MustCompile(`^<\?xml version="1\.0" encoding="UTF-8"\?>\n<Error><Code>(\w+)</Code><Message>[^<]+&#xA;RequestId:[0-9a-f-]{36}&#xA;Time:[0-9T:.-]+Z</Message>`)

func (a answer) refused(what string, status int, code string, words ...string) {
	a.t.Helper()
	m := errorShape.FindStringSubmatch(a.body)
	if a.status != status || m == nil || m[1] != code || a.header.Get("x-ms-error-code") != code || a.header.Get("Content-Type") != "application/xml" || a.header.Get("x-ms-request-id") == "" {
		a.t.Errorf("%s: got %d %v %s, want %d %s", what, a.status, a.header, a.body, status, code)
	}
	var document struct{}
	if err := xml.Unmarshal([]byte(a.body), &document); err != nil {
		a.t.Errorf("%s: %v in %s", what, err, a.body)
	}
	for _, w := range words {
		if !strings.Contains(a.body, w) {
			a.t.Errorf("%s: the body does not say %q: %s", what, w, a.body)
		}
	}
}

func (a answer) ok(status int) answer {
	a.t.Helper()
	if a.status != status || a.header.Get("x-ms-request-id") == "" || a.header.Get("x-ms-version") == "" {
		a.t.Fatalf("got %d %v %s, want %d", a.status, a.header, a.body, status)
	}
	return a
}

func (s *site) put(path, name, text string) answer {
	s.t.Helper()
	return s.send("PUT", "/box/"+path, s.sas(name, "w"), strings.NewReader(text), "x-ms-blob-type", "BlockBlob")
}

func TestWanted(t *testing.T) {
	for path, want := range map[string]bool{
		"/box/a?sv=1&sig=2": true, "/box/a?comp=block&sig=2&sv=1": true, "/api/info?sv=1&sig=2": true, "/$iothub/websocket?sp=r&sv=1&sig=2": true,
		"/devices/d?api-version=2021-04-12": false, "/devices/d?xsv=1&xsig=2": false, "/devices/d?sig=1": false, "/devices/d": false, "/": false, "/$iothub/websocket?iothub-no-client-cert=true": false,
	} {
		if got := Wanted(httptest.NewRequestWithContext(t.Context(), "GET", path, nil)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "GET", "/box/a", nil)
	r.Header.Set("x-ms-version", "2021-12-02")
	if !Wanted(r) {
		t.Error("a client of blobs without a signature")
	}
}

// TestNames: a path is decoded once, and nothing in it means anything but the
// name of a blob.
func TestNames(t *testing.T) {
	s := newSite(t, dir.Config{})
	for path, name := range map[string]string{
		"a": "a", "..": "..", "../../etc/passwd": "../../etc/passwd", "%2e%2e/x": "../x", "a%2Fb": "a/b", "/x": "/x", "x//y": "x//y", "x/": "x/", ".": ".", "%2541": "%41", "a+b": "a+b", "a%20b": "a b",
		"%5C..%5Cx": `\..\x`, "%C3%BC": "ü", "A": "A",
	} {
		s.put(path, name, "text of "+name).ok(http.StatusCreated)
		if p, err := s.store.Head(t.Context(), blob.Ref{Container: "box", Name: name}); err != nil || p.Size != int64(8+len(name)) {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
		if got := s.send("GET", "/box/"+path, s.sas(name, "r"), nil).ok(http.StatusOK); got.body != "text of "+name {
			t.Errorf("%s: %q", path, got.body)
		}
	}
	for path, code := range map[string]string{
		"/box/%00": "InvalidUri", "/box/a%0Ab": "InvalidUri", "/box/%ff": "InvalidUri", "/box/" + strings.Repeat("x", 1025): "InvalidUri", "/box/" + strings.Repeat("x/", 254): "InvalidUri",
		"/": "InvalidResourceName", "/../box": "InvalidResourceName", "/Box/a": "InvalidResourceName", "/b%2Fx/a": "InvalidResourceName", "//a": "InvalidResourceName",
	} {
		s.send("GET", path, s.sas("", "r"), nil).refused(path, http.StatusBadRequest, code)
	}
}

// TestSignatures: who shows no signature, or one for something else, learns
// nothing of what there is.
func TestSignatures(t *testing.T) {
	s := newSite(t, dir.Config{})
	s.put("d1/a", "d1/a", "secret").ok(http.StatusCreated)
	sign := func(spec blobsas.Spec) string { return s.grants.Sign(spec) }
	later := time.Now().Add(time.Hour)
	for name, q := range map[string]string{
		"none":              "",
		"of another blob":   s.sas("d1/b", "rwd"),
		"of a container":    sign(blobsas.Spec{Container: "boy", Permissions: blobsas.Read, Expiry: later}),
		"expired":           sign(blobsas.Spec{Container: "box", Blob: "d1/a", Permissions: blobsas.Read, Expiry: time.Now().Add(-time.Second)}),
		"too early":         sign(blobsas.Spec{Container: "box", Blob: "d1/a", Permissions: blobsas.Read, Start: later, Expiry: later.Add(time.Hour)}),
		"more permissions":  strings.Replace(s.sas("d1/a", "r"), "sp=r", "sp=rwd", 1),
		"a longer life":     regexp.MustCompile(`se=20\d\d`).ReplaceAllString(s.sas("d1/a", "r"), "se=2099"),
		"blob to container": strings.Replace(s.sas("d1/a", "r"), "sr=b", "sr=c", 1),
		"twice":             s.sas("d1/a", "r") + "&" + s.sas("d1/a", "r"),
		"no sv":             strings.Replace(s.sas("d1/a", "r"), "sv=", "xv=", 1),
		"an account SAS":    s.sas("d1/a", "r") + "&ss=b&srt=o",
	} {
		for _, path := range []string{"/box/d1/a", "/box/none", "/none/a"} {
			for _, method := range []string{"GET", "PUT", "DELETE"} {
				if path != "/box/d1/a" && name == "of a container" {
					continue
				}
				s.send(method, path, q, nil, "x-ms-version", "2021-12-02").refused(name+" "+method+path, http.StatusForbidden, "AuthenticationFailed")
			}
		}
	}
	for _, tt := range []struct{ method, comp, permissions string }{
		{"PUT", "", "radl"},
		{"PUT", "&comp=block&blockid=AA==", "radl"},
		{"PUT", "&comp=blocklist", "radl"},
		{"PUT", "&comp=metadata", "racdl"},
		{"PUT", "&comp=properties", "racdl"},
		{"GET", "", "acwdl"},
		{"GET", "&comp=blocklist", "acwdl"},
		{"DELETE", "", "racwl"},
	} {
		s.send(tt.method, "/box/d1/a", s.sas("d1/a", tt.permissions)+tt.comp, nil).refused(tt.method+tt.comp, http.StatusForbidden, "AuthorizationPermissionMismatch", tt.permissions)
	}
	const list = "&restype=container&comp=list"
	s.send("GET", "/box", s.sas("", "racwd")+list, nil).refused("list", http.StatusForbidden, "AuthorizationPermissionMismatch")
	s.send("GET", "/box", s.sas("d1/a", "l")+list, nil).refused("list with the signature of a blob", http.StatusForbidden, "AuthenticationFailed")
	for _, method := range []string{"PUT", "DELETE", "GET", "POST"} {
		s.send(method, "/box", s.sas("", "racwdl")+"&restype=container", nil).refused(method, http.StatusForbidden, "AuthorizationResourceTypeMismatch")
	}
	if got := s.send("GET", "/box/d1/a", s.sas("d1/a", "r"), nil).ok(200); got.body != "secret" {
		t.Error(got.body)
	}
	head := s.send("HEAD", "/box/none", s.sas("none", "r"), nil)
	if head.status != http.StatusNotFound || head.header.Get("x-ms-error-code") != "BlobNotFound" || head.body != "" {
		t.Errorf("HEAD of nothing: %+v", head)
	}
}

// onlyReader hides the length of a body, so that it goes in chunks.
type onlyReader struct{ io.Reader }

func TestBodies(t *testing.T) {
	s := newSite(t, dir.Config{})
	text := strings.Repeat("0123456789", 10_000)
	w := s.sas("a", "rw")
	s.send("PUT", "/box/a", w, onlyReader{strings.NewReader(text)}, "x-ms-blob-type", "BlockBlob").ok(http.StatusCreated)
	if got := s.send("GET", "/box/a", w, nil).ok(200); got.body != text || got.header.Get("Content-MD5") == "" {
		t.Error("the chunked body came back as something else")
	}
	for name, size := range map[string]int{"with a length": maxBlob + 1, "in chunks": maxBlob + 1, "far too large": 20 << 20} {
		var r io.Reader = bytes.NewReader(make([]byte, size))
		if name == "in chunks" {
			r = onlyReader{r}
		}
		s.send("PUT", "/box/a", w, r, "x-ms-blob-type", "BlockBlob").refused(name, http.StatusRequestEntityTooLarge, "RequestBodyTooLarge", "hub.files.max-size", fmt.Sprintf("<MaxLimit>%d</MaxLimit>", maxBlob))
	}
	half := bytes.Repeat([]byte{1}, maxBlob/2+1)
	block := func(id string) answer {
		return s.send("PUT", "/box/b", s.sas("b", "w")+"&comp=block&blockid="+url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(id))), bytes.NewReader(half))
	}
	block("1").ok(http.StatusCreated)
	block("1").ok(http.StatusCreated)
	block("2").refused("blocks above the limit", http.StatusRequestEntityTooLarge, "RequestBodyTooLarge")
	sum := md5.Sum([]byte("content"))
	crc := make([]byte, 8)
	binary.LittleEndian.PutUint64(crc, crc64.Checksum([]byte("content"), crcTable))
	encode := base64.StdEncoding.EncodeToString
	for _, tt := range []struct{ name, header, value, code string }{
		{"MD5", "Content-MD5", encode(sum[:]), ""},
		{"CRC", "x-ms-content-crc64", encode(crc), ""},
		{"wrong MD5", "Content-MD5", encode(make([]byte, 16)), "Md5Mismatch"},
		{"wrong CRC", "x-ms-content-crc64", encode(make([]byte, 8)), "Crc64Mismatch"},
		{"short MD5", "Content-MD5", "AAAA", "InvalidMd5"},
		{"blob's MD5", "x-ms-blob-content-md5", encode(make([]byte, 16)), "Md5Mismatch"},
		{"type", "x-ms-blob-type", "PageBlob", "InvalidHeaderValue"},
		{"If-Match", "If-Match", `"a", "b"`, "InvalidHeaderValue"},
		{"date", "If-Modified-Since", "yesterday", "InvalidHeaderValue"},
		{"copy", "x-ms-copy-source", "https://x/", "UnsupportedHeader"},
		{"metadata", "x-ms-meta-1a", "x", "InvalidMetadata"},
	} {
		a := s.send("PUT", "/box/sum", s.sas("sum", "w"), strings.NewReader("content"), "x-ms-blob-type", "BlockBlob", tt.header, tt.value)
		if tt.code == "" {
			a.ok(http.StatusCreated)
		} else {
			a.refused(tt.name, http.StatusBadRequest, tt.code)
		}
	}
	s.send("PUT", "/box/sum", s.sas("sum", "w"), strings.NewReader("x")).refused("no type", http.StatusBadRequest, "MissingRequiredHeader", "<HeaderName>x-ms-blob-type</HeaderName>")
	s.send("PUT", "/box/sum", s.sas("sum", "w")+"&comp=block&blockid=AA==", nil).refused("empty block", http.StatusBadRequest, "InvalidHeaderValue")
	for _, comp := range []string{"page", "appendblock", "lease", "snapshot", "tags", "tier", "x%00"} {
		s.send("PUT", "/box/sum", s.sas("sum", "w")+"&comp="+comp, nil).refused(comp, http.StatusBadRequest, "UnsupportedQueryParameter")
	}
	s.send("POST", "/box/sum", s.sas("sum", "w"), nil).refused("POST", http.StatusMethodNotAllowed, "UnsupportedHttpVerb")
}

// raw sends bytes over a connection and reads what comes back, until it ends
// or is enough.
func (s *site) raw(text string) (*tls.Conn, *bufio.Reader) {
	s.t.Helper()
	config := s.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	d := &tls.Dialer{Config: config}
	c, err := d.DialContext(s.t.Context(), "tcp", s.server.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, text); err != nil {
		s.t.Fatal(err)
	}
	return c.(*tls.Conn), bufio.NewReader(c)
}

func TestInterruptedBody(t *testing.T) {
	s := newSite(t, dir.Config{})
	s.put("a", "a", "before").ok(http.StatusCreated)
	for name, head := range map[string]string{"with a length": "Content-Length: 1000", "in chunks": "Transfer-Encoding: chunked"} {
		body := "half of it"
		if name == "in chunks" {
			body = "a\r\nhalf of it\r\n"
		}
		for _, comp := range []string{"", "&comp=block&blockid=AA=="} {
			c, _ := s.raw("PUT /box/a?" + s.sas("a", "w") + comp + " HTTP/1.1\r\nHost: x\r\nx-ms-blob-type: BlockBlob\r\n" + head + "\r\n\r\n" + body)
			c.CloseWrite()
			io.Copy(io.Discard, c)
		}
	}
	if got := s.send("GET", "/box/a", s.sas("a", "r"), nil).ok(200); got.body != "before" {
		t.Errorf("after uploads that were cut off: %q", got.body)
	}
	if _, _, staged, err := s.store.Blocks(t.Context(), blob.Ref{Container: "box", Name: "a"}); err != nil || staged != nil {
		t.Errorf("blocks that were cut off: %v, %v", staged, err)
	}
	if s.logged.Len() > 0 {
		t.Errorf("logged: %s", s.logged)
	}
}

// TestContinue: a client that asks first is told to go on only when its body
// is wanted.
func TestContinue(t *testing.T) {
	s := newSite(t, dir.Config{})
	request := func(sas string) string {
		return "PUT /box/a?" + sas + " HTTP/1.1\r\nHost: x\r\nx-ms-blob-type: BlockBlob\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
	}
	_, r := s.raw(request(s.sas("b", "w")))
	if line, err := r.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 403 ") {
		t.Errorf("%q, %v", line, err)
	}
	c, r := s.raw(request(s.sas("a", "w")))
	if line, err := r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Errorf("%q, %v", line, err)
	}
	io.WriteString(c, "content")
	r.ReadString('\n') // the end of the first head
	if line, err := r.ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 201 ") {
		t.Errorf("%q, %v", line, err)
	}
}

func TestBlockLists(t *testing.T) {
	s := newSite(t, dir.Config{})
	q := s.sas("a", "rw")
	id := base64.StdEncoding.EncodeToString([]byte("1"))
	s.send("PUT", "/box/a", q+"&comp=block&blockid="+url.QueryEscape(id), strings.NewReader("one")).ok(http.StatusCreated)
	commit := func(text string) answer {
		return s.send("PUT", "/box/a", q+"&comp=blocklist", strings.NewReader(text))
	}
	for name, tt := range map[string]struct {
		text   string
		status int
		code   string
	}{
		"no XML":        {"hello", 400, "InvalidXmlDocument"},
		"cut":           {"<BlockList><Latest>", 400, "InvalidXmlDocument"},
		"other":         {"<List></List>", 400, "InvalidXmlDocument"},
		"unknown place": {"<BlockList><Newest>" + id + "</Newest></BlockList>", 400, "InvalidXmlDocument"},
		"nested":        {"<BlockList><Latest><b>" + id + "</b></Latest></BlockList>", 400, "InvalidXmlDocument"},
		"entity":        {`<!DOCTYPE x [<!ENTITY e "` + id + `">]><BlockList><Latest>&e;</Latest></BlockList>`, 400, "InvalidXmlDocument"},
		"no base64":     {"<BlockList><Latest>!</Latest></BlockList>", 400, "InvalidBlockId"},
		"empty id":      {"<BlockList><Latest></Latest></BlockList>", 400, "InvalidBlockId"},
		"not there":     {"<BlockList><Latest>Ag==</Latest></BlockList>", 400, "InvalidBlockList"},
		"not committed": {"<BlockList><Committed>" + id + "</Committed></BlockList>", 400, "InvalidBlockList"},
		"long id":       {"<BlockList><Latest>" + strings.Repeat("A", 10_000) + "</Latest></BlockList>", 400, "InvalidXmlDocument"},
		"too many":      {"<BlockList>" + strings.Repeat("<Latest>"+id+"</Latest>", blob.MaxBlocks+1) + "</BlockList>", 400, "BlockListTooLong"},
		"too large":     {"<BlockList>" + strings.Repeat(" ", maxBlockList) + "</BlockList>", 413, "RequestBodyTooLarge"},
	} {
		commit(tt.text).refused(name, tt.status, tt.code)
	}
	commit(`<?xml version="1.0" encoding="utf-8"?><BlockList><Latest>`+id+`</Latest><Uncommitted> `+"\n"+`</Uncommitted></BlockList>`).refused("blank id", 400, "InvalidBlockId")
	commit(`<?xml version="1.0" encoding="utf-8"?>` + "\n<BlockList>\n <Latest>" + id + "</Latest>\n <Uncommitted>" + id + "</Uncommitted>\n</BlockList>\n").ok(http.StatusCreated)
	if got := s.send("GET", "/box/a", q, nil).ok(200); got.body != "oneone" {
		t.Errorf("%q", got.body)
	}
	s.send("GET", "/box/a", q+"&comp=blocklist&blocklisttype=x", nil).refused("type", 400, "InvalidQueryParameterValue")
	if got := s.send("GET", "/box/a", q+"&comp=blocklist&blocklisttype=all", nil).ok(200); !strings.Contains(got.body, "<CommittedBlocks><Block><Name>MQ==</Name><Size>3</Size></Block><Block>") || !strings.Contains(got.body, "<UncommittedBlocks></UncommittedBlocks>") {
		t.Errorf("%s", got.body)
	}
	empty := s.send("PUT", "/box/empty", s.sas("empty", "w")+"&comp=blocklist", strings.NewReader("<BlockList/>"))
	empty.ok(http.StatusCreated)
}

// TestAnswers looks at what a reader is told.
func TestAnswers(t *testing.T) {
	s := newSite(t, dir.Config{})
	s.send("PUT", "/box/a.html", s.sas("a.html", "w"), strings.NewReader("<script>"), "x-ms-blob-type", "BlockBlob", "Content-Type", "text/html", "x-ms-meta-Room", "hall").ok(http.StatusCreated)
	r := s.sas("", "r")
	got := s.send("GET", "/box/a.html", r, nil, "x-ms-client-request-id", "mine", "x-ms-version", "2024-01-01").ok(200)
	for name, want := range map[string]string{
		"Content-Type": "text/html", "Content-Length": "8", "x-ms-blob-type": "BlockBlob", "x-ms-meta-room": "hall", "Accept-Ranges": "bytes", "x-ms-client-request-id": "mine", "x-ms-version": "2024-01-01",
		"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff",
	} {
		if have := got.header.Get(name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
	if m := regexp.MustCompile(`^"0x[0-9A-F]{16}"$`); !m.MatchString(got.header.Get("ETag")) {
		t.Errorf("ETag %s", got.header.Get("ETag"))
	}
	for text, want := range map[string]string{"bytes=2-4": "206 cri", "bytes=6-": "206 t>", "bytes=0-99": "206 <script>", "bytes=7-7": "206 >"} {
		for _, header := range []string{"Range", "x-ms-range"} {
			a := s.send("GET", "/box/a.html", r, nil, header, text)
			if have := fmt.Sprint(a.status, " ", a.body); have != want {
				t.Errorf("%s: %s, want %s", text, have, want)
			}
		}
	}
	for text, code := range map[string]string{"bytes=8-9": "InvalidRange", "bytes=4-2": "InvalidHeaderValue", "bytes=-3": "InvalidHeaderValue", "bytes=x-": "InvalidHeaderValue", "lines=1-2": "InvalidHeaderValue", "bytes=99999999999999999999-": "InvalidHeaderValue"} {
		status := map[string]int{"InvalidRange": 416}[code]
		s.send("GET", "/box/a.html", r, nil, "x-ms-range", text).refused(text, max(400, status), code)
	}
	l := s.sas("", "l") + "&restype=container&comp=list"
	for name, q := range map[string][2]string{"maxresults": {"&maxresults=0", "OutOfRangeQueryParameterValue"}, "number": {"&maxresults=x", "OutOfRangeQueryParameterValue"}, "marker": {"&marker=!", "InvalidQueryParameterValue"}} {
		s.send("GET", "/box", l+q[0], nil).refused(name, 400, q[1])
	}
	s.put("b%20%3C", "b <", "x").ok(http.StatusCreated)
	page := s.send("GET", "/box", l+"&maxresults=1&include=metadata&prefix=", nil).ok(200)
	if !strings.Contains(page.body, `ContainerName="box"><MaxResults>1</MaxResults><Blobs><Blob><Name>a.html</Name><Properties><Creation-Time>`) || !strings.Contains(page.body, "<Metadata><room>hall</room></Metadata>") || strings.Contains(page.body, "b &lt;") {
		t.Errorf("%s", page.body)
	}
	next := regexp.MustCompile(`<NextMarker>(.+)</NextMarker>`).FindStringSubmatch(page.body)
	if next == nil {
		t.Fatalf("%s", page.body)
	}
	if page = s.send("GET", "/box", l+"&marker="+url.QueryEscape(next[1]), nil).ok(200); !strings.Contains(page.body, "<Name>b &lt;</Name>") || !strings.Contains(page.body, "<NextMarker />") {
		t.Errorf("%s", page.body)
	}
}

// TestTrouble: what goes wrong on the server is said, and no more of it than
// callers should know.
func TestTrouble(t *testing.T) {
	full := newSite(t, dir.Config{Reserve: 1 << 60})
	full.put("a", "a", "x").refused("no space", http.StatusServiceUnavailable, "ServerBusy", "no space left")
	s := newSite(t, dir.Config{})
	s.put("a", "a", "content").ok(http.StatusCreated)
	list, err := filepath.Glob(filepath.Join(s.path, "blobs/box/c.a.*"))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := os.Truncate(list[0], 3); err != nil {
		t.Fatal(err)
	}
	a := s.send("GET", "/box/a", s.sas("a", "r"), nil)
	a.refused("damage", http.StatusInternalServerError, "InternalError", "damaged")
	if strings.Contains(a.body, s.path) || !strings.Contains(s.logged.String(), list[0]) {
		t.Errorf("told: %s\nlogged: %s", a.body, s.logged)
	}
	s.store.Close()
	s.put("b", "b", "x").refused("closed", http.StatusServiceUnavailable, "ServerBusy")
}

// FuzzBlockList: whatever the text is, it is refused or gives ids that can be.
func FuzzBlockList(f *testing.F) {
	for _, text := range []string{"<BlockList><Latest>MQ==</Latest><Committed>Mg==</Committed></BlockList>", "<BlockList/>", "<a><b", `<!DOCTYPE x><BlockList></BlockList>`, "<BlockList></BlockList><BlockList><Latest>MQ==</Latest></BlockList>"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := readBlockList(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, b := range list {
			if b.ID == "" || len(b.ID) > blob.MaxBlockID || b.From > blob.Committed {
				t.Errorf("%q: %+v", text, b)
			}
		}
	})
}

// FuzzAddress: whatever the path is, it names a valid blob or container, or is
// refused.
func FuzzAddress(f *testing.F) {
	for _, p := range []string{"/box/a", "/box/%2e%2e/%2F", "//", "/box", "/box/", "/%62ox/%", "box"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		ref, err := address(path)
		if err == nil && (!blob.ValidContainer(ref.Container) || ref.Name != "" && !blob.ValidName(ref.Name)) {
			t.Errorf("%q: %+v", path, ref)
		}
	})
}
