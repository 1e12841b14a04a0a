package front

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// withTLS runs the test on both fronts with both versions.
func withTLS(t *testing.T, test func(t tester, v variant)) {
	t.Helper()
	everywhere(t, func(t tester, v variant) {
		if v.version != 0 {
			test(t, v)
		}
	})
}

// clientHello is what a client sends first.
func clientHello(tb testing.TB, version uint16) []byte {
	tb.Helper()
	near, far := net.Pipe()
	defer far.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, clientTLS(version)).Handshake()
	}()
	head := make([]byte, 5)
	if _, err := io.ReadFull(far, head); err != nil {
		tb.Fatal(err)
	}
	body := make([]byte, int(head[3])<<8|int(head[4]))
	if _, err := io.ReadFull(far, body); err != nil {
		tb.Fatal(err)
	}
	near.Close()
	<-done
	return append(head, body...)
}

// Each way not to finish a handshake has its own reason.
func TestHandshakeFailures(t *testing.T) {
	handshake := func(config func(v variant) *tls.Config) func(tester, variant, net.Conn) {
		return func(t tester, v variant, nc net.Conn) {
			if err := tls.Client(nc, config(v)).Handshake(); err == nil {
				// TLS 1.3 clients are done before the server refuses.
				if _, err = nc.Read(make([]byte, 1)); err == nil {
					t.Error("handshake succeeded")
				}
			}
		}
	}
	send := func(p string) func(tester, variant, net.Conn) {
		return func(_ tester, _ variant, nc net.Conn) { _, _ = io.WriteString(nc, p) }
	}
	cases := []struct {
		name, kind string
		do         func(tester, variant, net.Conn)
		closes     bool // the client closes
	}{
		{"untrusted", KindUntrusted, handshake(func(v variant) *tls.Config {
			return &tls.Config{ServerName: "hub.test", MinVersion: v.version, MaxVersion: v.version}
		}), false},
		{"wrong name", KindUntrusted, handshake(func(v variant) *tls.Config {
			config := clientTLS(v.version)
			config.ServerName = "other.test"
			return config
		}), false},
		{"old version", KindVersion, handshake(func(variant) *tls.Config {
			return clientTLS(tls.VersionTLS11)
		}), false},
		{"cipher suites", KindCipher, handshake(func(variant) *tls.Config {
			config := clientTLS(tls.VersionTLS12)
			config.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} // the key is ECDSA
			return config
		}), false},
		{"plain MQTT", KindNotTLS, send("\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04dev1"), false},
		{"plain HTTP", KindNotTLS, send("GET / HTTP/1.1\r\n\r\n"), false},
		{"garbage", KindNotTLS, send("\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8"), false},
		{"alert in plain text", KindUntrusted, func(t tester, v variant, nc net.Conn) {
			_, _ = nc.Write(clientHello(t, v.version))
			_, _ = nc.Read(make([]byte, 100_000))
			_, _ = nc.Write([]byte{20, 3, 3, 0, 1, 1, 21, 3, 3, 0, 2, 2, 48})
		}, true},
		{"closed at once", KindSilent, func(tester, variant, net.Conn) {}, true},
		{"closed within the hello", KindPeerClosed, func(t tester, v variant, nc net.Conn) {
			hello := clientHello(t, v.version)
			_, _ = nc.Write(hello[:len(hello)/2])
		}, true},
		{"closed after the hello", KindPeerClosed, func(t tester, v variant, nc net.Conn) {
			_, _ = nc.Write(clientHello(t, v.version))
			_, _ = nc.Read(make([]byte, 100_000))
		}, true},
		{"reset after the hello", KindPeerClosed, func(t tester, v variant, nc net.Conn) {
			_, _ = nc.Write(clientHello(t, v.version))
			_, _ = nc.Read(make([]byte, 100_000))
			_ = nc.(*net.TCPConn).SetLinger(0)
		}, true},
	}
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		for _, tc := range cases {
			before := len(ts.failures())
			nc := ts.dialTCP(t)
			_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
			tc.do(t, v, nc)
			if tc.closes {
				nc.Close()
			}
			eventually(t, tc.name, func() bool { return len(ts.failures()) == before+1 })
			if got := ts.failures()[before]; got != tc.kind {
				ts.mu.Lock()
				t.Errorf("%s: decoded as %s (%v), want %s", tc.name, got, ts.failed[before], tc.kind)
				ts.mu.Unlock()
			}
			if !tc.closes {
				_, _ = io.Copy(io.Discard, nc) // the server closes
			}
		}
		if n := ts.Stats().HandshakeFailures; n != int64(len(cases)) {
			t.Errorf("%d failures counted, want %d", n, len(cases))
		}
		roundTrip(t, ts.dial(t), 100)
		if len(ss.opened) != 1 {
			t.Errorf("%d sessions, want 1", len(ss.opened))
		}
	})
}

// Clients that stop within the handshake hold nothing but their own limit;
// not even all of the slots for handshakes keep others out.
func TestHandshakeStalls(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		if v.version == 0 {
			return
		}
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{Setup: 2 * time.Second, Handshakes: 1}})
		hello := clientHello(t, v.version)
		for i := range 30 {
			nc := ts.dialTCP(t)
			_, _ = nc.Write(hello[:len(hello)*(i%3)/2]) // nothing, half of it, all of it
		}
		roundTrip(t, ts.dial(t), 100)
		eventually(t, "all timed out", func() bool { return len(ts.failures()) == 30 })
		for _, kind := range ts.failures() {
			if kind != KindTimeout {
				t.Errorf("decoded as %s", kind)
			}
		}
		eventually(t, "all closed", func() bool { return ts.Stats().Open == 1 })
	})
}

// A tap is a client's socket of which the test spoils what is sent.
type tap struct {
	net.Conn
	spoil func(p []byte) []byte
}

func (s *tap) Write(p []byte) (int, error) {
	if s.spoil != nil {
		if _, err := s.Conn.Write(s.spoil(slices.Clone(p))); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return s.Conn.Write(p)
}

func TestTruncatedRecord(t *testing.T) {
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		wire := &tap{Conn: ts.dialTCP(t)}
		nc := ts.wrap(t, wire)
		roundTrip(t, nc, 100)
		wire.spoil = func(p []byte) []byte { return p[:len(p)-3] }
		_, _ = nc.Write(frame(make([]byte, 100)))
		wire.Close()
		if err := ss.next(t).wait(t); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

func TestForgedRecord(t *testing.T) {
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		wire := &tap{Conn: ts.dialTCP(t)}
		nc := ts.wrap(t, wire)
		roundTrip(t, nc, 100)
		wire.spoil = func(p []byte) []byte { p[len(p)-1] ^= 1; return p }
		_, _ = nc.Write(frame(make([]byte, 100)))
		if err := ss.next(t).wait(t); err == nil {
			t.Error("Closed(nil) after a forged record")
		}
		if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("the client sees %v, want an alert", err)
		}
	})
}

// close_notify in both directions, with bytes of the application before it.
func TestCloseNotify(t *testing.T) {
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t).(*tls.Conn)
		sent := frame([]byte("last"))
		_, _ = nc.Write(sent)
		_ = nc.CloseWrite()
		got, err := io.ReadAll(nc)
		if err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%q, %v", got, err)
		}
		if err := ss.next(t).wait(t); err != nil {
			t.Errorf("Closed(%v)", err)
		}
	})
}

// A certificate is asked for and need not be trusted: what it means is the
// business of the session.
func TestClientCertificate(t *testing.T) {
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		config := clientTLS(v.version)
		own, _ := certificate()
		config.Certificates = []tls.Certificate{own}
		nc := tls.Client(ts.dialTCP(t), config)
		roundTrip(t, nc, 10)
		state := ss.next(t).c.TLS()
		if len(state.PeerCertificates) != 1 || !state.PeerCertificates[0].Equal(own.Leaf) {
			t.Errorf("%d certificates", len(state.PeerCertificates))
		}
	})
}

// Sessions are resumed, and the state says so.
func TestResumption(t *testing.T) {
	withTLS(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		config := clientTLS(v.version)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		for i := range 3 {
			nc := tls.Client(ts.dialTCP(t), config)
			roundTrip(t, nc, 1_000)
			if got := ss.next(t).c.TLS().DidResume; got != (i > 0) {
				t.Errorf("connection %d: resumed %v", i, got)
			}
		}
	})
}
