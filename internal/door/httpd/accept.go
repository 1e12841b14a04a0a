package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"dunlin/internal/door/front"
)

// secured is a listener whose connections have made their TLS handshake, each
// in a goroutine of its own. net/http could do that itself, but then nobody
// would hear why one failed, and nobody could see how headers were spelled.
type secured struct {
	net.Listener
	config *tls.Config
	failed func(remote netip.AddrPort, err error)

	ready  chan net.Conn
	broken chan error // room for one: why nothing is accepted any more
	life   context.Context
	end    context.CancelFunc
	wait   sync.WaitGroup // the accepting goroutine and the handshakes
}

func secure(l net.Listener, config *tls.Config, failed func(netip.AddrPort, error)) *secured {
	s := &secured{Listener: l, config: config, failed: failed, ready: make(chan net.Conn), broken: make(chan error, 1)}
	s.life, s.end = context.WithCancel(context.Background()) //nolint:forbidigo // Close ends it; net.Listener knows no context
	s.wait.Go(s.accept)
	return s
}

// Accept implements net.Listener.
func (s *secured) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case err := <-s.broken:
		return nil, err
	case <-s.life.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener; handshakes under way end.
func (s *secured) Close() error {
	err := s.Listener.Close()
	s.end()
	s.wait.Wait()
	return err
}

// accept takes connections until the listener is closed. When there are no
// descriptors left it waits a moment and goes on.
func (s *secured) accept() {
	for {
		nc, err := s.Listener.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			s.wait.Go(func() { s.shake(nc) })
			continue
		case errors.As(err, &temporary) && temporary.Temporary():
			pause := time.NewTimer(acceptPause)
			select {
			case <-pause.C:
				continue
			case <-s.life.Done():
				pause.Stop()
			}
		}
		s.broken <- err
		return
	}
}

// acceptPause follows an accept that failed for a reason that may pass.
const acceptPause = 100 * time.Millisecond

func (s *secured) shake(nc net.Conn) {
	ctx, cancel := context.WithTimeout(s.life, headerTimeout)
	defer cancel()
	c, err := front.Shake(ctx, nc, s.config)
	if err != nil {
		// Somebody who types http:// is to read why that does not work.
		if head, ok := errors.AsType[tls.RecordHeaderError](err); ok && head.Conn != nil && looksLikeHTTP(head.RecordHeader) {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = io.WriteString(nc, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nthis port speaks HTTPS: use https:// in the address\n")
		}
		nc.Close()
		if s.failed != nil {
			s.failed(remote(nc), err)
		}
		return
	}
	var ready net.Conn = c
	if c.ConnectionState().NegotiatedProtocol != "h2" { // which has no spelling: names are in lower case
		ready = &spelled{Conn: c}
	}
	select {
	case s.ready <- ready:
	case <-s.life.Done():
		_ = c.Close()
	}
}

func looksLikeHTTP(head [5]byte) bool {
	switch string(head[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH":
		return true
	}
	return false
}

func remote(nc net.Conn) netip.AddrPort {
	a, _ := netip.ParseAddrPort(nc.RemoteAddr().String()) // invalid where there is no network
	return a
}
