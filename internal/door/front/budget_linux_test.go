package front

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls of the hot path, and what they say when there is nothing to do.
func TestSystemCalls(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) // blocking on purpose
	if err != nil {
		t.Fatal(err)
	}
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epfd)
	defer unix.Close(fds[0])
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fds[0]), Pad: 7}
	if err := unix.EpollCtl(epfd, unix.EPOLL_CTL_ADD, fds[0], &ev); err != nil {
		t.Fatal(err)
	}
	events := make([]unix.EpollEvent, 4)
	buf := make([]byte, 100)

	if n, errno := sysPoll(epfd, events); n != 0 || errno != 0 {
		t.Errorf("poll of nothing: %d, %v", n, errno)
	}
	if n, errno := sysRecv(fds[0], buf); n != 0 || errno != unix.EAGAIN {
		t.Errorf("recv of nothing: %d, %v", n, errno)
	}
	if n, errno := sysSend(fds[1], []byte("hello")); n != 5 || errno != 0 {
		t.Errorf("send: %d, %v", n, errno)
	}
	if n, errno := sysPoll(epfd, events); n != 1 || errno != 0 || events[0].Fd != int32(fds[0]) || events[0].Pad != 7 {
		t.Errorf("poll: %d, %v, %+v", n, errno, events[0])
	}
	if n, errno := sysRecv(fds[0], buf); errno != 0 || string(buf[:n]) != "hello" {
		t.Errorf("recv: %q, %v", buf[:n], errno)
	}
	full := make([]byte, 1<<20)
	for errno := syscall.Errno(0); errno != unix.EAGAIN; {
		if _, errno = sysSend(fds[1], full); errno != 0 && errno != unix.EAGAIN {
			t.Fatalf("send into a full socket: %v", errno)
		}
	}
	unix.Close(fds[1])
	for n := 1; n > 0; {
		var errno syscall.Errno
		if n, errno = sysRecv(fds[0], full); errno != 0 {
			t.Fatalf("recv before the end of stream: %v", errno)
		}
	}
	if _, errno := sysSend(fds[0], buf); errno != unix.EPIPE { // and no signal
		t.Errorf("send to a closed peer: %v", errno)
	}
	if _, errno := sysRecv(-1, buf); errno != unix.EBADF {
		t.Errorf("recv on no descriptor: %v", errno)
	}
	if _, errno := sysPoll(-1, events); errno != unix.EBADF {
		t.Errorf("poll on no descriptor: %v", errno)
	}
}

// onLoop runs the test on the loop alone.
func onLoop(t *testing.T, test func(t tester, v variant)) {
	t.Helper()
	for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13} {
		v := variant{version: version}
		t.Run(v.String(), func(t *testing.T) { test(tester{t}, v) })
	}
}

// A round trip allocates nothing on the loop; crypto/tls allocates 24 bytes
// per read of its transport.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		return // the detector allocates
	}
	onLoop(t, func(t tester, v variant) {
		ts := start(t, v, Config{Open: newSessions(echo).open})
		nc := ts.dial(t)
		msg := frame(make([]byte, 150))
		got := make([]byte, len(msg))
		// In two pieces, so that a half packet is kept and given back.
		trip := func() {
			_, _ = nc.Write(msg[:70])
			_, _ = nc.Write(msg[70:])
			if _, err := io.ReadFull(nc, got); err != nil {
				t.Fatal(err)
			}
		}
		budget := 0.0
		if v.version != 0 {
			budget = 8 // the client's are among them
		}
		for range 100 {
			trip()
		}
		n := testing.AllocsPerRun(2_000, trip)
		t.Logf("%v allocations per round trip", n)
		if n > budget {
			t.Errorf("%v allocations per round trip, want %v at most", n, budget)
		}
	})
}

// idle is the smallest of sessions.
type idle struct{ c Conn }

func (*idle) Receive(b []byte) (int, error) { return len(b), nil }
func (*idle) Closed(error)                  {}

// What an idle connection costs the server, its session included.
func TestMemory(t *testing.T) {
	if raceEnabled {
		return // the detector allocates
	}
	budgets := map[variant]int{
		{}:                            3 << 10,
		{version: 0x303}:              20 << 10,
		{version: 0x304}:              20 << 10,
		{plain: true}:                 20 << 10,
		{plain: true, version: 0x303}: 40 << 10,
		{plain: true, version: 0x304}: 40 << 10,
	}
	everywhere(t, func(t tester, v variant) {
		const conns = 500
		ts := start(t, v, Config{Open: func(c Conn) Session {
			c.SetIdle(time.Hour)
			return &idle{c: c}
		}})
		client := make([]int, 0, conns)
		defer func() {
			for _, fd := range client {
				unix.Close(fd)
			}
		}()
		// The client's side is a descriptor, so that only the server's memory counts.
		dial := func() {
			tcp, err := net.Dial("tcp", ts.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer tcp.Close()
			if v.version != 0 {
				ts.wrap(t, tcp)
			}
			rc, err := tcp.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			_ = rc.Control(func(fd uintptr) {
				dup, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
				if err != nil {
					t.Error(err)
					return
				}
				client = append(client, dup)
			})
		}
		for range 50 {
			dial()
		}
		memory := func() (live, resident int) {
			debug.FreeOSMemory()
			debug.FreeOSMemory() // pools empty in two steps
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return int(m.HeapAlloc + m.StackInuse), residentBytes(t)
		}
		eventually(t, "warm", func() bool { return ts.Stats().Open == 50 && ts.Stats().HalfOpen == 0 })
		live0, resident0 := memory()
		for range conns {
			dial()
		}
		eventually(t, "open", func() bool { return ts.Stats().Open == conns+50 && ts.Stats().HalfOpen == 0 })
		live1, resident1 := memory()
		live, resident := (live1-live0)/conns, (resident1-resident0)/conns
		t.Logf("%d bytes of heap and stack, %d bytes resident per idle connection", live, resident)
		if live > budgets[v] {
			t.Errorf("%d bytes per idle connection, want %d at most", live, budgets[v])
		}
	})
}

func residentBytes(tb testing.TB) int {
	tb.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// A device that once sent a long record does not keep its buffer.
func TestTrim(t *testing.T) {
	if rawInputOffset == noField || handOffset == noField {
		t.Fatal("crypto/tls has changed: look at trim again")
	}
	onLoop(t, func(t tester, v variant) {
		if v.version == 0 {
			return
		}
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		kept := func(s *session) int {
			tc := s.c.(*conn).tls
			return (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(tc), rawInputOffset)).Cap() +
				(*bytes.Buffer)(unsafe.Add(unsafe.Pointer(tc), handOffset)).Cap()
		}
		roundTrip(t, nc, 10)
		s := ss.next(t)
		roundTrip(t, nc, 200_000)
		for range 5 {
			roundTrip(t, nc, 10)
		}
		ts.Drain() // the loop does not touch it any more
		if n := kept(s); n > trimMin {
			t.Errorf("%d bytes of buffers kept", n)
		}
	})
}

// Without descriptors left the loop waits, logs once and goes on later.
func TestOutOfDescriptors(t *testing.T) {
	for _, plain := range []bool{false, true} {
		v := variant{plain: plain}
		var logged atomic.Int32
		ts := start(t, v, Config{Open: newSessions(echo).open, Logger: slog.New(countingHandler{&logged})})
		roundTrip(t, ts.dial(t), 1)
		var old unix.Rlimit
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		low := old
		low.Cur = uint64(openFiles(t) + 20)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		var fill []int
		for {
			fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				break
			}
			fill = append(fill, fd)
		}
		unix.Close(fill[0]) // for the client's socket
		nc, err := net.Dial("tcp", ts.Addr().String())
		eventually(t, "failure logged", func() bool { return logged.Load() == 1 })
		for _, fd := range fill[1:] {
			unix.Close(fd)
		}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, nc, 10)
		if n := logged.Load(); n != 1 {
			t.Errorf("%d lines logged", n)
		}
		nc.Close()
	}
}

type countingHandler struct{ n *atomic.Int32 }

func (h countingHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (h countingHandler) Handle(context.Context, slog.Record) error { h.n.Add(1); return nil }
func (h countingHandler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h countingHandler) WithGroup(string) slog.Handler             { return h }

// What every socket needs costs no call each: it is inherited.
func TestSocketOptions(t *testing.T) {
	ss := newSessions(echo)
	ts := start(t, variant{}, Config{Open: ss.open})
	ts.dial(t)
	fd := ss.next(t).c.(*conn).fd
	for _, o := range []struct {
		name                 string
		level, option, value int
	}{
		{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.option); err != nil || got != o.value {
			t.Errorf("%s is %d (%v), want %d", o.name, got, err, o.value)
		}
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x (%v): child processes would inherit the socket", flags, err)
	}
}

func TestOpenFilesLimit(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: min(old.Max, 500), Max: old.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	start(t, variant{}, Config{Open: newSessions(echo).open})
	var got unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &got); err != nil || got.Cur != old.Max {
		t.Errorf("soft limit %d (%v), want %d", got.Cur, err, old.Max)
	}
}
