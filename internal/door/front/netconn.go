package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A netConn is one connection with a goroutine.
type netConn struct {
	s      *Server
	nc     net.Conn
	remote netip.AddrPort
	tls    *tls.Conn // set before the session exists

	half     halfLink // guarded by the list
	deadline deadline // guarded by netFront.mu
	setup    atomic.Bool
	idle     atomic.Int32
	last     atomic.Int32
	early    early // what came before the session; its goroutine only

	receive sync.Mutex // held during Receive

	mu      sync.Mutex
	change  sync.Cond // of anything below that somebody waits for
	paused  bool
	jobs    int // running Conn.Go
	mute    bool
	opened  bool // has a session
	kicked  bool // show the session what it has left
	corked  bool // in Receive: out only gathers
	writing bool // the writer's goroutine runs
	out     []byte
	spare   []byte
	flying  int       // bytes that the writer has taken from out and not sent
	sentAt  time.Time // flying > 0: when the peer last took something
	ending  bool
	woken   bool // wakeReader has done its work
	failed  bool // nothing can be sent any more
	reason  error
}

func newNetConn(s *Server, nc net.Conn, remote netip.AddrPort) *netConn {
	c := &netConn{s: s, nc: nc, remote: remote}
	c.change.L = &c.mu
	c.deadline.init(c)
	c.last.Store(s.conns.now())
	return c
}

// run owns the connection from admit to release.
func (c *netConn) run(open Opener, config *tls.Config) {
	s := c.s
	s.conns.add(c)
	s.half.add(&c.half, c)
	if phase := s.phase.Load(); phase != running {
		// It came while drain or Close looked at the list.
		c.drain()
		if phase == closing {
			c.Close(ErrShutdown)
		}
	}
	var session Session
	if err := c.handshake(config); err != nil {
		c.fail(err, false)
	} else if c.mayOpen() {
		session = open(c)
		c.fail(c.read(session), false)
	}
	reason := c.finish()
	s.half.remove(&c.half)
	s.conns.remove(c)
	if session != nil {
		session.Closed(forSession(reason))
	} else {
		s.failed(c.remote, reason, c.early)
	}
	c.linger()
	c.nc.Close()
	s.release()
}

// mayOpen reports that nobody has ended c before it has a session.
func (c *netConn) mayOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened = !c.ending
	return c.opened
}

func (c *netConn) handshake(config *tls.Config) error {
	if config == nil {
		return nil
	}
	t := &slotConn{Conn: c.nc, c: c, during: true}
	c.tls = tls.Server(t, config)
	// As on the loop, a silent client does not get a slot.
	defer t.release()
	err := c.tls.Handshake() //nolint:noctx // a deadline ends it
	t.during = false
	if err != nil {
		return err
	}
	c.s.handshakes.Add(1)
	return nil
}

// A slotConn is the transport of a handshake: it computes in one of
// Server.slots, which it gives back while it waits for the client.
type slotConn struct {
	net.Conn
	c      *netConn
	during bool // handshake goroutine only, like held
	held   bool
}

func (t *slotConn) Read(p []byte) (int, error) {
	if t.during {
		t.release()
		defer t.acquire()
	}
	n, err := t.Conn.Read(p)
	if t.during {
		t.c.early.note(p[:n])
	}
	t.c.s.bytesIn.Add(int64(n))
	return n, err
}

func (t *slotConn) Write(p []byte) (int, error) {
	if t.during {
		t.release()
		defer t.acquire()
	}
	n, err := t.Conn.Write(p)
	t.c.s.bytesOut.Add(int64(n))
	return n, err
}

// acquire may block without regard to the end of the connection: nobody
// waits for anything while it holds a slot.
func (t *slotConn) acquire() {
	t.c.s.slots <- struct{}{}
	t.held = true
}

func (t *slotConn) release() {
	if t.held {
		t.held = false
		<-t.c.s.slots
	}
}

// stream is what the session's bytes go through.
func (c *netConn) stream() net.Conn {
	if c.tls != nil {
		return c.tls
	}
	return c.nc
}

const (
	netBuffer = 4 << 10
	netPiece  = 32 << 10 // written at a time
	netStall  = time.Second
)

// read shows the session what arrives until the connection ends.
func (c *netConn) read(session Session) error {
	stream := c.stream()
	buf := make([]byte, netBuffer)
	n := 0
	for {
		if n == len(buf) {
			next := make([]byte, 2*len(buf))
			copy(next, buf)
			buf = next
		}
		m, err := stream.Read(buf[n:])
		if m > 0 {
			if c.tls == nil {
				c.s.bytesIn.Add(int64(m))
			}
			c.last.Store(c.s.conns.now())
			n += m
			for again := true; again && n > 0; {
				if !c.await() {
					return errNone // a reason was given before
				}
				k, err := c.show(session, buf[:n])
				if err != nil {
					return err
				}
				n = copy(buf, buf[k:n])
				if !c.await() {
					return errNone
				}
				again = c.takeKick()
			}
			if n > c.s.limits.MaxUnread {
				return ErrTooLong
			}
			if len(buf) > 4*netBuffer && n < len(buf)/8 {
				buf = append(make([]byte, 0, max(netBuffer, 2*n)), buf[:n]...)
				buf = buf[:cap(buf)]
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return errEOF
		case err != nil:
			return err
		}
	}
}

// await blocks while Receive must not be called; false means the end.
func (c *netConn) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.paused || c.jobs > 0 || c.mute || c.heldBack()) && !c.ending {
		c.change.Wait()
	}
	return !c.ending
}

// takeKick reports that a pause or Conn.Go has ended since the last call:
// what is left must be shown without new bytes.
func (c *netConn) takeKick() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	kicked := c.kicked
	c.kicked = false
	return kicked
}

// show calls Receive, gathering what the session writes meanwhile. It takes
// nothing when a drain has come first.
func (c *netConn) show(session Session, b []byte) (int, error) {
	c.receive.Lock()
	defer c.receive.Unlock()
	c.mu.Lock()
	if c.mute || c.ending {
		c.kicked = true
		c.mu.Unlock()
		return 0, nil
	}
	c.corked = true
	c.mu.Unlock()
	n, err := session.Receive(b)
	c.mu.Lock()
	c.corked = false
	c.startWriter()
	c.mu.Unlock()
	if err == nil && (n < 0 || n > len(b)) {
		panic("front: Receive took more than it was shown")
	}
	return n, err
}

// startWriter sends what has gathered. c.mu is held.
func (c *netConn) startWriter() {
	if c.writing || c.corked || c.failed || len(c.out) == 0 {
		return
	}
	c.writing = true
	if !c.s.spawn(c.write) {
		c.writing = false
	}
}

func (c *netConn) write() {
	stream := c.stream()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > 0 && !c.failed {
		b := c.out
		c.out, c.spare = c.spare[:0], nil
		c.sentAt = time.Now()
		for p := b; len(p) > 0 && !c.failed; {
			c.flying = len(p)
			piece := p[:min(len(p), netPiece)]
			c.mu.Unlock()
			n, err := stream.Write(piece)
			if c.tls == nil {
				c.s.bytesOut.Add(int64(n))
			}
			c.mu.Lock()
			if err != nil {
				c.failLocked(err, true)
			}
			p = p[len(piece):]
			c.sentAt = time.Now()
			if c.heldBack() {
				c.last.Store(c.s.conns.now())
			}
		}
		c.flying = 0
		if cap(b) <= 4*netBuffer {
			c.spare = b
		}
		c.change.Broadcast()
	}
	c.writing = false
	if len(c.out) == 0 {
		c.out, c.spare = nil, nil
	}
	if c.ending {
		c.wakeReader()
	}
	c.change.Broadcast()
}

// heldBack reports that the peer does not read what it is sent as fast as it
// makes the session write: its own bytes wait then. c.mu is held.
func (c *netConn) heldBack() bool { return len(c.out)+c.flying > c.s.limits.MaxPending/2 }

// wakeReader ends a Read that waits. A socket and crypto/tls survive a
// deadline; a WebSocket does not, and says goodbye instead, which ends Read
// when the peer has answered. It comes after the last write. c.mu is held.
func (c *netConn) wakeReader() {
	if c.woken {
		return
	}
	c.woken = true
	at := time.Unix(1, 0)
	if _, ok := c.nc.(halfCloser); !ok && c.s.spawn(func() { _ = c.nc.Close() }) {
		at = time.Now().Add(lingerTime * time.Second)
	}
	_ = c.nc.SetReadDeadline(at)
}

// halfCloser is what sockets can and streams on top of messages cannot.
type halfCloser interface{ CloseWrite() error }

func (c *netConn) fail(err error, hard bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failLocked(err, hard)
}

// failLocked gives the end of c a reason if it has none. Hard: nothing more
// is sent. c.mu is held.
func (c *netConn) failLocked(err error, hard bool) {
	if c.reason == nil {
		c.reason = err
	}
	c.ending = true
	if hard && !c.failed {
		c.failed = true
		// In a goroutine: a WebSocket's Close may wait for its peer.
		if !c.s.spawn(func() { _ = c.nc.Close() }) {
			_ = c.nc.Close()
		}
	}
	c.change.Broadcast()
}

// finish waits until what is pending is sent and the session's functions
// have ended, and returns the reason for the end.
func (c *netConn) finish() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	_ = c.nc.SetWriteDeadline(time.Now().Add(flushTime * time.Second))
	c.startWriter()
	for c.writing {
		c.change.Wait()
	}
	if c.tls != nil && !c.failed {
		c.mu.Unlock()
		_ = c.tls.CloseWrite()
		c.mu.Lock()
	}
	for c.jobs > 0 {
		c.change.Wait()
	}
	return c.reason
}

// linger shuts our side and reads on for a short time, so that the close
// does not take away what the peer has not read yet.
func (c *netConn) linger() {
	c.mu.Lock()
	skip := c.failed || errors.Is(c.reason, errEOF)
	c.mu.Unlock()
	half, ok := c.nc.(halfCloser)
	if skip || !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime * time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(c.nc, 1<<20))
}

// drain returns when no Receive runs and none will; without a session c ends.
func (c *netConn) drain() {
	c.mu.Lock()
	c.mute = true
	if !c.opened {
		c.failLocked(ErrShutdown, true)
	}
	c.mu.Unlock()
	c.receive.Lock()
	defer c.receive.Unlock() // Receive has ended
}

// expire is called by the wheel, with netFront.mu held.
func (c *netConn) expire(now int32) {
	if !c.setup.Load() {
		c.close(ErrSetup)
		return
	}
	c.mu.Lock()
	blocked, ending := c.paused || c.jobs > 0 || c.mute, c.ending
	c.mu.Unlock()
	idle := c.idle.Load()
	if ending || idle == 0 {
		return
	}
	if blocked {
		c.last.Store(now) // it is us who do not read
	}
	if now > c.last.Load()+idle {
		c.close(ErrIdle)
		return
	}
	c.s.conns.wheel.set(&c.deadline, c.last.Load()+idle+1)
}

// abort ends c for a newer connection.
func (c *netConn) abort(reason error) { c.fail(reason, true) }

func (c *netConn) Write(p []byte) {
	if len(p) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	// What waits may wait for the writer's turn and not for the peer, so that
	// the limit means a peer that takes nothing; four times as much is too much
	// in any case.
	limit := c.s.limits.MaxPending
	if waiting := len(c.out) + c.flying + len(p); c.flying > 0 && waiting > limit &&
		(waiting > 4*limit || time.Since(c.sentAt) > netStall) {
		c.failLocked(ErrSlowReader, true)
		return
	}
	c.out = append(c.out, p...)
	c.startWriter()
}

func (c *netConn) Close(reason error) {
	if reason == nil {
		reason = errNone
	}
	c.close(reason)
}

func (c *netConn) close(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.failLocked(reason, false)
	// The goroutine may be in Read, or not have a session yet.
	_ = c.nc.SetWriteDeadline(time.Now().Add(flushTime * time.Second))
	if !c.writing && !c.corked {
		c.wakeReader()
	}
}

func (c *netConn) Pause() {
	c.mu.Lock()
	c.paused = true
	c.mu.Unlock()
}

func (c *netConn) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		c.paused, c.kicked = false, true
		c.last.Store(c.s.conns.now())
		c.change.Broadcast()
	}
}

func (c *netConn) Go(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.jobs++
	if !c.s.spawn(func() {
		fn()
		c.jobDone()
	}) {
		c.jobs--
	}
}

func (c *netConn) jobDone() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.jobs--; c.jobs == 0 {
		c.kicked = true
		c.last.Store(c.s.conns.now())
		c.change.Broadcast()
	}
}

func (c *netConn) SetIdle(d time.Duration) {
	c.idle.Store(seconds(d))
	if !c.setup.Swap(true) {
		c.s.half.remove(&c.half)
		c.s.storm.note()
	}
	f := &c.s.conns
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.all[c]; !ok {
		return
	}
	if idle := c.idle.Load(); idle == 0 {
		f.wheel.remove(&c.deadline)
	} else {
		f.wheel.set(&c.deadline, f.now()+idle+1)
	}
}

func (c *netConn) RemoteAddr() netip.AddrPort { return c.remote }

func (c *netConn) TLS() *tls.ConnectionState {
	if c.tls != nil {
		state := c.tls.ConnectionState()
		return &state
	}
	if carrier, ok := c.nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		if state := carrier.ConnectionState(); state.HandshakeComplete {
			return &state
		}
	}
	return nil
}
