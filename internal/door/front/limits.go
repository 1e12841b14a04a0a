package front

import (
	"errors"
	"math/bits"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultMaxHalfOpen = 10_000
	defaultSetup       = 30 * time.Second
	defaultMaxUnread   = 512 << 10
	defaultMaxPending  = 256 << 10

	flushTime  = 2 // seconds that pending bytes get after Close
	lingerTime = 1 // seconds that the peer gets to close its side after that
)

// Reasons that a session is told as nil: Close was called without one (the
// first reason given wins, nil too), and the peer's end of stream.
var (
	errNone = errors.New("front: closed without a reason")
	errEOF  = errors.New("front: end of stream")
)

func forSession(reason error) error {
	if errors.Is(reason, errNone) || errors.Is(reason, errEOF) {
		return nil
	}
	return reason
}

func (l Limits) withDefaults() Limits {
	if l.MaxHalfOpen <= 0 {
		l.MaxHalfOpen = defaultMaxHalfOpen
	}
	if l.Handshakes <= 0 {
		l.Handshakes = 4 * runtime.GOMAXPROCS(0)
	}
	if l.Setup <= 0 {
		l.Setup = defaultSetup
	}
	if l.MaxUnread <= 0 {
		l.MaxUnread = defaultMaxUnread
	}
	if l.MaxPending <= 0 {
		l.MaxPending = defaultMaxPending
	}
	return l
}

// seconds rounds up.
func seconds(d time.Duration) int32 {
	if d <= 0 {
		return 0
	}
	return int32(min((d-1)/time.Second+1, 1<<30))
}

// halfOpen lists the connections that have not called SetIdle yet, oldest first.
type halfOpen struct {
	mu          sync.Mutex
	n, limit    int
	first, last *halfLink
}

// A halfLink is the place of one connection in the list.
type halfLink struct {
	next, prev *halfLink
	in         bool
	owner      aborter
}

// aborter ends a connection at once; any goroutine may call it.
type aborter interface{ abort(reason error) }

// add appends l; above the limit the oldest connection is aborted for it.
func (h *halfOpen) add(l *halfLink, owner aborter) {
	var oldest *halfLink
	h.mu.Lock()
	l.owner, l.in = owner, true
	l.prev = h.last
	if h.last != nil {
		h.last.next = l
	} else {
		h.first = l
	}
	h.last = l
	if h.n++; h.n > h.limit {
		oldest = h.first
		h.unlink(oldest)
	}
	h.mu.Unlock()
	if oldest != nil {
		oldest.owner.abort(ErrHalfOpen)
	}
}

// remove takes l out and reports whether it was in.
func (h *halfOpen) remove(l *halfLink) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !l.in {
		return false
	}
	h.unlink(l)
	return true
}

func (h *halfOpen) unlink(l *halfLink) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		h.first = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		h.last = l.prev
	}
	l.next, l.prev, l.in = nil, nil, false
	h.n--
}

func (h *halfOpen) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// buffers lends slices for half packets and for bytes that a peer has not
// taken yet. Connections hold one only while they need it.
type buffers struct {
	mu   sync.Mutex
	free [bufClasses][][]byte
}

const (
	bufMinBits = 9  // 512 bytes
	bufMaxBits = 20 // 1 MiB; longer ones are left to the collector
	bufClasses = bufMaxBits - bufMinBits + 1
	bufKeep    = 1 << 20 // bytes kept per class
)

// get lends an empty slice with room for n bytes.
func (b *buffers) get(n int) []byte {
	class := max(bits.Len(uint(max(n, 1)-1)), bufMinBits) - bufMinBits
	if class >= bufClasses {
		return make([]byte, 0, n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.free[class]; len(l) > 0 {
		p := l[len(l)-1]
		l[len(l)-1] = nil
		b.free[class] = l[:len(l)-1]
		return p
	}
	return make([]byte, 0, 1<<(class+bufMinBits))
}

// put takes back what get lent. Slices of other origin are ignored.
func (b *buffers) put(p []byte) {
	size := cap(p)
	if size < 1<<bufMinBits || size > 1<<bufMaxBits || size&(size-1) != 0 {
		return
	}
	class := bits.Len(uint(size-1)) - bufMinBits
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.free[class])*size < bufKeep {
		b.free[class] = append(b.free[class], p[:0])
	}
}

// grow appends q to p, moving to a longer lent slice when needed.
func (b *buffers) grow(p, q []byte) []byte {
	if len(p)+len(q) > cap(p) {
		next := append(b.get(max(len(p)+len(q), 2*len(p))), p...)
		b.put(p)
		p = next
	}
	return append(p, q...)
}

// storm gives the garbage of many arrivals back to the system once they are
// over: handshakes and authentication leave as much behind as an idle
// connection keeps.
type storm struct {
	arrivals atomic.Int64 // connections set up since the last release
	seen     int64        // tick only: arrivals at the last tick
	quiet    int          // tick only: seconds without one
	running  atomic.Bool
}

const (
	stormSize  = 1000
	stormQuiet = 2 // seconds
)

func (m *storm) note() { m.arrivals.Add(1) }

// tick is called once a second by one goroutine; it reports that release
// should run now.
func (m *storm) tick() bool {
	n := m.arrivals.Load()
	if n != m.seen {
		m.seen, m.quiet = n, 0
		return false
	}
	m.quiet++
	if n < stormSize || m.quiet < stormQuiet || m.running.Load() {
		return false
	}
	m.arrivals.Add(-n)
	m.seen, m.quiet = 0, 0
	return true
}

func (m *storm) release() {
	m.running.Store(true)
	debug.FreeOSMemory()
	m.running.Store(false)
}
