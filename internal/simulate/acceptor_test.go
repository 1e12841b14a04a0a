package simulate

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"dunlin/internal/wire/mqtt"
)

// acceptor is the smallest hub that a device can talk to: it takes CONNECT,
// keeps what is published and acknowledges it.
type acceptor struct {
	t      *testing.T
	addr   string
	conf   *tls.Config // nil: plain
	refuse byte        // code of every CONNACK
	// die decides, before the n-th message of all (from 1) is acknowledged,
	// whether the server goes down instead; nil means never.
	die func(n int) bool

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	connects []mqtt.Connect
	got      []published
	wg       sync.WaitGroup
}

type published struct {
	topic, body string
	dup         bool
}

func newAcceptor(t *testing.T) *acceptor {
	t.Helper()
	a := &acceptor{t: t, addr: "127.0.0.1:0", conns: map[net.Conn]bool{}}
	t.Cleanup(func() {
		a.down()
		a.wg.Wait()
	})
	return a
}

// up starts listening, at the same port as before.
func (a *acceptor) up() {
	a.t.Helper()
	l, err := net.Listen("tcp", a.addr)
	if err != nil {
		a.t.Error(err)
		return
	}
	a.mu.Lock()
	a.addr = l.Addr().String()
	if a.conf != nil {
		l = tls.NewListener(l, a.conf)
	}
	a.listener = l
	a.mu.Unlock()
	a.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			a.mu.Lock()
			a.conns[c] = true
			a.mu.Unlock()
			a.wg.Go(func() {
				a.serve(c)
				c.Close()
			})
		}
	})
}

// down closes everything at once, as a killed process would.
func (a *acceptor) down() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener != nil {
		a.listener.Close()
	}
	for c := range a.conns {
		c.Close()
	}
	clear(a.conns)
}

func (a *acceptor) messages() []published {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.got)
}

func (a *acceptor) serve(c net.Conn) {
	var in []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		in = append(in, buf[:n]...)
		for {
			h, body, n, err := mqtt.Next(in, 0)
			if err != nil {
				a.t.Errorf("malformed packet: %v", err)
				return
			}
			if n == 0 {
				break
			}
			if answer, ok := a.answer(h, body); !ok {
				return
			} else if _, err := c.Write(answer); err != nil {
				return
			}
			in = in[n:]
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				a.t.Logf("read: %v", err)
			}
			return
		}
	}
}

func (a *acceptor) answer(h mqtt.Header, body []byte) (answer []byte, ok bool) {
	switch h.Type {
	case mqtt.CONNECT:
		var p mqtt.Connect
		if err := p.Decode(slices.Clone(body)); err != nil {
			a.t.Errorf("CONNECT: %v", err)
			return nil, false
		}
		a.mu.Lock()
		a.connects = append(a.connects, p)
		a.mu.Unlock()
		return mqtt.AppendConnack(nil, false, a.refuse), true
	case mqtt.PUBLISH:
		var p mqtt.Publish
		if err := p.Decode(h, body, mqtt.V311); err != nil {
			a.t.Errorf("PUBLISH: %v", err)
			return nil, false
		}
		a.mu.Lock()
		a.got = append(a.got, published{string(p.Topic), string(p.Payload), p.Dup})
		n := len(a.got)
		a.mu.Unlock()
		if a.die != nil && a.die(n) {
			a.down()
			a.up()
			return nil, false
		}
		if p.QoS == 0 {
			return nil, true
		}
		return mqtt.AppendPuback(nil, p.PacketID), true
	case mqtt.PINGREQ:
		return mqtt.AppendPingresp(nil), true
	case mqtt.DISCONNECT:
		return nil, false
	default:
		a.t.Errorf("unexpected %s", h.Type)
		return nil, false
	}
}
