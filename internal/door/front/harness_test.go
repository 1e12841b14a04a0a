package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// certificate is the server's, self-signed, for every test.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"hub.test"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
})

func serverTLS() *tls.Config {
	cert, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert}
}

func clientTLS(version uint16) *tls.Config {
	_, pool := certificate()
	return &tls.Config{RootCAs: pool, ServerName: "hub.test", MinVersion: version, MaxVersion: version}
}

// A variant is one front with one kind of stream.
type variant struct {
	plain   bool   // the goroutine front
	version uint16 // 0: no TLS

	parallel bool // with other servers, whose descriptors cannot be told apart
}

func (v variant) String() string {
	front, stream := "loop", "tcp"
	if v.plain {
		front = "goroutine"
	}
	switch v.version {
	case tls.VersionTLS12:
		stream = "tls12"
	case tls.VersionTLS13:
		stream = "tls13"
	}
	return front + "/" + stream
}

// A tester is a *testing.T, a bencher a *testing.B, of one variant.
type (
	tester  struct{ *testing.T }
	bencher struct{ *testing.B }
)

// alongside is everywhere for tests that wait for whole seconds: they do so
// side by side.
func alongside(t *testing.T, test func(t tester, v variant)) {
	t.Helper()
	var wg sync.WaitGroup
	for _, v := range variants {
		v.parallel = true
		wg.Go(func() { t.Run(v.String(), func(t *testing.T) { test(tester{t}, v) }) })
	}
	wg.Wait()
}

// everywhere runs the test on both fronts, plain and with both TLS versions.
func everywhere(t *testing.T, test func(t tester, v variant)) {
	t.Helper()
	for _, v := range variants {
		t.Run(v.String(), func(t *testing.T) { test(tester{t}, v) })
	}
}

var variants = []variant{
	{},
	{version: tls.VersionTLS12},
	{version: tls.VersionTLS13},
	{plain: true},
	{plain: true, version: tls.VersionTLS12},
	{plain: true, version: tls.VersionTLS13},
}

// A testServer is a Server that ends with its test and leaves nothing.
type testServer struct {
	*Server
	v      variant
	cancel context.CancelFunc
	served chan error

	mu     sync.Mutex
	failed []error
}

func start(tb testing.TB, v variant, cfg Config) *testServer {
	tb.Helper()
	ts := &testServer{v: v, served: make(chan error, 1)}
	files := openFiles(tb)
	cfg.Plain = v.plain
	if v.version != 0 {
		cfg.TLS = serverTLS()
	}
	cfg.Failed = func(remote netip.AddrPort, err error) {
		if !remote.IsValid() {
			tb.Errorf("failed connection without an address: %v", err)
		}
		ts.mu.Lock()
		defer ts.mu.Unlock()
		ts.failed = append(ts.failed, err)
	}
	s, err := Listen(tb.Context(), "127.0.0.1:0", cfg)
	if err != nil {
		tb.Fatal(err)
	}
	ts.Server = s
	var ctx context.Context
	ctx, ts.cancel = context.WithCancel(context.WithoutCancel(tb.Context()))
	go func() { ts.served <- s.Serve(ctx) }()
	eventually(tb, "served", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.served
	})
	tb.Cleanup(func() {
		ts.cancel()
		s.Close()
		if err := <-ts.served; err != nil {
			tb.Errorf("Serve: %v", err)
		}
		if st := s.Stats(); st.Open != 0 || st.HalfOpen != 0 || st.Accepted != st.Closed {
			tb.Errorf("connections left: %+v", st)
		}
		eventually(tb, "descriptors given back", func() bool { return v.parallel || openFiles(tb) <= files })
	})
	return ts
}

// failures are the kinds of HandshakeError so far.
func (ts *testServer) failures() (kinds []string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	for _, err := range ts.failed {
		var h *HandshakeError
		if !errors.As(err, &h) {
			kinds = append(kinds, fmt.Sprintf("%T", err))
			continue
		}
		kinds = append(kinds, h.Kind)
	}
	return kinds
}

func (ts *testServer) dialTCP(tb testing.TB) net.Conn {
	tb.Helper()
	nc, err := net.Dial("tcp", ts.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc
}

func (ts *testServer) dial(tb testing.TB) net.Conn {
	tb.Helper()
	nc := ts.dialTCP(tb)
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return ts.wrap(tb, nc)
}

// wrap adds TLS when the variant has it.
func (ts *testServer) wrap(tb testing.TB, nc net.Conn) net.Conn {
	tb.Helper()
	if ts.v.version == 0 {
		return nc
	}
	tc := tls.Client(nc, clientTLS(ts.v.version))
	if err := tc.Handshake(); err != nil {
		tb.Fatal(err)
	}
	return tc
}

// openFiles counts the process's descriptors; 0 where that is not possible.
func openFiles(tb testing.TB) int {
	tb.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	return len(list)
}

// never is the deadline of a benchmark.
var never time.Time

// eventually polls: what it waits for happens in the kernel or another goroutine.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			tb.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A session calls the functions that it has.
type session struct {
	c       Conn
	receive func(s *session, b []byte) (int, error)
	closed  chan error
	busy    atomic.Int32
	ended   atomic.Bool
}

func (s *session) Receive(b []byte) (int, error) {
	if s.busy.Add(1) != 1 || s.ended.Load() {
		panic("Receive called twice at a time, or after Closed")
	}
	defer s.busy.Add(-1)
	return s.receive(s, b)
}

func (s *session) Closed(err error) {
	if s.busy.Add(1) != 1 || s.ended.Swap(true) {
		panic("Closed called twice, or during Receive")
	}
	defer s.busy.Add(-1)
	s.closed <- err
}

// sessions makes them and hands them to the test.
type sessions struct {
	receive func(s *session, b []byte) (int, error)
	idle    time.Duration
	noIdle  bool // leave the connection half-open
	opened  chan *session
}

func newSessions(receive func(s *session, b []byte) (int, error)) *sessions {
	return &sessions{receive: receive, opened: make(chan *session, 10_000)}
}

func (ss *sessions) open(c Conn) Session {
	s := &session{c: c, receive: ss.receive, closed: make(chan error, 1)}
	if !ss.noIdle {
		c.SetIdle(ss.idle)
	}
	ss.opened <- s
	return s
}

func (ss *sessions) next(tb testing.TB) *session {
	tb.Helper()
	select {
	case s := <-ss.opened:
		return s
	case <-time.After(10 * time.Second):
		tb.Fatal("no session within 10 s")
		return nil
	}
}

func (s *session) wait(tb testing.TB) error {
	tb.Helper()
	select {
	case err := <-s.closed:
		s.closed <- err
		return err
	case <-time.After(15 * time.Second):
		tb.Fatal("session not closed within 15 s")
		return nil
	}
}

// echo answers frames: a length of four bytes and as many others. A frame is
// taken only when it is complete.
func echo(s *session, b []byte) (int, error) {
	n := 0
	for len(b)-n >= 4 {
		size := 4 + int(binary.BigEndian.Uint32(b[n:]))
		if len(b)-n < size {
			break
		}
		s.c.Write(b[n : n+size])
		n += size
	}
	return n, nil
}

func frame(payload []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(payload))), payload...)
}
