package httpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"dunlin/internal/trust/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type door struct {
	*Server
	addr  string
	roots *x509.CertPool
}

// open serves d on loopback until the test ends.
func open(t *testing.T, d Deps) *door {
	t.Helper()
	a, err := pki.Open(pki.Config{Dir: t.TempDir(), HostName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(a.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	d.TLS, d.Registerer = a.TLS(), prometheus.NewRegistry()
	if d.Logger == nil {
		d.Logger = slog.New(slog.DiscardHandler)
	}
	if d.Ready == nil {
		d.Ready = func(context.Context) error { return nil }
	}
	s := New(d)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &door{s, l.Addr().String(), roots}
}

func (d *door) client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.roots, ServerName: "localhost"}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func (d *door) get(t *testing.T, path string, header ...string) (status int, text string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+d.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := d.client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func named(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, name+" "+r.URL.Path) })
}

// TestPanic: a mistake in a surface is answered, logged and counted, and what
// was half written is cut off.
func TestPanic(t *testing.T) {
	var log lockedBuffer
	d := open(t, Deps{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
		IoTHub: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/half" {
				io.WriteString(w, strings.Repeat("half", 4096))
			}
			panic("as planned")
		}),
	})
	status, text, _ := d.get(t, "/whole")
	if status != http.StatusInternalServerError || !strings.Contains(text, "mistake") {
		t.Errorf("answered %d %q", status, text)
	}
	if n := testutil.ToFloat64(d.requests.WithLabelValues("iothub", "500")); n != 1 {
		t.Errorf("%v requests counted as 500, want 1", n)
	}
	resp, err := d.client(t).Get("https://" + d.addr + "/half")
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("half an answer looks whole")
	}
	out := log.String()
	if strings.Count(out, "level=ERROR") != 2 || !strings.Contains(out, "path=/whole") || !strings.Contains(out, "as planned") || !strings.Contains(out, "httpd_test.go") {
		t.Errorf("logged %s", out)
	}
}

// lockedBuffer is written to by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestDispatch(t *testing.T) {
	d := open(t, Deps{IoTHub: named("iothub"), Admin: named("admin"), Version: "1.2.3"})
	for path, want := range map[string]string{
		"/devices/d1":   "iothub /devices/d1",
		"/devices/":     "iothub /devices/",
		"/api/info":     "admin /api/info",
		"/apis":         "iothub /apis",
		"/healthz":      "ok\n",
		"/readyz":       "ready\n",
		"/":             `"version":"1.2.3"`,
		"/devices/$iot": "iothub /devices/$iot",
	} {
		if _, text, _ := d.get(t, path); !strings.Contains(text, want) {
			t.Errorf("%s: %q", path, text)
		}
	}
	_, text, h := d.get(t, "/", "Accept", "text/html,*/*")
	if !strings.Contains(text, "<h1>Dunlin 1.2.3") || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Errorf("root page: %s %q", h.Get("Content-Type"), text)
	}
	if n := testutil.ToFloat64(d.requests.WithLabelValues("iothub", "200")); n != 4 {
		t.Errorf("%v requests counted", n)
	}
}

func TestNotReady(t *testing.T) {
	d := open(t, Deps{Ready: func(context.Context) error { return errors.New("starting") }})
	if status, text, _ := d.get(t, "/readyz"); status != http.StatusServiceUnavailable || text != "starting\n" {
		t.Errorf("%d %q", status, text)
	}
	if status, _, _ := d.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	if status, text, _ := d.get(t, "/devices/d"); status != http.StatusNotFound || !strings.Contains(text, "role api") {
		t.Errorf("without the role: %d %q", status, text)
	}
}

// echo answers every byte, as a protocol that takes over the stream would.
func echo(nc net.Conn) {
	defer nc.Close()
	io.Copy(nc, nc)
}

func (d *door) dial(t *testing.T, path string, o *websocket.DialOptions) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: d.roots, ServerName: "localhost"}}
	t.Cleanup(tr.CloseIdleConnections)
	o.HTTPClient = &http.Client{Transport: tr}
	c, resp, err := websocket.Dial(t.Context(), "wss://"+d.addr+path, o)
	if err == nil {
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, resp, err
}

// wire contract 1.1: any path with that end, any query, any Origin, any case of
// the subprotocol, answered in the client's spelling.
func TestWebSocketUpgrade(t *testing.T) {
	d := open(t, Deps{MQTT: echo, IoTHub: named("iothub")})
	for _, tt := range []struct{ path, offer, want string }{
		{"/$iothub/websocket", "mqtt", "mqtt"},
		{"/$iothub/websocket", "MQTT", "MQTT"},
		{"/$iothub/websocket?iothub-no-client-cert=true", "mqtt", "mqtt"},
		{"/:18883/$iothub/websocket", "mqtt", "mqtt"},
		{"/$iothub/websocket", "mqttv3.1, Mqtt", "Mqtt"},
	} {
		c, resp, err := d.dial(t, tt.path, &websocket.DialOptions{
			Subprotocols:    strings.Split(tt.offer, ", "),
			HTTPHeader:      http.Header{"Origin": {"https://elsewhere.test:443"}},
			CompressionMode: websocket.CompressionContextTakeover,
		})
		if err != nil {
			t.Errorf("%s offering %s: %v", tt.path, tt.offer, err)
			continue
		}
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); got != tt.want {
			t.Errorf("%s offering %s: answered %q", tt.path, tt.offer, got)
		}
		if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "" {
			t.Errorf("compression was accepted: %s", got)
		}
		// Packets and frames need not agree.
		for _, part := range []string{"he", "llo"} {
			if err := c.Write(t.Context(), websocket.MessageBinary, []byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		nc := websocket.NetConn(t.Context(), c, websocket.MessageBinary)
		b := make([]byte, 5)
		if _, err := io.ReadFull(nc, b); err != nil || string(b) != "hello" {
			t.Errorf("%q, %v", b, err)
		}
	}
}

func TestWebSocketCarriesLargePackets(t *testing.T) {
	d := open(t, Deps{MQTT: echo})
	c, _, err := d.dial(t, "/$iothub/websocket", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	nc := websocket.NetConn(t.Context(), c, websocket.MessageBinary)
	sent := strings.Repeat("x", 1<<20)
	go io.WriteString(nc, sent)
	b := make([]byte, len(sent))
	if _, err := io.ReadFull(nc, b); err != nil || string(b) != sent {
		t.Error(err)
	}
}

func TestWebSocketRefusals(t *testing.T) {
	d := open(t, Deps{MQTT: echo, IoTHub: named("iothub")})
	if status, text, _ := d.get(t, "/$iothub/websocket"); status != http.StatusUpgradeRequired || !strings.Contains(text, "WebSocket") {
		t.Errorf("without an upgrade: %d %q", status, text)
	}
	for _, offer := range []string{"AMQPWSB10", "chat", ""} {
		o := &websocket.DialOptions{}
		if offer != "" {
			o.Subprotocols = []string{offer}
		}
		_, resp, err := d.dial(t, "/$iothub/websocket", o)
		if err == nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("offering %q: %v", offer, err)
			continue
		}
		if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), "mqtt") {
			t.Errorf("offering %q: %q", offer, b)
		}
	}
	none := open(t, Deps{})
	if _, resp, err := none.dial(t, "/$iothub/websocket", &websocket.DialOptions{Subprotocols: []string{"mqtt"}}); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("without the role gateway: %v", err)
	}
}

// A device may show its certificate on the connection below the WebSocket.
func TestWebSocketKnowsTLSBelow(t *testing.T) {
	states := make(chan tls.ConnectionState, 1)
	d := open(t, Deps{MQTT: func(nc net.Conn) {
		states <- nc.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
		echo(nc)
	}})
	if _, _, err := d.dial(t, "/$iothub/websocket", &websocket.DialOptions{Subprotocols: []string{"mqtt"}}); err != nil {
		t.Fatal(err)
	}
	if st := <-states; !st.HandshakeComplete || st.ServerName != "localhost" {
		t.Errorf("%+v", st)
	}
}

// The end of the stream is said in WebSocket's words.
func TestWebSocketEndsNormally(t *testing.T) {
	d := open(t, Deps{MQTT: func(nc net.Conn) {
		io.WriteString(nc, "bye")
		nc.Close()
	}})
	c, _, err := d.dial(t, "/$iothub/websocket", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, b, err := c.Read(t.Context()); err != nil || string(b) != "bye" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, _, err := c.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("ended with %v", err)
	}
}

// A peer that says nothing in TLS must not hold up others.
func TestSilentPeersHoldUpNobody(t *testing.T) {
	d := open(t, Deps{IoTHub: named("iothub")})
	for range 50 {
		nc, err := net.Dial("tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	if status, _, _ := d.get(t, "/devices/d"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

func TestHeaderTooLarge(t *testing.T) {
	d := open(t, Deps{IoTHub: named("iothub")})
	nc, err := tls.Dial("tcp", d.addr, &tls.Config{RootCAs: d.roots, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	go io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}
