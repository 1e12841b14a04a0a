package httpd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/internal/door/front"
)

// properties is a surface that says which headers of properties it was given.
func properties(w http.ResponseWriter, r *http.Request) {
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		if strings.HasPrefix(strings.ToLower(name), "iothub-app-") {
			fmt.Fprintf(w, "%s=%s %s\n", name, strings.Join(r.Header[name], ","), r.Proto)
		}
	}
	if r.URL.Path == "/unread" {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
}

// TestSpelling: names of application properties reach a surface as they were
// written, from request to request of one connection and whatever bodies hold.
func TestSpelling(t *testing.T) {
	d := open(t, Deps{IoTHub: http.HandlerFunc(properties)})
	nc, err := tls.Dial("tcp", d.addr, &tls.Config{RootCAs: d.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	in := &reader{t: t, nc: nc}
	big := strings.Repeat("iothub-app-mine: no\r\n\r\n", 4000)
	for _, c := range []struct{ request, want string }{
		{
			"GET /a HTTP/1.1\r\nHost: h\r\niothub-app-machineID: 1\r\nIoTHub-App-a-B: 2\r\nIOTHUB-APP-lower: x: y\r\n\r\n",
			"iothub-app-a-B=2 HTTP/1.1\niothub-app-lower=x: y HTTP/1.1\niothub-app-machineID=1 HTTP/1.1\n",
		},
		{"POST /b HTTP/1.1\r\nHost: h\r\niothub-app-Mine: 1\r\nContent-Length: 5\r\n\r\nhello", "iothub-app-Mine=1 HTTP/1.1\n"},
		{"POST /c HTTP/1.1\r\nHost: h\r\niothub-app-Mine: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "iothub-app-Mine=1 HTTP/1.1\n"},
		// The same name twice is one header for net/http.
		{"GET /d HTTP/1.1\r\nHost: h\r\niothub-app-p: 1\r\niothub-app-P: 2\r\niothub-app-p: 3\r\n\r\n", "iothub-app-P=2 HTTP/1.1\niothub-app-p=1,3 HTTP/1.1\n"},
		{fmt.Sprintf("POST /e HTTP/1.1\r\nHost: h\r\niothub-app-Mine: 1\r\nContent-Length: %d\r\n\r\n%s", len(big), big), "iothub-app-Mine=1 HTTP/1.1\n"},
		{"GET /f HTTP/1.1\r\nHost: h\r\niothub-app-aB: 1\r\n\r\n", "iothub-app-aB=1 HTTP/1.1\n"},
		// A body that nobody reads is in the way of the next header, whose
		// spelling is then not known.
		{fmt.Sprintf("POST /unread HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(big), big), ""},
		{"GET /g HTTP/1.1\r\nHost: h\r\niothub-app-Mine: 1\r\n\r\n", "iothub-app-mine=1 HTTP/1.1\n"},
		{"GET /h HTTP/1.1\r\nHost: h\r\niothub-app-Mine: 1\r\n\r\n", "iothub-app-Mine=1 HTTP/1.1\n"},
	} {
		if _, err := io.WriteString(nc, c.request); err != nil {
			t.Fatal(err)
		}
		if have := in.answer(); have != c.want {
			t.Errorf("%.40q: have %q, want %q", c.request, have, c.want)
		}
	}
	if _, text, _ := d.get(t, "/h2", "iothub-app-machineID", "1"); text != "iothub-app-machineid=1 HTTP/2.0\n" {
		t.Errorf("over HTTP/2: %q", text)
	}
}

// reader reads answers of a connection that stays open.
type reader struct {
	t  *testing.T
	nc net.Conn
	in []byte
}

// answer reads one answer and gives its body.
func (r *reader) answer() string {
	r.t.Helper()
	if err := r.nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	for {
		head, rest, ok := strings.Cut(string(r.in), "\r\n\r\n")
		if ok {
			var n int
			if _, after, ok := strings.Cut(head, "Content-Length: "); ok {
				if _, err := fmt.Sscanf(after, "%d", &n); err != nil {
					r.t.Fatal(err)
				}
			}
			if len(rest) >= n {
				r.in = []byte(rest[n:])
				return rest[:n]
			}
		}
		var buf [4096]byte
		n, err := r.nc.Read(buf[:])
		if err != nil {
			r.t.Fatalf("%v after %q", err, r.in)
		}
		r.in = append(r.in, buf[:n]...)
	}
}

// TestHandshakeFailures: why a connection came to nothing is told, and the
// next one is not held up.
func TestHandshakeFailures(t *testing.T) {
	failures := make(chan *front.HandshakeError, 1)
	d := open(t, Deps{IoTHub: named("iothub"), Failed: func(remote netip.AddrPort, err error) {
		if !remote.Addr().IsLoopback() {
			t.Errorf("remote %s", remote)
		}
		var why *front.HandshakeError
		if !errors.As(err, &why) {
			t.Errorf("told %v", err)
		}
		failures <- why
	}})
	dial := func() net.Conn {
		nc, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		return nc
	}
	for kind, try := range map[string]func(){
		front.KindUntrusted: func() {
			if err := tls.Client(dial(), &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}).HandshakeContext(t.Context()); err == nil {
				t.Error("trusted")
			}
		},
		front.KindVersion: func() {
			if err := tls.Client(dial(), &tls.Config{RootCAs: d.roots, ServerName: "localhost", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}).HandshakeContext(t.Context()); err == nil {
				t.Error("TLS 1.1")
			}
		},
		front.KindNotTLS: func() {
			nc := dial()
			if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
				t.Error(err)
			}
			if b, err := io.ReadAll(nc); !strings.Contains(string(b), "https://") {
				t.Errorf("answered %q, %v", b, err)
			}
		},
		front.KindPeerClosed: func() {
			nc := dial()
			if _, err := nc.Write([]byte{22, 3, 1, 0, 200}); err != nil {
				t.Error(err)
			}
			nc.Close()
		},
		front.KindSilent: func() { dial().Close() },
	} {
		try()
		select {
		case err := <-failures:
			if err.Kind != kind || err.Reason == "" {
				t.Errorf("%s: told %s: %v", kind, err.Kind, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: nothing was told", kind)
		}
		if status, _, _ := d.get(t, "/x"); status != http.StatusOK {
			t.Errorf("after %s: %d", kind, status)
		}
	}
}

// BenchmarkSpelled is what remembering headers costs a request.
func BenchmarkSpelled(b *testing.B) {
	head := []byte("POST /devices/d/messages/events?api-version=2021-04-12 HTTP/1.1\r\nHost: hub.example\r\nAuthorization: SharedAccessSignature " + strings.Repeat("x", 200) +
		"\r\nContent-Type: application/json\r\niothub-app-machineID: 1\r\n\r\n{\"a\":1}")
	c := &spelled{}
	b.ReportAllocs()
	for b.Loop() {
		c.note(head)
		h := http.Header{"Iothub-App-Machineid": {"1"}, "Content-Type": {"application/json"}, "Authorization": {"x"}}
		spell(c, h)
		c.next(true)
		if spelling := "iothub-app-machineID"; h[spelling] == nil {
			b.Fatal(h)
		}
	}
}
