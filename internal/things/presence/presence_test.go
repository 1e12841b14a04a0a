package presence

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
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
	saved map[iot.ID]Change
	list  []Change
	calls int
	fail  error
}

func (s *store) save(_ context.Context, list []Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail != nil {
		return s.fail
	}
	if len(list) == 0 || len(list) > MaxSave {
		panic("a save of too few or too many")
	}
	for _, c := range list {
		s.saved[c.ID] = c
	}
	s.list = append(s.list, list...)
	return nil
}

func (s *store) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *store) get(id iot.ID) (Change, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.saved[id]
	return c, ok
}

// all gives what was saved, and in how many calls.
func (s *store) all() ([]Change, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list), s.calls
}

// run starts a room in a bubble and stops it at the end of f.
func run(t *testing.T, f func(t *testing.T, r *Room, s *store)) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{saved: map[iot.ID]Change{}}
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
		r.Enter(&a, id, 1, &first, time.Time{}, time.Now())
		r.Enter(&b, id, 1, &second, time.Time{}, time.Now())
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
		r.Enter(&m, iot.ID{Device: "d", Module: "m"}, 1, &kicked{}, time.Time{}, time.Now())
		if second.code() != 0 || r.Connected() != 2 {
			t.Fatal("a module took over its device")
		}
		r.Leave(&b, time.Now())
		time.Sleep(saveAfter + time.Millisecond)
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
		r.Enter(&a, iot.ID{Device: "late"}, 1, late, time.Now().Add(3*time.Hour), time.Now())
		r.Enter(&c, iot.ID{Device: "never"}, 1, never, time.Time{}, time.Now())
		endless := &kicked{}
		var d Entry
		r.Enter(&d, iot.ID{Device: "endless"}, 1, endless, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Now())
		r.Enter(&b, iot.ID{Device: "soon"}, 1, soon, time.Now().Add(time.Minute), time.Now())
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
		s.failing(errors.New("disk full"))
		var e Entry
		r.Enter(&e, id, 1, &kicked{}, time.Time{}, time.Now())
		time.Sleep(10 * tryAfter)
		synctest.Wait()
		if _, ok := s.get(id); ok {
			t.Fatal("stored although the store failed")
		}
		s.failing(nil)
		time.Sleep(tryAfter + time.Millisecond)
		synctest.Wait()
		if got, ok := s.get(id); !ok || !got.Connected || got.Same || got.Generation != 1 {
			t.Fatalf("stored %+v", got)
		}
		// Activity of a connection that stays is stored now and then.
		at := time.Now().Add(time.Second)
		e.Active(at.UnixNano())
		time.Sleep(refreshEvery + 2*saveAfter)
		synctest.Wait()
		if got, _ := s.get(id); !got.Last.Equal(at) || !got.Same || !got.Connected {
			t.Fatalf("last activity stored as %+v, want %v", got, at)
		}
	})
}

// TestChangesAreStoredInOrder shows that none is left out, a take-over is an
// end and a beginning, and each reaches the store within moments.
func TestChangesAreStoredInOrder(t *testing.T) {
	run(t, func(t *testing.T, r *Room, s *store) {
		id := iot.ID{Device: "d"}
		var a, b, c Entry
		begin := time.Now()
		r.Enter(&a, id, 1, &kicked{}, time.Time{}, begin)
		r.Enter(&b, id, 2, &kicked{}, time.Time{}, begin.Add(-time.Second)) // its clock was read before
		r.Leave(&a, time.Now())
		r.Leave(&b, begin.Add(time.Second))
		r.Enter(&c, id, 2, &kicked{}, time.Time{}, begin.Add(2*time.Second))
		time.Sleep(saveAfter)
		synctest.Wait()
		list, calls := s.all()
		if len(list) != 5 || calls != 1 {
			t.Fatalf("stored %+v in %d calls", list, calls)
		}
		for i, want := range []Change{
			{ID: id, Generation: 1, Connected: true, Since: begin},
			{ID: id, Generation: 1, Since: begin},
			{ID: id, Generation: 2, Connected: true, Since: begin},
			{ID: id, Generation: 2, Since: begin.Add(time.Second)},
			{ID: id, Generation: 2, Connected: true, Since: begin.Add(2 * time.Second)},
		} {
			got := list[i]
			if got.ID != want.ID || got.Generation != want.Generation || got.Connected != want.Connected || !got.Since.Equal(want.Since) || got.Same {
				t.Errorf("change %d: %+v, want %+v", i, got, want)
			}
		}
		// Many are stored at once, and none waits for more than its time.
		for range 2*MaxSave + 1 {
			r.Leave(&c, time.Now())
			r.Enter(&c, id, 2, &kicked{}, time.Time{}, time.Now())
		}
		synctest.Wait()
		if list, _ := s.all(); len(list) < 5+4*MaxSave {
			t.Errorf("%d changes are stored at once", len(list))
		}
		time.Sleep(saveAfter)
		synctest.Wait()
		if list, _ := s.all(); len(list) != 5+4*MaxSave+2 {
			t.Errorf("%d changes are stored in the end", len(list))
		}
	})
}

// TestEndIsKnownBeforeItIsStored asks for the state of a device whose end has
// not reached the store, which still says that it is connected.
func TestEndIsKnownBeforeItIsStored(t *testing.T) {
	run(t, func(t *testing.T, r *Room, s *store) {
		id := iot.ID{Device: "d"}
		var e Entry
		r.Enter(&e, id, 1, &kicked{}, time.Time{}, time.Now())
		time.Sleep(saveAfter)
		synctest.Wait()
		s.failing(errors.New("disk full"))
		r.Leave(&e, time.Now())
		for range 2 {
			if on, _, _, known := r.State(id); on || !known {
				t.Fatalf("connected: %t, known: %t", on, known)
			}
			time.Sleep(saveAfter)
			synctest.Wait()
		}
		s.failing(nil)
		time.Sleep(tryAfter)
		synctest.Wait()
		if _, _, _, known := r.State(id); known {
			t.Error("the end is still kept after it was stored")
		}
	})
}

// TestChangesThatCannotBeStoredAreBounded lets few devices come and go while
// the store takes nothing: what is stored in the end alternates and ends with
// the state of each.
func TestChangesThatCannotBeStoredAreBounded(t *testing.T) {
	run(t, func(t *testing.T, r *Room, s *store) {
		const devices = 100
		s.failing(errors.New("disk full"))
		var ids [devices]iot.ID
		var entries [devices]*Entry
		for i := range ids {
			ids[i] = iot.ID{Device: strconv.Itoa(i)}
		}
		for n := range 3 * maxWaiting {
			i := n * 7 % devices
			if entries[i] != nil && n%3 > 0 {
				r.Leave(entries[i], time.Now())
				entries[i] = nil
				continue
			}
			entries[i] = &Entry{}
			r.Enter(entries[i], ids[i], 1, &kicked{}, time.Time{}, time.Now())
		}
		if n := r.waiting(); n > maxWaiting+1 {
			t.Errorf("%d changes wait", n)
		}
		s.failing(nil)
		time.Sleep(2 * tryAfter)
		synctest.Wait()
		list, _ := s.all()
		state := map[iot.ID]bool{}
		for _, c := range list {
			if c.Connected == state[c.ID] {
				t.Fatalf("%v: connected is %t again", c.ID, c.Connected)
			}
			state[c.ID] = c.Connected
		}
		for i, e := range entries {
			if state[ids[i]] != (e != nil) {
				t.Errorf("%v ends with %t", ids[i], state[ids[i]])
			}
		}
	})
}
