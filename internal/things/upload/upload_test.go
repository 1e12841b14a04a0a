package upload

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/trust/grant"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

// site is a room with what it needs.
type site struct {
	*Room
	t     *testing.T
	db    state.DB
	store *dir.Store
	deps  Deps
}

func newSite(t *testing.T, db state.DB, change func(*Limits)) *site {
	t.Helper()
	store, err := dir.Open(t.Context(), dir.Config{Path: filepath.Join(t.TempDir(), "blobs"), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	grants, err := grant.Open(t.Context(), grant.Deps{DB: db, Account: "hub", Host: func() string { return "hub.example" }, Ours: func(host string) bool { return host == "alias.example" }})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, db: db, store: store}
	s.deps = Deps{DB: db, Blobs: store, Grants: grants, Container: "uploads", Limits: StrictLimits(), Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&s.deps.Limits)
	}
	s.open()
	return s
}

// open opens the room, again when it was open.
func (s *site) open() {
	s.t.Helper()
	s.deps.Registerer = prometheus.NewRegistry()
	var err error
	if s.Room, err = Open(s.t.Context(), s.deps); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) begin(device, name string) Ticket {
	s.t.Helper()
	k, err := s.Begin(s.t.Context(), device, 1, name, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

func (s *site) write(name string) {
	s.t.Helper()
	if _, err := s.store.Put(s.t.Context(), blob.Ref{Container: "uploads", Name: name}, strings.NewReader("x"), blob.WriteOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) exec(query string, args ...any) {
	s.t.Helper()
	err := s.db.Write(s.t.Context(), func(tx state.Tx) error {
		_, err := tx.Exec(s.t.Context(), query, args...)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) next() *Notification {
	s.t.Helper()
	n, err := s.ReceiveNotification(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func TestExpiry(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := newSite(t, db, nil)
		k := s.begin("d", "a")
		s.write("d/a")
		past := time.Now().Add(-time.Second).UnixNano()
		s.exec("UPDATE upload SET expires = ?", past)
		if err := s.Finish(t.Context(), "d", 1, k.Correlation, true); iot.CodeOf(err) != iot.ExpiredCorrelationID {
			t.Errorf("expired: %v", err)
		}
		for range 10 { // it does not count any more
			s.begin("d", "b")
		}
		if err := s.sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(t.Context(), "d", 1, k.Correlation, true); iot.CodeOf(err) != iot.ExpiredCorrelationID {
			t.Errorf("expired a moment ago, after a sweep: %v", err)
		}
		if err := s.sweep(t.Context(), time.Now().Add(answerFor)); err != nil {
			t.Fatal(err)
		}
		if err := s.Finish(t.Context(), "d", 1, k.Correlation, true); iot.CodeOf(err) != iot.InvalidCorrelationID {
			t.Errorf("forgotten: %v", err)
		}
		k = s.begin("e", "a")
		s.write("e/a")
		if err := s.Finish(t.Context(), "e", 1, k.Correlation, true); err != nil {
			t.Fatal(err)
		}
		s.exec("UPDATE upload_note SET expires = ?", past)
		if n := s.next(); n != nil {
			t.Errorf("an expired notification: %+v", n)
		}
		if err := s.sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := db.Get(t.Context(), []any{&left}, "SELECT count(*) FROM upload_note"); err != nil || left != 0 {
			t.Errorf("%d notifications are kept, %v", left, err)
		}
	})
}

func TestDelivery(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := newSite(t, db, func(l *Limits) { l.NotifyMaxDelivery = 3 })
		for _, name := range []string{"a", "b"} {
			k := s.begin("d", name)
			s.write("d/" + name)
			if err := s.Finish(t.Context(), "d", 1, k.Correlation, true); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			n := s.next()
			if n == nil || n.Name != "d/a" || n.DeliveryCount != i || n.Size != 1 || n.URI != "https://hub.example/uploads/d/a" {
				t.Fatalf("delivery %d: %+v", i, n)
			}
			if err := s.SettleNotification(t.Context(), n.Token, iot.Abandon); err != nil {
				t.Fatal(err)
			}
		}
		first := s.next()
		if first == nil || first.Name != "d/b" {
			t.Fatalf("%+v", first)
		}
		if err := s.SettleNotification(t.Context(), first.Token, iot.Release); err != nil {
			t.Fatal(err)
		}
		again := s.next()
		if again == nil || again.DeliveryCount != 0 || again.Sequence != first.Sequence {
			t.Errorf("released: %+v", again)
		}
		s.open() // locks end with the process, notifications do not
		if err := s.SettleNotification(t.Context(), again.Token, iot.Complete); iot.CodeOf(err) != iot.MessageLockLost {
			t.Errorf("settled after a restart: %v", err)
		}
		last := s.next()
		if last == nil || last.Sequence != first.Sequence {
			t.Fatalf("%+v", last)
		}
		if err := s.SettleNotification(t.Context(), last.Token, iot.Complete); err != nil {
			t.Fatal(err)
		}
		if n := s.next(); n != nil {
			t.Errorf("%+v", n)
		}
	})
}

// TestCrowd: the limit holds when many begin at once, and what is said twice
// at once is told once.
func TestCrowd(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := newSite(t, db, nil)
		var (
			wait sync.WaitGroup
			mu   sync.Mutex
			made []string
		)
		for i := range 25 {
			wait.Go(func() {
				k, err := s.Begin(t.Context(), "d", 1, fmt.Sprint(i), "")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					made = append(made, k.Correlation)
					s.write("d/" + fmt.Sprint(i))
				case iot.CodeOf(err) != iot.TooManyUploads:
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if len(made) != 10 {
			t.Errorf("%d uploads were begun", len(made))
		}
		for range 3 {
			for _, id := range made {
				wait.Go(func() {
					if err := s.Finish(t.Context(), "d", 1, id, true); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wait.Wait()
		for i := range 10 {
			if s.next() == nil {
				t.Errorf("%d notifications of 10", i)
				break
			}
		}
		if n := s.next(); n != nil {
			t.Errorf("an eleventh notification: %+v", n)
		}
	})
}

func TestSettings(t *testing.T) {
	s := newSite(t, statetest.SQLite(t), func(l *Limits) { l.Notify = false })
	k := s.begin("d", "a")
	s.write("d/a")
	if err := s.Finish(t.Context(), "d", 1, k.Correlation, true); err != nil {
		t.Fatal(err)
	}
	if n := s.next(); n != nil {
		t.Errorf("told although that is switched off: %+v", n)
	}
	for host, want := range map[string]string{"": "hub.example", "alias.example": "alias.example", "evil.example": "hub.example"} {
		k, err := s.Begin(t.Context(), "d", 1, "x", host)
		if err != nil || k.Host != want {
			t.Errorf("came by %q: %q, %v", host, k.Host, err)
		}
	}
	k = s.begin("d%1", "50%#?")
	if k.Name != "d%251/50%25%23%3F" {
		t.Errorf("name in the address: %s", k.Name)
	}
	k = s.begin("e", "a")
	s.write("e/a")
	s.store.Close()
	if err := s.Finish(t.Context(), "e", 1, k.Correlation, true); iot.CodeOf(err) != iot.ServiceUnavailable {
		t.Errorf("without the store of files: %v", err)
	}
}
