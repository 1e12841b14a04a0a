// Package presence knows which identity is connected, and where. One identity
// has one connection: the newest wins. It ends connections whose token has
// expired and hands every change of a connection to the registry, in the order
// in which they happened and in batches, so that a storm of connects is not a
// storm of writes.
package presence

import (
	"container/heap"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/iot"
)

// Peer is a connection; its methods must not block.
type Peer interface {
	// Kick ends the connection.
	Kick(reason error)
	// Deliver hands over something for the device; false when it has not
	// asked for that kind, or the connection cannot take it any more.
	Deliver(in *iot.Inbound) bool
}

// Change is a change of an identity's connection that is to be stored. Those of
// one identity alternate: it connected, it disconnected.
type Change struct {
	ID         iot.ID
	Generation uint64 // of the identity when it connected
	Connected  bool
	Same       bool      // Connected is as it was: only Last is new
	Since      time.Time // of the connection or its end
	Last       time.Time // last activity
}

// Saver stores changes, in order and all of them or none; the registry
// implements it. There are at most MaxSave in one call, and one call at a time.
// A call that failed is repeated with the same changes.
type Saver func(ctx context.Context, list []Change) error

// MaxSave is the largest number of changes stored together: a larger write
// would hold up others.
const MaxSave = 1024

// Deps is what the room needs.
type Deps struct {
	Save       Saver
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// saveAfter is how long changes are gathered before they are stored, when
// there are not enough for a whole write; tryAfter follows a write that failed.
// refreshEvery bounds how old the stored last activity of a device that stays
// connected can be. From maxWaiting changes on that cannot be stored, those
// that cancel each other out are dropped.
const (
	saveAfter    = 150 * time.Millisecond
	tryAfter     = time.Second
	refreshEvery = 5 * time.Minute
	maxWaiting   = 1 << 17
)

// neverYear is the year from which on an expiry means never: certificates
// without an end say 9999, which does not fit into nanoseconds.
const neverYear = 2200

// Room holds the connections of this node.
type Room struct {
	save   Saver
	logger *slog.Logger

	takeovers prometheus.Counter
	kicks     atomic.Uint64

	mu     sync.Mutex
	here   map[iot.ID]*Entry
	left   map[iot.ID]gone // whose end is not stored yet
	expiry expiryHeap
	wake   chan struct{} // capacity 1: the earliest expiry has changed
	due    chan struct{} // capacity 1: there is something to store

	queue  []Change // to be stored, oldest first
	saving int      // how many of them are being stored
	most   int      // length of the queue at which it is looked through
}

// gone is a connection that has ended.
type gone struct {
	since, last time.Time
}

// Entry is one live connection.
type Entry struct {
	id         iot.ID
	generation uint64
	peer       Peer
	since      time.Time
	expiry     int64 // Unix nanoseconds, 0 for none
	index      int   // in the heap, -1 when not there
	last       atomic.Int64
	saved      int64 // last activity that was stored; under Room.mu
}

// New makes the room; Run keeps it going.
func New(d Deps) *Room {
	r := &Room{
		save: d.Save, logger: d.Logger,
		here: map[iot.ID]*Entry{},
		left: map[iot.ID]gone{},
		wake: make(chan struct{}, 1),
		due:  make(chan struct{}, 1),
		most: maxWaiting,
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_connection_takeovers_total",
			Help: "Connections ended because the same identity connected again.",
		}),
	}
	d.Registerer.MustRegister(r.takeovers, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_devices_connected",
		Help: "Devices and modules connected to this node.",
	}, func() float64 { return float64(r.Connected()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_connection_changes_waiting",
		Help: "Connects and disconnects that are not stored yet.",
	}, func() float64 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return float64(len(r.queue))
	}))
	return r
}

// Enter makes e the connection of the identity with that generation and kicks
// an earlier one, which has ended then. A zero expiry means that the credential
// does not expire.
func (r *Room) Enter(e *Entry, id iot.ID, generation uint64, p Peer, expiry, now time.Time) {
	e.id, e.generation, e.peer, e.index = id, generation, p, -1
	e.saved = now.UnixNano()
	e.last.Store(e.saved)
	r.mu.Lock()
	old := r.here[id]
	r.here[id] = e
	if old != nil {
		now = later(now, old.since)
		r.unschedule(old)
		r.note(&Change{ID: id, Generation: old.generation, Since: now, Last: time.Unix(0, old.last.Load())})
	} else {
		delete(r.left, id)
	}
	e.since = now
	if !expiry.IsZero() && expiry.Year() < neverYear {
		e.expiry = expiry.UnixNano()
		heap.Push(&r.expiry, e)
		if e.index == 0 {
			signal(r.wake)
		}
	}
	r.note(&Change{ID: id, Generation: generation, Connected: true, Since: now, Last: now})
	r.mu.Unlock()
	if old != nil {
		r.takeovers.Inc()
		old.peer.Kick(iot.Errorf(iot.ReplacedByNewConnection,
			"another connection of %q has taken over; check that no two devices use the same id", id))
	}
}

// Leave ends e. It does nothing when a newer connection has taken over.
func (r *Room) Leave(e *Entry, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unschedule(e)
	if r.here[e.id] != e {
		return
	}
	delete(r.here, e.id)
	g := gone{later(now, e.since), time.Unix(0, e.last.Load())}
	r.left[e.id] = g
	r.note(&Change{ID: e.id, Generation: e.generation, Since: g.since, Last: g.last})
}

// later keeps the times of changes in their order: now was taken before mu.
func later(now, since time.Time) time.Time {
	if now.Before(since) {
		return since
	}
	return now
}

// note puts a change in the queue. It is called under mu.
func (r *Room) note(c *Change) {
	r.queue = append(r.queue, *c)
	switch n := len(r.queue) - r.saving; {
	case n == 1 || n == MaxSave:
		signal(r.due)
	case n >= r.most:
		r.thin()
	}
}

// ID is the identity that is connected.
func (e *Entry) ID() iot.ID { return e.id }

// Active notes activity of a connection, at now in Unix nanoseconds.
func (e *Entry) Active(now int64) { e.last.Store(now) }

// State answers what is known of an identity's connection on this node.
func (r *Room) State(id iot.ID) (connected bool, since, last time.Time, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.here[id]; e != nil {
		return true, e.since, time.Unix(0, e.last.Load()), true
	}
	if g, ok := r.left[id]; ok {
		return false, g.since, g.last, true
	}
	return false, time.Time{}, time.Time{}, false
}

// Connected counts the identities connected to this node.
func (r *Room) Connected() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.here)
}

// Kicks counts the calls of Kick. Who read a credential before and sees
// another count after Enter must read the credential again.
func (r *Room) Kicks() uint64 { return r.kicks.Load() }

// Kick ends the connection of an identity, if there is one. It is to be called
// after the change that is its reason.
func (r *Room) Kick(id iot.ID, reason error) {
	r.kicks.Add(1)
	r.mu.Lock()
	e := r.here[id]
	r.mu.Unlock()
	if e != nil {
		e.peer.Kick(reason)
	}
}

// Deliver hands something to the connection of an identity; false when there
// is none that takes it.
func (r *Room) Deliver(id iot.ID, in *iot.Inbound) bool {
	r.mu.Lock()
	e := r.here[id]
	r.mu.Unlock()
	return e != nil && e.peer.Deliver(in)
}

// Has reports whether an identity is connected to this node.
func (r *Room) Has(id iot.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.here[id] != nil
}

// Forget drops what is known of an identity that was deleted and has no
// connection. Changes that wait are not stored, as the identity is not there.
func (r *Room) Forget(id iot.ID) {
	r.mu.Lock()
	delete(r.left, id)
	r.mu.Unlock()
}

// Run ends expired connections and stores changes until ctx ends, then stores
// what is left.
func (r *Room) Run(ctx context.Context) error {
	save := time.NewTimer(time.Hour)
	save.Stop()
	defer save.Stop()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	expire := time.NewTimer(time.Hour)
	defer expire.Stop()
	failed, armed := false, false
	for {
		expire.Reset(r.expire(time.Now()))
		select {
		case <-ctx.Done():
			r.store(context.WithoutCancel(ctx), 1)
			return nil
		case <-r.due:
			switch n := r.waiting(); {
			case failed || n == 0:
			case n >= MaxSave:
				save.Reset(0)
				armed = true
			case !armed:
				save.Reset(saveAfter)
				armed = true
			}
		case <-save.C:
			failed = !r.store(ctx, MaxSave)
			switch armed = true; {
			case failed:
				save.Reset(tryAfter)
			case r.waiting() > 0:
				save.Reset(saveAfter)
			default:
				armed = false
			}
		case <-refresh.C:
			r.refresh()
		case <-expire.C:
		case <-r.wake:
		}
	}
}

func (r *Room) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

// refresh notes the last activity of connections where the stored one is old.
func (r *Room) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.here {
		if last := e.last.Load(); last != e.saved {
			e.saved = last
			r.note(&Change{ID: id, Generation: e.generation, Connected: true, Same: true, Since: e.since, Last: time.Unix(0, last)})
		}
	}
}

// expire kicks what has expired and answers how long until the next does.
func (r *Room) expire(now time.Time) time.Duration {
	var gone []*Entry
	r.mu.Lock()
	for len(r.expiry) > 0 && r.expiry[0].expiry <= now.UnixNano() {
		gone = append(gone, heap.Pop(&r.expiry).(*Entry))
	}
	next := time.Hour
	if len(r.expiry) > 0 {
		next = min(next, time.Duration(r.expiry[0].expiry-now.UnixNano())+time.Millisecond)
	}
	r.mu.Unlock()
	for _, e := range gone {
		e.peer.Kick(iot.Errorf(iot.HubUnauthorized,
			"the token of %q has expired; connect again with a new one", e.id))
	}
	return next
}

func (r *Room) unschedule(e *Entry) {
	if e.expiry != 0 && e.index >= 0 {
		heap.Remove(&r.expiry, e.index)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// expiryHeap orders connections by the expiry of their credential.
type expiryHeap []*Entry

func (h expiryHeap) Len() int           { return len(h) }
func (h expiryHeap) Less(i, j int) bool { return h[i].expiry < h[j].expiry }
func (h expiryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *expiryHeap) Push(x any) {
	e := x.(*Entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *expiryHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
