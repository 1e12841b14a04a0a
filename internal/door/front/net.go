package front

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// netFront holds the connections that have a goroutine of their own: all on
// systems without a loop, and those that come as a net.Conn.
type netFront struct {
	s        *Server
	listener net.Listener // nil: ServeConn only
	started  time.Time
	stop     chan struct{} // ends the ticker
	deaf     chan struct{} // ends a pause of accept

	mu     sync.Mutex
	all    map[*netConn]struct{}
	wheel  wheel
	ticker bool
}

func (f *netFront) init(s *Server) {
	f.s, f.started = s, time.Now()
	f.stop, f.deaf = make(chan struct{}), make(chan struct{})
	f.all = make(map[*netConn]struct{})
}

func (f *netFront) start() {
	if f.listener != nil {
		f.s.spawn(f.accept)
	}
}

// drain stops accepting and waits until no session is in Receive.
func (f *netFront) drain() {
	if f.listener != nil {
		f.listener.Close()
	}
	close(f.deaf)
	for _, c := range f.list() {
		c.drain()
	}
}

func (f *netFront) close() {
	for _, c := range f.list() {
		c.Close(ErrShutdown)
	}
	close(f.stop)
}

func (f *netFront) list() []*netConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*netConn, 0, len(f.all))
	for c := range f.all {
		all = append(all, c)
	}
	return all
}

func (f *netFront) accept() {
	for {
		nc, err := f.listener.Accept()
		if err != nil {
			if f.s.phase.Load() != running {
				return
			}
			f.s.acceptFailed(err)
			pause := time.NewTimer(time.Second)
			select {
			case <-pause.C:
			case <-f.deaf:
				pause.Stop()
				return
			}
			continue
		}
		remote := remoteOf(nc)
		if !f.s.admit() {
			nc.Close()
			f.s.failed(remote, errTooMany, early{})
			continue
		}
		c := newNetConn(f.s, nc, remote)
		if !f.s.spawn(func() { c.run(f.s.cfg.Open, f.s.cfg.TLS) }) {
			nc.Close()
			f.s.release()
		}
	}
}

// ServeConn serves a connection that another server has accepted and, if it
// is to be, encrypted: a WebSocket. It blocks until the connection has ended.
// The limits and the life of s apply as to the connections of its listener,
// but Serve need not run. open replaces Config.Open; nil means Config.Open.
// Conn.TLS is nc's ConnectionState if it has such a method.
func (s *Server) ServeConn(nc net.Conn, open Opener) {
	if open == nil {
		open = s.cfg.Open
	}
	s.mu.Lock()
	if s.done || s.phase.Load() != running {
		s.mu.Unlock()
		nc.Close()
		return
	}
	s.wg.Add(1) // not spawn: the goroutine is the caller's
	s.mu.Unlock()
	defer s.wg.Done()
	remote := remoteOf(nc)
	if !s.admit() {
		nc.Close()
		s.failed(remote, errTooMany, early{})
		return
	}
	newNetConn(s, nc, remote).run(open, nil)
}

// remoteOf is the peer's address, zero when it is not an IP address.
func remoteOf(nc net.Conn) netip.AddrPort {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ap := a.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a := nc.RemoteAddr(); a != nil {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			return ap
		}
	}
	return netip.AddrPort{}
}

// add lists c and starts the ticker with the first one.
func (f *netFront) add(c *netConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[c] = struct{}{}
	f.wheel.set(&c.deadline, f.now()+seconds(f.s.limits.Setup)+1)
	if !f.ticker {
		f.ticker = f.s.spawn(f.tick)
	}
}

func (f *netFront) remove(c *netConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.all, c)
	f.wheel.remove(&c.deadline)
}

func (f *netFront) now() int32 { return int32(time.Since(f.started) / time.Second) }

func (f *netFront) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-t.C:
			f.mu.Lock()
			f.wheel.advance(f.now())
			f.mu.Unlock()
			if f.s.loops == nil {
				f.s.tick()
			}
		}
	}
}
