package presence

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/iot"
)

// Visit is a last activity of an identity without a connection.
type Visit struct {
	ID         iot.ID
	Generation uint64
	Last       time.Time
}

// Guests knows the identities that come over HTTPS, with single calls. They are
// never connected, but their last activity is stored: soon when one comes for
// the first time, and from then on at most every visitEvery.
type Guests struct {
	room   *Room
	save   func(ctx context.Context, list []Visit) error
	logger *slog.Logger

	mu    sync.Mutex
	known map[iot.ID]*guest
}

type guest struct {
	generation uint64
	last       time.Time
	saved      time.Time // what of last is stored
}

// GuestsDeps is what the guests need.
type GuestsDeps struct {
	// Room has those that are connected as well.
	Room *Room
	// Save stores up to MaxSave visits, all of them or none.
	Save   func(ctx context.Context, list []Visit) error
	Logger *slog.Logger
}

const (
	visitEvery = 30 * time.Second
	lookEvery  = time.Second
	maxGuests  = 1 << 20 // those above are not noted before others are stored
)

// NewGuests makes them; Run keeps them going.
func NewGuests(d GuestsDeps) *Guests {
	return &Guests{room: d.Room, save: d.Save, logger: d.Logger, known: map[iot.ID]*guest{}}
}

// Note says that an identity was here just now.
func (g *Guests) Note(id iot.ID, generation uint64, now time.Time) {
	if g.room.touch(id, generation, now) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	have := g.known[id]
	switch {
	case have == nil && len(g.known) >= maxGuests:
		return
	case have == nil || have.generation != generation:
		g.known[id] = &guest{generation: generation, last: now}
	default:
		have.last = now
	}
}

// touch notes the activity of a connection, if there is one.
func (r *Room) touch(id iot.ID, generation uint64, now time.Time) bool {
	r.mu.Lock()
	e := r.here[id]
	r.mu.Unlock()
	if e == nil || e.generation != generation {
		return false
	}
	e.Active(now.UnixNano())
	return true
}

// Run stores visits until ctx ends, then those that are left.
func (g *Guests) Run(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case now := <-look.C:
			g.store(ctx, now.Add(-visitEvery))
		case <-ctx.Done():
			g.store(context.WithoutCancel(ctx), time.Now().Add(time.Hour))
			return nil
		}
	}
}

// store saves the visits of those whose stored one is before due, and forgets
// who has not come again since then.
func (g *Guests) store(ctx context.Context, due time.Time) {
	list := make([]Visit, 0, 64)
	for {
		list = list[:0]
		g.mu.Lock()
		for id, v := range g.known {
			switch {
			case v.saved.After(due):
			case v.last.Equal(v.saved):
				delete(g.known, id)
			default:
				list = append(list, Visit{id, v.generation, v.last})
			}
			if len(list) == MaxSave {
				break
			}
		}
		g.mu.Unlock()
		if len(list) == 0 {
			return
		}
		if err := g.save(ctx, list); err != nil {
			g.logger.Error("visits of devices over HTTPS not stored, will be tried again", slog.Int("count", len(list)), slog.Any("error", err))
			return
		}
		g.mu.Lock()
		for i := range list {
			if v := g.known[list[i].ID]; v != nil && v.generation == list[i].Generation {
				v.saved = list[i].Last
			}
		}
		g.mu.Unlock()
	}
}
