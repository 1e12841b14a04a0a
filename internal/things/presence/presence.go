// Package presence knows which identity is connected, and where. One identity
// has one connection: the newest wins. It ends connections whose token has
// expired and keeps connection state and last activity up to date in the
// registry, in batches, so that a storm of connects is not a storm of writes.
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

// Activity is a connection state to be stored.
type Activity struct {
	ID        iot.ID
	Connected bool
	Since     time.Time // last change of Connected
	Last      time.Time // last activity
}

// Saver stores activities; the registry implements it.
type Saver func(ctx context.Context, a []Activity) error

// Deps is what the room needs.
type Deps struct {
	Save       Saver
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// saveEvery is how often changed states are stored; refreshEvery bounds how
// old the stored last activity of a device that stays connected can be.
const (
	saveEvery    = time.Second
	refreshEvery = 5 * time.Minute
	saveBatch    = 5000
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
	expiry expiryHeap
	dirty  map[iot.ID]Activity
	wake   chan struct{} // capacity 1: the earliest expiry has changed
}

// Entry is one live connection.
type Entry struct {
	id     iot.ID
	peer   Peer
	since  time.Time
	expiry int64 // Unix nanoseconds, 0 for none
	index  int   // in the heap, -1 when not there
	last   atomic.Int64
	saved  int64 // last activity that was stored; under Room.mu
}

// New makes the room; Run keeps it going.
func New(d Deps) *Room {
	r := &Room{
		save: d.Save, logger: d.Logger,
		here:  map[iot.ID]*Entry{},
		dirty: map[iot.ID]Activity{},
		wake:  make(chan struct{}, 1),
		takeovers: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_connection_takeovers_total",
			Help: "Connections ended because the same identity connected again.",
		}),
	}
	d.Registerer.MustRegister(r.takeovers, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dunlin_devices_connected",
		Help: "Devices and modules connected to this node.",
	}, func() float64 { return float64(r.Connected()) }))
	return r
}

// Enter makes e the connection of id and kicks an earlier one. A zero expiry
// means that the credential does not expire.
func (r *Room) Enter(e *Entry, id iot.ID, p Peer, expiry, now time.Time) {
	e.id, e.peer, e.since, e.index = id, p, now, -1
	e.saved = now.UnixNano()
	e.last.Store(e.saved)
	r.mu.Lock()
	old := r.here[id]
	r.here[id] = e
	if old != nil {
		r.unschedule(old)
	}
	if !expiry.IsZero() && expiry.Year() < neverYear {
		e.expiry = expiry.UnixNano()
		heap.Push(&r.expiry, e)
		if e.index == 0 {
			r.signal()
		}
	}
	r.dirty[id] = Activity{ID: id, Connected: true, Since: now, Last: now}
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
	r.dirty[e.id] = Activity{ID: e.id, Since: now, Last: time.Unix(0, e.last.Load())}
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
	if a, ok := r.dirty[id]; ok {
		return a.Connected, a.Since, a.Last, true
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

// Forget drops what is waiting to be stored for an identity that was deleted.
func (r *Room) Forget(id iot.ID) {
	r.mu.Lock()
	delete(r.dirty, id)
	r.mu.Unlock()
}

// Run ends expired connections and stores states until ctx ends, then stores
// what is left.
func (r *Room) Run(ctx context.Context) error {
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	expire := time.NewTimer(time.Hour)
	defer expire.Stop()
	for {
		expire.Reset(r.expire(time.Now()))
		select {
		case <-ctx.Done():
			r.Flush(context.WithoutCancel(ctx))
			return nil
		case <-save.C:
			r.Flush(ctx)
		case <-refresh.C:
			r.refresh()
		case <-expire.C:
		case <-r.wake:
		}
	}
}

// Flush stores every changed state now.
func (r *Room) Flush(ctx context.Context) {
	for {
		r.mu.Lock()
		batch := make([]Activity, 0, min(len(r.dirty), saveBatch))
		for id, a := range r.dirty {
			if len(batch) == saveBatch {
				break
			}
			batch = append(batch, a)
			delete(r.dirty, id)
		}
		if len(r.dirty) == 0 {
			r.dirty = map[iot.ID]Activity{} // a map keeps the room of its fullest hour
		}
		r.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if err := r.save(ctx, batch); err != nil {
			r.logger.Error("connection states not stored, will be tried again", slog.Int("count", len(batch)), slog.Any("error", err))
			r.mu.Lock()
			for _, a := range batch {
				if _, newer := r.dirty[a.ID]; !newer {
					r.dirty[a.ID] = a
				}
			}
			r.mu.Unlock()
			return
		}
	}
}

// refresh marks connections whose stored last activity is out of date.
func (r *Room) refresh() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.here {
		if last := e.last.Load(); last != e.saved {
			e.saved = last
			r.dirty[id] = Activity{ID: id, Connected: true, Since: e.since, Last: time.Unix(0, last)}
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

func (r *Room) signal() {
	select {
	case r.wake <- struct{}{}:
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
