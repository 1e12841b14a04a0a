package front

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Stages of a connection. Only its loop changes them.
const (
	stageHello     uint8 = iota // TLS: nothing received yet
	stageHandshake              // TLS: the handshake has a goroutine
	stageAborted                // TLS: the handshake was told to stop and has not yet
	stageOpen
	stageFlush  // closing: pending bytes
	stageLinger // closing: our side is shut, the peer's is not
	stageGone   // the descriptor is closed; Closed may wait for Conn.Go
	stageDone
)

// Commands to the loop, as bits.
const (
	cmdAdopt uint32 = 1 << iota
	cmdHandshake
	cmdKick // Resume, or the last Conn.Go has ended
	cmdIdle
	cmdClose
	cmdAbort
)

// A conn is one socket of a loop.
type conn struct {
	l      *loop
	remote netip.AddrPort
	tls    *tls.Conn // set by the loop before the session exists
	fd     int
	gen    int32

	// loop goroutine only
	stage    uint8
	told     bool // Closed was called, or is not owed
	parked   bool // TLS: the transport does not wait any more
	last     int32
	session  Session
	left     []byte // bytes that the session has not taken
	hs       *handshake
	early    early // what came before the session; the handshake's goroutine notes it
	deadline deadline

	// any goroutine
	half   halfLink // guarded by the list
	cmds   atomic.Uint32
	paused atomic.Bool
	jobs   atomic.Int32 // running Conn.Go
	ending atomic.Bool  // Close was called or the connection has ended
	setup  atomic.Bool  // SetIdle was called
	idle   atomic.Int32 // seconds

	// the order of Writes; taken before wmu
	mu     sync.Mutex
	corked bool // in Receive: out gathers what is written
	out    []byte

	// the socket's outgoing side
	wmu    sync.Mutex
	dead   bool   // the descriptor is closed
	pend   []byte // lent by Server.bufs
	sent   int    // bytes of pend that the socket took
	want   uint32 // EPOLLIN (with EPOLLET during the handshake) or 0
	armed  uint32
	reason error
	failed bool // reason came with an error on the socket: nothing can be flushed
}

func newConn(l *loop, fd int, remote netip.AddrPort) *conn {
	c := &conn{l: l, fd: fd, remote: remote}
	c.deadline.init(c)
	return c
}

// adopt starts c on its loop.
func (c *conn) adopt() {
	l := c.l
	now := l.now()
	c.last = now
	events := uint32(unix.EPOLLIN)
	if l.s.cfg.TLS != nil {
		// Edge-triggered until the handshake is over, since its goroutine
		// and not the loop takes the bytes.
		c.stage, events = stageHello, unix.EPOLLIN|unix.EPOLLET
	} else {
		c.stage = stageOpen
	}
	c.want = events
	err := l.register(c, events)
	if err == nil && l.mute {
		err = ErrShutdown
	}
	if err != nil {
		c.end(err, true)
		return
	}
	l.s.half.add(&c.half, c)
	l.wheel.set(&c.deadline, now+seconds(l.s.limits.Setup)+1)
	if c.stage == stageOpen {
		c.open()
	}
}

func (c *conn) open() {
	c.stage = stageOpen
	c.session = c.l.s.cfg.Open(c)
}

// blocked reports that Receive must not be called now.
func (c *conn) blocked() bool {
	return c.paused.Load() || c.jobs.Load() > 0 || c.ending.Load() || c.l.mute
}

// command asks the loop to do something.
func (c *conn) command(cmd uint32) {
	if c.cmds.Or(cmd) == 0 {
		c.l.post(c)
	}
}

// commands runs on the loop.
func (c *conn) commands() {
	cmds := c.cmds.Swap(0)
	if cmds&cmdAdopt != 0 {
		c.adopt()
	}
	if cmds&cmdHandshake != 0 {
		c.handshaken()
	}
	if cmds&cmdIdle != 0 && c.stage == stageOpen {
		c.schedule(c.l.now())
	}
	if cmds&cmdKick != 0 {
		c.kick()
	}
	if cmds&(cmdClose|cmdAbort) != 0 {
		c.wmu.Lock()
		failed := c.failed
		c.wmu.Unlock()
		c.end(nil, failed || cmds&cmdAbort != 0)
	}
}

// ready takes the events of one round.
func (c *conn) ready(events uint32) {
	if events&unix.EPOLLOUT != 0 {
		c.flush()
	}
	if events&^unix.EPOLLOUT == 0 {
		return
	}
	switch c.stage {
	case stageHello:
		c.startHandshake()
	case stageHandshake, stageAborted:
		c.hs.signal()
	case stageOpen:
		if c.blocked() {
			if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				c.end(c.socketError(), true)
				return
			}
			// Interest is dropped only when it turns out to matter: most
			// pauses are shorter than the time to the next packet.
			c.rearm(0)
			return
		}
		if c.tls != nil {
			c.readTLS()
		} else {
			c.readPlain()
		}
	case stageFlush:
		if events&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			c.destroy()
		}
	case stageLinger:
		c.discard()
	}
}

// socketError is the error that epoll reported.
func (c *conn) socketError() error {
	n, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	if err == nil {
		err = syscall.ECONNRESET
	}
	return os.NewSyscallError("read", err)
}

// readPlain reads once and shows the session what is there.
func (c *conn) readPlain() {
	b, n := c.room()
	m, errno := sysRecv(c.fd, b[n:cap(b)])
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		c.end(os.NewSyscallError("read", errno), true)
		return
	case m == 0:
		c.end(errEOF, false)
		return
	}
	c.last = c.l.now()
	c.l.s.bytesIn.Add(int64(m))
	c.deliver(b[:n+m])
}

// room is a slice with n bytes left by the session at its start and space to
// read more: the loop's buffer for most, c.left itself for a long packet.
func (c *conn) room() (b []byte, n int) {
	l := c.l
	n = len(c.left)
	if n <= stageSize {
		return l.buf, copy(l.buf, c.left)
	}
	if cap(c.left)-n < readSize/2 {
		b = append(l.s.bufs.get(n+readSize), c.left...)
		l.s.bufs.put(c.left)
		c.left = b
	}
	return c.left, n
}

// deliver shows b, the bytes left and the new ones, to the session and keeps
// what it does not take. b is the loop's buffer or c.left's array.
func (c *conn) deliver(b []byte) {
	if c.blocked() {
		c.keep(b, 0)
		return
	}
	c.mu.Lock()
	c.corked = true
	c.mu.Unlock()
	n, err := c.session.Receive(b)
	c.uncork()
	if err == nil && (n < 0 || n > len(b)) {
		panic("front: Receive took more than it was shown")
	}
	if err != nil {
		c.keep(b, len(b))
		c.end(err, false)
		return
	}
	c.keep(b, n)
	if len(c.left) > c.l.s.limits.MaxUnread && !c.blocked() {
		c.end(ErrTooLong, false)
	}
}

// keep stores b[n:] in c.left.
func (c *conn) keep(b []byte, n int) {
	bufs := &c.l.s.bufs
	rest := b[n:]
	if len(rest) == 0 {
		if c.left != nil {
			bufs.put(c.left)
			c.left = nil
		}
		return
	}
	if len(rest) > cap(c.left) {
		next := append(bufs.get(len(rest)), rest...)
		bufs.put(c.left)
		c.left = next
		return
	}
	// Either another array, or the same one with rest at n: copy moves down.
	c.left = c.left[:copy(c.left[:cap(c.left)], rest)]
	if big := cap(c.left); big > readSize && len(rest) <= big/8 {
		small := append(bufs.get(len(rest)), c.left...)
		bufs.put(c.left)
		c.left = small
	}
}

// kick goes on after a pause or Conn.Go.
func (c *conn) kick() {
	if c.stage == stageLinger || c.stage == stageGone {
		c.tell()
		return
	}
	if c.stage != stageOpen || c.blocked() {
		return
	}
	c.last = c.l.now()
	if len(c.left) > 0 {
		b, n := c.room()
		c.deliver(b[:n])
	}
	if c.stage == stageOpen && !c.blocked() {
		c.rearm(unix.EPOLLIN)
	}
}

// schedule puts the idle limit into the wheel.
func (c *conn) schedule(now int32) {
	idle := c.idle.Load()
	if idle == 0 {
		c.l.wheel.remove(&c.deadline)
		return
	}
	c.l.wheel.set(&c.deadline, max(c.last, now-idle)+idle+1)
}

// expire is called by the wheel.
func (c *conn) expire(now int32) {
	switch {
	case c.stage >= stageGone:
	case c.stage > stageOpen:
		c.destroy()
	case !c.setup.Load():
		c.end(ErrSetup, false)
	default:
		idle := c.idle.Load()
		if c.blocked() {
			c.last = now // it is us who do not read
		}
		if idle > 0 && now > c.last+idle {
			c.end(ErrIdle, false)
			return
		}
		c.schedule(now)
	}
}

// end begins the end of c with the reason unless one was given before.
// Gracefully: what is pending is sent, then our side is shut. Hard: at once.
func (c *conn) end(reason error, hard bool) {
	if c.stage >= stageGone {
		return
	}
	eof := errors.Is(reason, errEOF)
	c.ending.Store(true)
	c.l.s.half.remove(&c.half)
	c.wmu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	reason = c.reason
	c.wmu.Unlock()
	switch c.stage {
	case stageHandshake:
		c.stage = stageAborted
		c.hs.abort(reason)
		return
	case stageAborted:
		return // its goroutine still has the descriptor
	case stageFlush, stageLinger:
		if hard {
			c.destroy()
		}
		return
	}
	if hard {
		c.destroy()
		return
	}
	if c.tls != nil && c.stage == stageOpen {
		// Not an error worth having: the peer may be gone.
		_ = c.tls.CloseWrite()
	}
	c.wmu.Lock()
	pending, failed := len(c.pend) > 0, c.failed
	c.want = 0
	c.update()
	c.wmu.Unlock()
	switch {
	case failed:
		c.destroy()
	case pending:
		c.stage = stageFlush
		c.l.wheel.set(&c.deadline, c.l.now()+flushTime+1)
	case eof:
		c.destroy()
	default:
		c.shut()
	}
}

// shut sends the end of our stream and waits a little for the peer's: closing
// a socket with unread bytes resets it, and the peer would lose what it has
// not read yet.
func (c *conn) shut() {
	c.stage = stageLinger
	if err := unix.Shutdown(c.fd, unix.SHUT_WR); err != nil {
		c.destroy()
		return
	}
	c.tell()
	c.l.wheel.set(&c.deadline, c.l.now()+lingerTime+1)
	c.rearm(unix.EPOLLIN)
	c.discard()
}

// discard reads what a peer still sends to a connection that is closed.
func (c *conn) discard() {
	n, errno := sysRecv(c.fd, c.l.buf)
	if errno == unix.EAGAIN || errno == unix.EINTR {
		return
	}
	if errno != 0 || n == 0 {
		c.destroy()
	}
}

// destroy closes the descriptor.
func (c *conn) destroy() {
	l := c.l
	if c.stage >= stageGone {
		return
	}
	c.stage = stageGone
	c.ending.Store(true)
	l.wheel.remove(&c.deadline)
	l.s.half.remove(&c.half)
	c.wmu.Lock()
	c.dead = true
	l.s.bufs.put(c.pend)
	c.pend, c.sent = nil, 0
	c.wmu.Unlock()
	l.table[c.fd] = nil
	_ = unix.Close(c.fd)
	c.tell()
}

// tell calls Closed once Conn.Go has ended, and lets go of c.
func (c *conn) tell() {
	c.wmu.Lock()
	busy, reason := c.jobs.Load() > 0, c.reason
	c.wmu.Unlock()
	if !c.told && !busy {
		c.told = true
		c.l.s.bufs.put(c.left)
		c.left = nil
		if c.session != nil {
			c.session.Closed(forSession(reason))
			c.session = nil
		} else {
			c.l.s.failed(c.remote, reason, c.early)
		}
	}
	if c.told && c.stage == stageGone {
		c.stage = stageDone
		c.l.live--
		c.l.s.release()
	}
}

// abort ends c for a newer connection.
func (c *conn) abort(reason error) {
	c.fail(reason)
	c.command(cmdAbort)
}

// fail sets the reason if there is none.
func (c *conn) fail(reason error) {
	c.wmu.Lock()
	if c.reason == nil {
		c.reason = reason
	}
	c.wmu.Unlock()
	c.ending.Store(true)
}

func (c *conn) Write(p []byte) {
	if len(p) == 0 || c.ending.Load() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.corked {
		c.emit(p)
		return
	}
	if c.out == nil {
		c.out = c.l.scratch[:0] // only one connection is corked at a time
	}
	if len(c.out)+len(p) > cap(c.out) {
		c.emit(c.out)
		c.out = c.out[:0]
		if len(p) > cap(c.out) {
			c.emit(p)
			return
		}
	}
	c.out = append(c.out, p...)
}

// uncork writes what gathered during Receive.
func (c *conn) uncork() {
	c.mu.Lock()
	c.corked = false
	if len(c.out) > 0 {
		c.emit(c.out)
	}
	c.out = nil
	c.mu.Unlock()
}

// emit writes p, encrypted if it must be. c.mu is held.
func (c *conn) emit(p []byte) {
	if c.tls != nil {
		// The transport keeps what the socket does not take and has told the
		// loop of an error.
		_, _ = c.tls.Write(p)
		return
	}
	c.send(p)
}

// send writes p to the socket and keeps the rest.
func (c *conn) send(p []byte) bool {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if c.dead || c.failed {
		return false
	}
	if len(c.pend) == 0 {
		n, errno := sysSend(c.fd, p)
		if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
			c.failLocked(os.NewSyscallError("write", errno))
			return false
		}
		c.l.s.bytesOut.Add(int64(n))
		if p = p[n:]; len(p) == 0 {
			return true
		}
		c.pend = append(c.l.s.bufs.get(len(p)), p...)
		c.update()
		return true
	}
	if len(c.pend)-c.sent+len(p) > c.l.s.limits.MaxPending {
		c.failLocked(ErrSlowReader)
		return false
	}
	if c.sent > len(c.pend)/2 && len(c.pend)+len(p) > cap(c.pend) {
		c.pend = c.pend[:copy(c.pend, c.pend[c.sent:])]
		c.sent = 0
	}
	c.pend = c.l.s.bufs.grow(c.pend, p)
	return true
}

// failLocked ends c from its outgoing side.
func (c *conn) failLocked(err error) {
	if c.reason == nil {
		c.reason = err
	}
	c.failed = true
	c.ending.Store(true)
	c.command(cmdClose)
}

// flush sends what is pending, on the loop.
func (c *conn) flush() {
	c.wmu.Lock()
	var errno syscall.Errno
	if len(c.pend) > 0 && !c.failed {
		var n int
		n, errno = sysSend(c.fd, c.pend[c.sent:])
		c.l.s.bytesOut.Add(int64(n))
		if c.sent += n; c.sent == len(c.pend) {
			c.l.s.bufs.put(c.pend)
			c.pend, c.sent = nil, 0
			c.update()
		}
	}
	pending := len(c.pend) > 0
	c.wmu.Unlock()
	switch {
	case errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR:
		c.end(os.NewSyscallError("write", errno), true)
	case c.stage == stageFlush && !pending:
		c.shut()
	}
}

// rearm sets the interest in incoming bytes, on the loop.
func (c *conn) rearm(want uint32) {
	c.wmu.Lock()
	c.want = want
	c.update()
	c.wmu.Unlock()
}

// update tells the epoll set what c waits for. wmu is held.
func (c *conn) update() {
	events := c.want
	if len(c.pend) > 0 {
		events |= unix.EPOLLOUT
	}
	if events == c.armed || c.dead {
		return
	}
	c.armed = events
	if err := c.l.control(unix.EPOLL_CTL_MOD, c.fd, c.gen, events); err != nil {
		c.failLocked(err)
	}
}

func (c *conn) Close(reason error) {
	if reason == nil {
		reason = errNone
	}
	c.fail(reason)
	c.command(cmdClose)
}

func (c *conn) Pause() { c.paused.Store(true) }

func (c *conn) Resume() {
	if c.paused.Swap(false) {
		c.command(cmdKick)
	}
}

func (c *conn) Go(fn func()) {
	c.wmu.Lock() // tell looks at jobs under it
	if c.ending.Load() {
		c.wmu.Unlock()
		return
	}
	c.jobs.Add(1)
	c.wmu.Unlock()
	if !c.l.s.crew.do(c.l.s, func() {
		fn()
		if c.jobs.Add(-1) == 0 {
			c.command(cmdKick)
		}
	}) {
		c.jobs.Add(-1)
	}
}

func (c *conn) SetIdle(d time.Duration) {
	c.idle.Store(seconds(d))
	if !c.setup.Swap(true) {
		c.l.s.half.remove(&c.half)
		c.l.s.storm.note()
	}
	c.command(cmdIdle)
}

func (c *conn) RemoteAddr() netip.AddrPort { return c.remote }

func (c *conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.ConnectionState()
	return &state
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}
