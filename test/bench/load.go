//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// load is what a loader does to a server: a closed loop with window messages
// in flight on each connection, or, with a rate, an open loop.
type load struct {
	addr    netip.AddrPort
	logins  []login // one connection each
	window  int     // closed loop: messages in flight on a connection
	rate    int     // open loop: messages per second of all connections together
	warm    time.Duration
	measure time.Duration
	opened  func() // called when the warm-up is over, on the loader's thread
	closed  func() // called at the end of the window
}

// result counts what fell into the measured window.
type result struct {
	acked   int64
	late    int64     // open loop: messages not sent because too many were waiting on their connection
	latency histogram // closed loop: from sending, open loop: from the due time, to the PUBACK
	total   int64     // sent, warm-up included
	settled int64     // acknowledged, warm-up and the time after the window included
}

// pacedSlots is how many messages of an open loop may wait on a connection.
const pacedSlots = 4096

type conn struct {
	fd      int
	index   int // in loader.conns
	frame   frame
	ring    []byte  // closed loop: 2 x window frames, so that every run of frames is in one piece
	at      []int64 // monotonic nanoseconds of sending (closed) or of the due time (open), by packet identifier - 1
	next    int     // slot that is sent next
	oldest  int     // slot that is acknowledged next
	flight  int
	pending []byte // what the socket did not take
	half    [4]byte
	halfLen int
}

// loader drives all connections from one thread.
type loader struct {
	load
	epfd   int
	conns  []*conn
	events [512]unix.EpollEvent
	buf    [64 << 10]byte
	res    result
	on     bool // inside the measured window
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail with a clock that exists
	return ts.Nano()
}

// dialRaw opens a TCP connection, from the given source address if it is
// valid, sends CONNECT and waits for CONNACK. The socket is blocking.
func dialRaw(to netip.AddrPort, from netip.Addr, connect []byte) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	limit := unix.Timeval{Sec: 20}
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	); err != nil {
		return -1, fmt.Errorf("socket options: %w", err)
	}
	if from.IsValid() {
		// Leave the choice of the port to connect, so that ports are counted per destination.
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return -1, fmt.Errorf("socket options: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
			return -1, fmt.Errorf("bind %s: %w", from, err)
		}
	}
	sa := &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	for {
		if err = unix.Connect(fd, sa); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.EISCONN) {
		return -1, fmt.Errorf("connect %s: %w", to, err)
	}
	if _, err := retry(func() (int, error) { return unix.Write(fd, connect) }); err != nil {
		return -1, fmt.Errorf("send CONNECT: %w", err)
	}
	var ack [4]byte
	for have := 0; have < len(ack); {
		n, err := retry(func() (int, error) { return unix.Read(fd, ack[have:]) })
		if err != nil {
			return -1, fmt.Errorf("%w: %w", errConnack, err)
		}
		if n == 0 {
			return -1, fmt.Errorf("%w: the server closed the connection", errConnack)
		}
		have += n
	}
	return fd, checkConnack(ack[:])
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// run connects, loads for the warm-up and the window, and closes everything.
func (l load) run() (res result, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	w := &loader{load: l}
	if w.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return res, err
	}
	defer func() {
		for _, c := range w.conns {
			_ = unix.Close(c.fd)
		}
		_ = unix.Close(w.epfd)
	}()
	for i, lg := range l.logins {
		fd, err := dialRaw(l.addr, netip.Addr{}, connectPacket(lg))
		if err != nil {
			return res, fmt.Errorf("connection %d of %d: %w", i+1, len(l.logins), err)
		}
		w.conns = append(w.conns, w.newConn(fd, lg, i))
		if err := errors.Join(
			unix.SetNonblock(fd, true),
			unix.EpollCtl(w.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}),
		); err != nil {
			return res, err
		}
	}
	err = w.loop()
	return w.res, err
}

func (w *loader) newConn(fd int, lg login, i int) *conn {
	c := &conn{fd: fd, index: i, frame: publishFrame(lg.topic, i)}
	slots := pacedSlots
	if w.rate == 0 {
		slots = w.window
		for k := range 2 * slots {
			c.frame.setID(uint16(k%slots + 1))
			c.ring = append(c.ring, c.frame.bytes...)
		}
	}
	c.at = make([]int64, slots)
	return c
}

func (w *loader) loop() error {
	start := monotonic()
	opens, closes := start+int64(w.warm), start+int64(w.warm+w.measure)
	if w.rate == 0 {
		for _, c := range w.conns {
			if err := w.refill(c, start); err != nil {
				return err
			}
		}
	}
	wall := time.Now().UnixNano() - start // from the clock of the schedule to that of the stamps
	for due := int64(0); ; {
		now := monotonic()
		if !w.on && now >= opens {
			w.on = true
			if w.opened != nil {
				w.opened()
			}
		}
		if now >= closes {
			break
		}
		timeout := 1
		if w.rate == 0 {
			timeout = 10
		}
		for ; w.rate > 0; due++ {
			at := start + due*1e9/int64(w.rate)
			if at > now {
				break
			}
			if err := w.paced(w.conns[due%int64(len(w.conns))], at, wall); err != nil {
				return err
			}
		}
		if err := w.step(timeout); err != nil {
			return err
		}
	}
	w.on = false
	if w.closed != nil {
		w.closed()
	}
	if w.rate > 0 {
		// A consumer is to see everything that was sent.
		for end := monotonic() + 5e9; w.res.settled < w.res.total && monotonic() < end; {
			if err := w.step(100); err != nil {
				return err
			}
		}
	}
	return nil
}

// step serves the sockets that are ready, waiting up to timeout milliseconds.
func (w *loader) step(timeout int) error {
	n, err := unix.EpollWait(w.epfd, w.events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll: %w", err)
	}
	now := monotonic()
	for i := range max(n, 0) {
		e := &w.events[i]
		c := w.conns[e.Fd]
		if e.Events&unix.EPOLLOUT != 0 {
			if err := w.flush(c); err != nil {
				return err
			}
		}
		if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			if err := w.readable(c, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// refill sends as many messages as the window has room for, in one write.
func (w *loader) refill(c *conn, now int64) error {
	k := w.window - c.flight
	if k == 0 || len(c.pending) > 0 {
		return nil
	}
	for i := range k {
		c.at[(c.next+i)%w.window] = now
	}
	size := len(c.frame.bytes)
	p := c.ring[c.next*size : (c.next+k)*size]
	c.next = (c.next + k) % w.window
	c.flight += k
	w.res.total += int64(k)
	return w.write(c, p)
}

// paced sends one message of the open loop.
func (w *loader) paced(c *conn, at, wall int64) error {
	if c.flight == pacedSlots {
		if w.on {
			w.res.late++
		}
		return nil
	}
	c.at[c.next] = at
	c.frame.setID(uint16(c.next + 1))
	c.frame.stamp(at + wall)
	c.next = (c.next + 1) % pacedSlots
	c.flight++
	w.res.total++
	return w.write(c, c.frame.bytes)
}

func (w *loader) write(c *conn, p []byte) error {
	if len(c.pending) > 0 {
		c.pending = append(c.pending, p...)
		return nil
	}
	n, err := unix.Write(c.fd, p)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("write: %w", err)
	}
	if n = max(n, 0); n == len(p) {
		return nil
	}
	c.pending = append(c.pending, p[n:]...)
	return w.watch(c, unix.EPOLLIN|unix.EPOLLOUT)
}

func (w *loader) flush(c *conn) error {
	n, err := unix.Write(c.fd, c.pending)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("write: %w", err)
	}
	c.pending = c.pending[:copy(c.pending, c.pending[max(n, 0):])]
	if len(c.pending) == 0 {
		return w.watch(c, unix.EPOLLIN)
	}
	return nil
}

func (w *loader) watch(c *conn, events uint32) error {
	return unix.EpollCtl(w.epfd, unix.EPOLL_CTL_MOD, c.fd, &unix.EpollEvent{Events: events, Fd: int32(c.index)})
}

// readable counts the PUBACKs that have come and, in a closed loop, sends as
// many messages.
func (w *loader) readable(c *conn, now int64) error {
	// A half packet of the last read goes before what comes now.
	copy(w.buf[:], c.half[:c.halfLen])
	n, err := unix.Read(c.fd, w.buf[c.halfLen:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if n == 0 {
		return errors.New("the server closed a connection")
	}
	b := w.buf[:c.halfLen+n]
	for ; len(b) >= 4; b = b[4:] {
		if b[0] != 0x40 || b[1] != 2 {
			return fmt.Errorf("want PUBACK, got % x", b[:4])
		}
		if id := int(b[2])<<8 | int(b[3]); c.flight == 0 || id != c.oldest+1 {
			return fmt.Errorf("PUBACK for packet %d, want %d: acknowledgements must come in order [MQTT-4.6.0-2]", id, c.oldest+1)
		}
		if w.on {
			w.res.acked++
			w.res.latency.add(time.Duration(now - c.at[c.oldest]))
		}
		w.res.settled++
		c.oldest = (c.oldest + 1) % len(c.at)
		c.flight--
	}
	c.halfLen = copy(c.half[:], b)
	if w.rate == 0 {
		return w.refill(c, now)
	}
	return nil
}
