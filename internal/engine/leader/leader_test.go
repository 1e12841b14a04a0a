package leader_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func seat(t *testing.T, db state.DB, name string) *leader.Seat {
	t.Helper()
	s, err := leader.Open(t.Context(), db, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func holds(t *testing.T, s *leader.Seat, want bool) {
	t.Helper()
	got, err := s.Hold(t.Context())
	if err != nil || got != want {
		t.Fatalf("holds: %v %v, want %v", got, err, want)
	}
}

func guarded(t *testing.T, db state.DB, s *leader.Seat) error {
	t.Helper()
	return db.Write(t.Context(), func(tx state.Tx) error { return s.Guard(t.Context(), tx) })
}

// expire lets the lease of whoever leads run out, as if its node had died.
func expire(t *testing.T, db state.DB) {
	t.Helper()
	err := db.Write(t.Context(), func(tx state.Tx) error {
		_, err := tx.Exec(t.Context(), "UPDATE leader_seat SET until = '-infinity'")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAlone shows that the one node of a store of SQLite always leads.
func TestAlone(t *testing.T) {
	db := statetest.SQLite(t)
	s := seat(t, db, "work")
	if s.Shared() {
		t.Error("shared")
	}
	holds(t, s, true)
	if err := errors.Join(guarded(t, db, s), s.Release(t.Context())); err != nil {
		t.Error(err)
	}
	holds(t, s, true)
}

// TestTurns lets two nodes do a piece of work in turn, and one of them another
// piece.
func TestTurns(t *testing.T) {
	db := statetest.Postgres(t)
	a, b, other := seat(t, db, "work"), seat(t, db, "work"), seat(t, db, "other work")
	holds(t, a, true)
	holds(t, b, false)
	holds(t, a, true)
	holds(t, other, true)
	if err := guarded(t, db, a); err != nil {
		t.Error(err)
	}
	if err := guarded(t, db, b); !errors.Is(err, leader.ErrLost) {
		t.Errorf("a write of a node that does not lead: %v", err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := seat(t, db, "work") // b asks again only after a while
	holds(t, c, true)
	if err := guarded(t, db, a); !errors.Is(err, leader.ErrLost) {
		t.Errorf("a write after the release: %v", err)
	}
}

// TestReplaced shows a node that was away for longer than its lease: it learns
// that it was replaced, also when the other has come to its end meanwhile.
func TestReplaced(t *testing.T) {
	db := statetest.Postgres(t)
	a := seat(t, db, "work")
	holds(t, a, true)
	expire(t, db)
	b := seat(t, db, "work")
	holds(t, b, true)
	if err := guarded(t, db, a); !errors.Is(err, leader.ErrLost) {
		t.Errorf("a write of the replaced node: %v", err)
	}
	if err := b.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		mine, err := a.Hold(t.Context())
		if err != nil || time.Now().After(end) {
			t.Fatalf("still leads: %v %v", mine, err)
		}
		if !mine {
			break
		}
	}
}

// TestGuardHoldsOff shows that nobody takes over in the middle of a guarded
// transaction.
func TestGuardHoldsOff(t *testing.T) {
	db := statetest.Postgres(t)
	a, b := seat(t, db, "work"), seat(t, db, "work")
	holds(t, a, true)
	expire(t, db)
	inside, end := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- db.Write(context.WithoutCancel(t.Context()), func(tx state.Tx) error {
			if err := a.Guard(t.Context(), tx); err != nil {
				return err
			}
			select {
			case inside <- struct{}{}:
				<-end
			case <-end: // the transaction is run again
			}
			return nil
		})
	}()
	<-inside
	time.AfterFunc(300*time.Millisecond, func() { close(end) })
	start := time.Now()
	holds(t, b, true)
	if waited := time.Since(start); waited < 250*time.Millisecond {
		t.Errorf("the other took over after %v, within the transaction", waited)
	}
	if err := <-done; err != nil {
		t.Errorf("the guarded transaction: %v", err)
	}
}
