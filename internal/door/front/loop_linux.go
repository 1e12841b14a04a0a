package front

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readSize   = 64 << 10 // bytes read at most per readiness
	stageSize  = 16 << 10 // half packets up to here are copied before a read; longer ones keep a slice to read into
	eventBatch = 256
	acceptMax  = 64 // connections per readiness of the listener
)

// A loop serves a set of sockets with one goroutine. The sockets are in an
// epoll set of the loop's own, level-triggered, and that set's descriptor is
// in the runtime's poller: the goroutine, not a thread, waits for it.
type loop struct {
	s    *Server
	set  *loops
	file *os.File // the epoll set
	rc   syscall.RawConn
	epfd int
	evfd int // eventfd: commands of other goroutines
	tfd  int // timerfd: the wheel's tick

	// loop goroutine only
	listener int // -1: not here or closed
	deaf     bool
	events   []unix.EpollEvent
	nev      int
	table    []*conn // by descriptor
	live     int     // in the table, or ended and waiting for Conn.Go
	gen      int32
	buf      []byte // stageSize for the half packet + readSize
	cipher   []byte // TLS: what the socket gave
	feed     []byte // TLS: the part of cipher that tls.Conn has not asked for
	feedEOF  bool
	wheel    wheel
	start    time.Time
	mute     bool // draining: no Receive
	over     bool // closing: every connection was told
	work     []*conn

	// the write lock of the connection in Receive
	scratch []byte

	// any goroutine
	awake   atomic.Bool // the loop will look at queued and the phase before it waits
	queued  atomic.Bool
	mu      sync.Mutex
	queue   []*conn
	drained chan struct{}
}

// loops is the engine of Linux.
type loops struct {
	s    *Server
	all  []*loop
	turn int // loop 0 only: which loop gets the next connection
}

// newLoops takes over the socket of ln.
func newLoops(s *Server, ln net.Listener) (engine, error) {
	rc, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	ctlErr := rc.Control(func(orig uintptr) {
		fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0)
		// Accepted sockets inherit the options.
		for _, o := range [...]struct{ level, option, value int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAlive.Idle / time.Second)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAlive.Interval / time.Second)},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAlive.Count},
		} {
			if err == nil {
				err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, o.level, o.option, o.value))
			}
		}
	})
	if ctlErr != nil {
		err = ctlErr
	}
	set := &loops{s: s}
	for range s.cfg.Loops {
		if err != nil {
			break
		}
		var l *loop
		if l, err = newLoop(set); err == nil {
			set.all = append(set.all, l)
		}
	}
	if err == nil {
		first := set.all[0]
		first.listener = fd
		err = first.control(unix.EPOLL_CTL_ADD, fd, 0, unix.EPOLLIN)
	}
	if err != nil {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		for _, l := range set.all {
			l.listener = -1
		}
		set.discard()
		return nil, err
	}
	// The copy keeps the socket listening.
	return set, ln.Close()
}

func newLoop(set *loops) (*loop, error) {
	l := &loop{
		s: set.s, set: set, listener: -1, epfd: -1, evfd: -1, tfd: -1,
		events: make([]unix.EpollEvent, eventBatch),
		buf:    make([]byte, stageSize+readSize), scratch: make([]byte, 0, readSize),
		start: time.Now(), drained: make(chan struct{}),
	}
	if l.s.cfg.TLS != nil {
		l.cipher = make([]byte, readSize)
	}
	err := l.openDescriptors()
	if err != nil {
		l.closeDescriptors()
		return nil, err
	}
	return l, nil
}

func (l *loop) openDescriptors() (err error) {
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(l.epfd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if l.evfd, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	if l.tfd, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	// Each write to the eventfd is an edge: it never needs to be read.
	if err = l.control(unix.EPOLL_CTL_ADD, l.evfd, 0, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return err
	}
	if err = l.control(unix.EPOLL_CTL_ADD, l.tfd, 0, unix.EPOLLIN); err != nil {
		return err
	}
	l.file = os.NewFile(uintptr(l.epfd), "front epoll set")
	l.rc, err = l.file.SyscallConn()
	return err
}

func (l *loop) closeDescriptors() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fd := range []*int{&l.evfd, &l.tfd, &l.listener} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	switch {
	case l.file != nil:
		l.file.Close()
	case l.epfd >= 0:
		_ = unix.Close(l.epfd)
	}
	l.epfd = -1
}

// control changes the epoll set. gen tells the users of one descriptor apart.
func (l *loop) control(op, fd int, gen int32, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: gen}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epfd, op, fd, &ev))
}

func (set *loops) start() {
	for _, l := range set.all {
		set.s.spawn(l.run)
	}
}

func (set *loops) drain() {
	for _, l := range set.all {
		l.wake()
	}
	for _, l := range set.all {
		<-l.drained
	}
}

func (set *loops) close() {
	for _, l := range set.all {
		l.wake()
	}
}

func (set *loops) discard() {
	for _, l := range set.all {
		l.closeDescriptors()
	}
}

// wake makes the loop look at its queue and at the server's phase.
func (l *loop) wake() {
	if l.awake.CompareAndSwap(false, true) {
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		l.mu.Lock() // the loop may end meanwhile
		defer l.mu.Unlock()
		if l.evfd < 0 {
			return
		}
		if _, err := unix.Write(l.evfd, one[:]); err != nil {
			l.s.log.Error("cannot wake the connection loop", slog.Any("error", err))
		}
	}
}

// post queues c, which has new commands.
func (l *loop) post(c *conn) {
	l.mu.Lock()
	l.queue = append(l.queue, c)
	l.queued.Store(true)
	l.mu.Unlock()
	l.wake()
}

// poll is what the runtime's poller repeats until there are events.
func (l *loop) poll(fd uintptr) bool {
	n, errno := sysPoll(int(fd), l.events)
	if errno != 0 && errno != unix.EINTR {
		l.s.log.Error("cannot wait for connections", slog.Any("error", errno))
	}
	l.nev = n
	return n > 0
}

func (l *loop) run() {
	spec := unix.ItimerSpec{Interval: unix.Timespec{Sec: 1}, Value: unix.Timespec{Sec: 1}}
	if err := unix.TimerfdSettime(l.tfd, 0, &spec, nil); err != nil {
		l.s.log.Error("connections have no deadlines", slog.Any("error", err))
	}
	poll := l.poll // bound once
	l.awake.Store(true)
	for {
		l.commands()
		if l.over && l.live == 0 && !l.queued.Load() {
			break // awake stays true: nobody writes to the eventfd any more
		}
		if l.queued.Load() || l.outdated() {
			l.poll(uintptr(l.epfd)) // sockets have their turn, but no waiting
		} else {
			l.awake.Store(false)
			if l.queued.Load() || l.outdated() {
				l.awake.Store(true)
				continue
			}
			err := l.rc.Read(poll)
			l.awake.Store(true)
			if err != nil {
				l.collapse(err)
				break
			}
		}
		for i := range l.nev {
			l.event(&l.events[i])
		}
	}
	l.closeDescriptors()
}

// collapse ends everything when the epoll set does not work any more, which
// should not happen.
func (l *loop) collapse(err error) {
	l.s.log.Error("connection loop ended", slog.Any("error", err))
	l.quiesce()
	for _, c := range l.table {
		if c != nil {
			c.end(err, true)
		}
	}
}

// now is the wheel's clock.
func (l *loop) now() int32 { return int32(time.Since(l.start) / time.Second) }

func (l *loop) event(ev *unix.EpollEvent) {
	fd := int(ev.Fd)
	switch fd {
	case l.evfd:
		return
	case l.tfd:
		l.tick()
		return
	case l.listener:
		l.accept()
		return
	}
	if fd >= len(l.table) {
		return
	}
	// A descriptor closed in this round may belong to a new connection.
	if c := l.table[fd]; c != nil && c.gen == ev.Pad {
		c.ready(ev.Events)
	}
}

// commands does what other goroutines and Receive have asked for by now.
func (l *loop) commands() {
	if l.queued.Load() {
		l.mu.Lock()
		l.work, l.queue = l.queue, l.work[:0]
		l.queued.Store(false)
		l.mu.Unlock()
		for i, c := range l.work {
			l.work[i] = nil
			c.commands()
		}
	}
	if l.outdated() {
		l.quiesce()
		if l.s.phase.Load() == closing {
			l.over = true
			for _, c := range l.table {
				if c != nil {
					c.end(ErrShutdown, false)
				}
			}
		}
	}
}

// outdated reports that the server's phase has moved on.
func (l *loop) outdated() bool {
	phase := l.s.phase.Load()
	return phase >= draining && !l.mute || phase == closing && !l.over
}

// quiesce stops accepting and reading.
func (l *loop) quiesce() {
	if l.mute {
		return
	}
	l.mute = true
	if l.listener >= 0 {
		_ = unix.Close(l.listener)
		l.listener = -1
	}
	for _, c := range l.table {
		if c != nil && c.session == nil {
			c.end(ErrShutdown, true)
		}
	}
	close(l.drained)
}

func (l *loop) tick() {
	var ticks [8]byte
	if _, err := unix.Read(l.tfd, ticks[:]); err != nil {
		return
	}
	if l.deaf && l.listener >= 0 {
		l.deaf = l.control(unix.EPOLL_CTL_MOD, l.listener, 0, unix.EPOLLIN) != nil
	}
	l.wheel.advance(l.now())
	if l == l.set.all[0] {
		l.s.tick()
	}
}

// accept takes what waits in the listener's queue and deals it out.
func (l *loop) accept() {
	for range acceptMax {
		fd, sa, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return
		case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.EPERM:
			continue
		default: // EMFILE, ENFILE, ENOBUFS, ENOMEM: the tick listens again
			l.s.acceptFailed(fmt.Errorf("accept: %w", err))
			l.deaf = l.control(unix.EPOLL_CTL_MOD, l.listener, 0, 0) == nil
			return
		}
		remote := addrPort(sa)
		if !l.s.admit() {
			_ = unix.Close(fd)
			l.s.failed(remote, errTooMany, early{})
			continue
		}
		l.set.turn++
		to := l.set.all[l.set.turn%len(l.set.all)]
		c := newConn(to, fd, remote)
		if to == l {
			c.adopt()
		} else {
			c.command(cmdAdopt)
		}
	}
}

// register gives c its place in the table and in the epoll set.
func (l *loop) register(c *conn, events uint32) error {
	l.gen++
	if l.gen <= 0 {
		l.gen = 1
	}
	c.gen = l.gen
	for c.fd >= len(l.table) {
		l.table = append(l.table, make([]*conn, max(64, len(l.table)))...)
	}
	l.table[c.fd] = c
	l.live++
	c.armed = events
	return l.control(unix.EPOLL_CTL_ADD, c.fd, c.gen, events)
}
