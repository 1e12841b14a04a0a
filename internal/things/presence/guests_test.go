package presence

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/iot"
)

func TestGuests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var saved []Visit
		var fail error
		room := New(Deps{Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		g := NewGuests(GuestsDeps{Room: room, Logger: slog.New(slog.DiscardHandler), Save: func(_ context.Context, list []Visit) error {
			mu.Lock()
			defer mu.Unlock()
			if len(list) == 0 || len(list) > MaxSave {
				t.Errorf("%d visits at once", len(list))
			}
			if fail != nil {
				return fail
			}
			saved = append(saved, list...)
			return nil
		}})
		take := func() []Visit {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			defer func() { saved = nil }()
			return saved
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- g.Run(ctx) }()

		a, b := iot.ID{Device: "a"}, iot.ID{Device: "b", Module: "m"}
		first := time.Now()
		g.Note(a, 1, first)
		g.Note(b, 2, first)
		time.Sleep(2 * lookEvery)
		if got := take(); len(got) != 2 {
			t.Errorf("first visits: %v", got)
		}
		// Who comes often is stored seldom, and with the last time.
		var last time.Time
		for range 20 {
			last = time.Now()
			g.Note(a, 1, last)
			time.Sleep(time.Second)
		}
		if got := take(); len(got) != 0 {
			t.Errorf("stored too often: %v", got)
		}
		time.Sleep(visitEvery)
		if got := take(); len(got) != 1 || got[0] != (Visit{a, 1, last}) {
			t.Errorf("have %v, want that of %v", got, last)
		}
		// A device with the same id that was made anew.
		g.Note(a, 3, time.Now())
		time.Sleep(2 * lookEvery)
		if got := take(); len(got) != 1 || got[0].Generation != 3 {
			t.Errorf("made anew: %v", got)
		}
		time.Sleep(2 * visitEvery)
		g.mu.Lock()
		if len(g.known) != 0 {
			t.Errorf("%d guests are remembered who have not come again", len(g.known))
		}
		g.mu.Unlock()
		// Who is connected is no guest.
		var e Entry
		room.Enter(&e, a, 3, &kicked{}, time.Time{}, time.Now())
		time.Sleep(time.Second)
		g.Note(a, 3, time.Now())
		if _, _, active, _ := room.State(a); !active.Equal(time.Now()) {
			t.Errorf("last activity of a connection: %v", active)
		}
		g.Note(a, 4, time.Now()) // but another one of that name is
		time.Sleep(2 * lookEvery)
		if got := take(); len(got) != 1 || got[0].Generation != 4 {
			t.Errorf("beside a connection: %v", got)
		}
		// Failures are repeated, many come in parts, and the end stores what is left.
		mu.Lock()
		fail = errors.New("full")
		mu.Unlock()
		for i := range 3 * MaxSave {
			g.Note(iot.ID{Device: strconv.Itoa(i)}, 1, time.Now())
		}
		time.Sleep(5 * lookEvery)
		mu.Lock()
		fail = nil
		mu.Unlock()
		time.Sleep(lookEvery)
		if got := take(); len(got) != 3*MaxSave {
			t.Errorf("after a failure: %d", len(got))
		}
		g.Note(b, 2, time.Now())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := take(); len(got) != 1 {
			t.Errorf("at the end: %v", got)
		}
	})
}
