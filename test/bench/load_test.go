//go:build linux

package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"dunlin/internal/wire/mqtt"
)

// acknowledger answers every PUBLISH that it has checked with the product's
// own codec.
type acknowledger struct {
	published atomic.Int64
	stamps    atomic.Int64 // newest stamp
}

func (a *acknowledger) listen(t *testing.T, conf *tls.Config) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	addr := netip.MustParseAddrPort(l.Addr().String())
	if conf != nil {
		l = tls.NewListener(l, conf)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go a.serve(t, c)
		}
	}()
	return addr
}

func (a *acknowledger) serve(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	var in, out []byte
	buf := make([]byte, 16<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		in, out = append(in, buf[:n]...), out[:0]
		for {
			h, body, n, err := mqtt.Next(in, 0)
			if err != nil {
				t.Error(err)
				return
			}
			if n == 0 {
				break
			}
			switch h.Type {
			case mqtt.CONNECT:
				var p mqtt.Connect
				if err := p.Decode(body); err != nil {
					t.Error(err)
				}
				out = mqtt.AppendConnack(out, false, 0)
			case mqtt.PUBLISH:
				var p mqtt.Publish
				var body2 struct{ T int64 }
				if err := errors.Join(p.Decode(h, body, mqtt.V311), json.Unmarshal(p.Payload, &body2)); err != nil {
					t.Error(err)
				}
				if len(p.Payload) != payloadBytes {
					t.Errorf("%d bytes of payload", len(p.Payload))
				}
				a.published.Add(1)
				a.stamps.Store(body2.T)
				out = mqtt.AppendPuback(out, p.PacketID)
			default:
				t.Errorf("unexpected %s", h.Type)
			}
			in = in[n:]
		}
		in = append([]byte(nil), in...)
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func testLoad(addr netip.AddrPort) (load, *bool, *bool) {
	var opened, closed bool
	return load{
		addr: addr, logins: anonymous(5), window: 4, warm: 50 * time.Millisecond, measure: 200 * time.Millisecond,
		opened: func() { opened = true }, closed: func() { closed = true },
	}, &opened, &closed
}

func TestClosedLoop(t *testing.T) {
	var a acknowledger
	l, opened, closed := testLoad(a.listen(t, nil))
	res, err := l.run()
	if err != nil || res.acked < 100 || res.latency.n != res.acked || res.total < res.settled || !*opened || !*closed {
		t.Errorf("%v: %d acknowledged of %d", err, res.acked, res.total)
	}
}

func TestClosedLoopOverTLS(t *testing.T) {
	dir := t.TempDir()
	conf, err := selfSigned(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(dir+"/cert.pem", dir+"/key.pem")
	if err != nil {
		t.Fatal(err)
	}
	var a acknowledger
	l, opened, closed := testLoad(a.listen(t, &tls.Config{Certificates: []tls.Certificate{cert}}))
	res, err := l.runTLS(conf)
	if err != nil || res.acked < 100 || res.latency.n != res.acked || !*opened || !*closed {
		t.Errorf("%v: %d acknowledged of %d", err, res.acked, res.total)
	}
}

func TestOpenLoop(t *testing.T) {
	var a acknowledger
	l, _, _ := testLoad(a.listen(t, nil))
	l.rate = 1000
	res, err := l.run()
	if err != nil || res.total < 200 || res.total > 251 || res.settled != res.total || a.published.Load() != res.total {
		t.Errorf("%v: %d sent, %d arrived, want 250", err, res.total, a.published.Load())
	}
	if age := time.Since(time.Unix(0, a.stamps.Load())); age < 0 || age > 2*time.Second {
		t.Errorf("the newest stamp is %s old", age)
	}
}

func TestTargetsAreMet(t *testing.T) {
	for _, c := range []struct {
		f    figure
		want string
	}{
		{figure{Value: 2}, ""},
		{figure{Value: 2, Target: 1}, "yes"},
		{figure{Value: 1, Target: 2}, "no"},
		{figure{Value: 1, Target: 2, AtMost: true}, "yes"},
		{figure{Value: 3, Target: 2, AtMost: true}, "no"},
		{figure{Value: 2, Target: 2, AtMost: true}, "yes"},
		{figure{Value: 2, Target: 2}, "yes"},
		{figure{Value: 0, AtMost: true}, "yes"},
		{figure{Value: 1, AtMost: true}, "no"},
	} {
		if got := c.f.met(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.f, got, c.want)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	if p := h.quantile(0.5); p < 485 || p > 515 {
		t.Errorf("p50 %v", p)
	}
	if p := h.quantile(0.99); p < 960 || p > 1020 {
		t.Errorf("p99 %v", p)
	}
}
