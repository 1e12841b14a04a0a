package presence

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/iot"
)

// kicked records the reason a connection was ended with.
type kicked struct {
	mu     sync.Mutex
	reason error
}

func (k *kicked) Kick(reason error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reason = reason
}

func (k *kicked) Deliver(*iot.Inbound) bool { return true }

func (k *kicked) code() iot.Code {
	k.mu.Lock()
	defer k.mu.Unlock()
	return iot.CodeOf(k.reason)
}

// store keeps what was saved, and fails while told to.
type store struct {
	mu    sync.Mutex
	saved map[iot.ID]Activity
	fail  error
}

func (s *store) save(_ context.Context, as []Activity) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for _, a := range as {
		s.saved[a.ID] = a
	}
	return nil
}

func (s *store) get(id iot.ID) (Activity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.saved[id]
	return a, ok
}

// run starts a room in a bubble and stops it at the end of f.
func run(t *testing.T, f func(t *testing.T, r *Room, s *store)) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{saved: map[iot.ID]Activity{}}
		r := New(Deps{Save: s.save, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		f(t, r, s)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestNewestConnectionWins(t *testing.T) {
	run(t, func(t *testing.T, r *Room, s *store) {
		id := iot.ID{Device: "d"}
		var first, second kicked
		var a, b Entry
		r.Enter(&a, id, &first, time.Time{}, time.Now())
		r.Enter(&b, id, &second, time.Time{}, time.Now())
		if first.code() != iot.ReplacedByNewConnection || second.code() != 0 {
			t.Fatalf("first %v, second %v", first.code(), second.code())
		}
		// The old connection's end must not end the new one.
		r.Leave(&a, time.Now())
		if on, _, _, _ := r.State(id); !on || r.Connected() != 1 {
			t.Fatal("leaving of the old connection ended the new one")
		}
		// A module is an identity of its own.
		var m Entry
		r.Enter(&m, iot.ID{Device: "d", Module: "m"}, &kicked{}, time.Time{}, time.Now())
		if second.code() != 0 || r.Connected() != 2 {
			t.Fatal("a module took over its device")
		}
		r.Leave(&b, time.Now())
		time.Sleep(saveEvery + time.Millisecond)
		synctest.Wait()
		if got, ok := s.get(id); !ok || got.Connected {
			t.Fatalf("stored %+v", got)
		}
	})
}

func TestExpiredTokenEndsConnection(t *testing.T) {
	run(t, func(t *testing.T, r *Room, _ *store) {
		late, soon, never := &kicked{}, &kicked{}, &kicked{}
		var a, b, c Entry
		r.Enter(&a, iot.ID{Device: "late"}, late, time.Now().Add(3*time.Hour), time.Now())
		r.Enter(&c, iot.ID{Device: "never"}, never, time.Time{}, time.Now())
		endless := &kicked{}
		var d Entry
		r.Enter(&d, iot.ID{Device: "endless"}, endless, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Now())
		r.Enter(&b, iot.ID{Device: "soon"}, soon, time.Now().Add(time.Minute), time.Now())
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if soon.code() != 0 {
			t.Fatal("ended before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if soon.code() != iot.HubUnauthorized || late.code() != 0 {
			t.Fatalf("after a minute: soon %v, late %v", soon.code(), late.code())
		}
		r.Leave(&b, time.Now())
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if late.code() != iot.HubUnauthorized || never.code() != 0 || endless.code() != 0 {
			t.Fatalf("after four hours: late %v, never %v", late.code(), never.code())
		}
	})
}

func TestStatesAreStoredInTheEnd(t *testing.T) {
	run(t, func(t *testing.T, r *Room, s *store) {
		id := iot.ID{Device: "d"}
		s.mu.Lock()
		s.fail = errors.New("disk full")
		s.mu.Unlock()
		var e Entry
		r.Enter(&e, id, &kicked{}, time.Time{}, time.Now())
		time.Sleep(10 * saveEvery)
		synctest.Wait()
		if _, ok := s.get(id); ok {
			t.Fatal("stored although the store failed")
		}
		s.mu.Lock()
		s.fail = nil
		s.mu.Unlock()
		time.Sleep(saveEvery + time.Millisecond)
		synctest.Wait()
		if got, ok := s.get(id); !ok || !got.Connected {
			t.Fatalf("stored %+v", got)
		}
		// Activity of a connection that stays is stored now and then.
		at := time.Now().Add(time.Second)
		e.Active(at.UnixNano())
		time.Sleep(refreshEvery + 2*saveEvery)
		synctest.Wait()
		if got, _ := s.get(id); !got.Last.Equal(at) {
			t.Fatalf("last activity stored as %v, want %v", got.Last, at)
		}
	})
}
