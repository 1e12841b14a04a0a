package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/faultlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

const hub = "hub-1"

func open(tb testing.TB, db state.DB, log eventlog.Log, logger *slog.Logger) *outbox.Box {
	tb.Helper()
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	x, err := outbox.Open(tb.Context(), outbox.Deps{DB: db, Log: log, Hub: hub, Logger: logger, Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// run runs the relay until the test ends or stop is called.
func run(tb testing.TB, x *outbox.Box) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- x.Run(ctx) }()
	stop = func() {
		cancel()
		if done == nil {
			return
		}
		if err := <-done; err != nil {
			tb.Errorf("run: %v", err)
		}
		done = nil
	}
	tb.Cleanup(stop)
	return stop
}

func put(tb testing.TB, db state.DB, x *outbox.Box, events ...outbox.Event) {
	tb.Helper()
	var b outbox.Batch
	for _, e := range events {
		b.Add(e)
	}
	if err := db.Write(tb.Context(), func(tx state.Tx) error { return x.Put(tb.Context(), tx, &b) }); err != nil {
		tb.Fatal(err)
	}
}

// got is one event of the log.
type got struct {
	origin iot.Origin
	system map[string]string
	props  map[string]string
	body   string
}

// contents reads all that is in the log, partition by partition.
func contents(tb testing.TB, log eventlog.Log) (list []got) {
	tb.Helper()
	for p := range log.Partitions() {
		var e record.Event
		for r, err := range log.Read(tb.Context(), p, eventlog.ReadOptions{}) {
			if err != nil {
				tb.Fatal(err)
			}
			if err := record.Decode(r.Data, &e); err != nil {
				tb.Fatal(err)
			}
			if want := eventlog.Partition(e.Origin.ID.Device, log.Partitions()); p != want {
				tb.Errorf("an event of %s is in partition %d, not %d", e.Origin.ID, p, want)
			}
			g := got{origin: e.Origin, system: map[string]string{}, props: map[string]string{}, body: string(e.Body)}
			for _, s := range e.System {
				g.system[s.Key.String()] = string(s.Value)
			}
			for _, s := range e.Properties {
				g.props[string(s.Name)] = string(s.Value)
			}
			list = append(list, g)
		}
	}
	return list
}

func await(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("timeout: " + what)
		}
	}
}

func rows(tb testing.TB, db state.DB, table string) (n int) {
	tb.Helper()
	if err := db.Get(tb.Context(), []any{&n}, "SELECT count(*) FROM "+table); err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestEventsReachTheLog(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		x := open(t, db, log, nil)
		run(t, x)
		at := time.Date(2026, 3, 4, 5, 6, 7, 891234500, time.UTC)
		put(t, db, x,
			outbox.Event{
				ID: iot.ID{Device: "d1"}, Generation: 638371234567890123, Source: iot.SourceTwinChange, OpType: "updateTwin",
				Time: at, Body: []byte(`{"version":3}`), Model: "dtmi:a:b;1",
			},
			outbox.Event{ID: iot.ID{Device: "d1", Module: "m1"}, Source: iot.SourceDeviceLifecycle, OpType: "createDeviceIdentity", Time: at, Body: []byte(`{}`)})
		await(t, "two events", func() bool { return len(contents(t, log)) == 2 })
		await(t, "no rows", func() bool { return rows(t, db, "outbox") == 0 })
		list := contents(t, log)
		g := list[0]
		if want := (iot.Origin{ID: iot.ID{Device: "d1"}, Generation: 638371234567890123, Source: iot.SourceTwinChange, Model: "dtmi:a:b;1"}); g.origin != want {
			t.Errorf("origin %+v, want %+v", g.origin, want)
		}
		if g.body != `{"version":3}` {
			t.Errorf("body %s", g.body)
		}
		correlation := g.system["correlation-id"]
		if len(correlation) != 32 || correlation == list[1].system["correlation-id"] {
			t.Errorf("correlation ids %q and %q", correlation, list[1].system["correlation-id"])
		}
		delete(g.system, "correlation-id")
		if got, want := fmt.Sprint(g.system), "map[content-encoding:utf-8 content-type:application/json user-id:hub-1]"; got != want {
			t.Errorf("system properties\n%s, want\n%s", got, want)
		}
		if got, want := fmt.Sprint(g.props), "map[deviceId:d1 hubName:hub-1 iothub-message-schema:twinChangeNotification opType:updateTwin operationTimestamp:2026-03-04T05:06:07.8912345Z]"; got != want {
			t.Errorf("properties\n%s, want\n%s", got, want)
		}
		g = list[1]
		if g.origin.ID.Module != "m1" || g.props["moduleId"] != "m1" || g.props["iothub-message-schema"] != "deviceLifecycleNotification" {
			t.Errorf("event of a module: %+v", g)
		}
	})
}

func TestOnlyWhatIsCommitted(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		x := open(t, db, log, nil)
		run(t, x)
		undo := errors.New("undo")
		var b outbox.Batch
		b.Add(outbox.Event{ID: iot.ID{Device: "never"}, Source: iot.SourceTwinChange, OpType: "updateTwin"})
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			if err := x.Put(t.Context(), tx, &b); err != nil {
				return err
			}
			return undo
		}); !errors.Is(err, undo) {
			t.Fatal(err)
		}
		put(t, db, x, outbox.Event{ID: iot.ID{Device: "d"}, Source: iot.SourceTwinChange, OpType: "updateTwin"})
		await(t, "one event", func() bool { return len(contents(t, log)) > 0 })
		if list := contents(t, log); len(list) != 1 || list[0].origin.ID.Device != "d" {
			t.Errorf("log holds %+v", list)
		}
		var none outbox.Batch
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			return errors.Join(x.Put(t.Context(), tx, &none), x.Put(t.Context(), tx, nil))
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestDamagedRow puts a row aside that cannot be read; those around it arrive.
func TestDamagedRow(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		var text bytes.Buffer
		x := open(t, db, log, slog.New(slog.NewTextHandler(&text, nil)))
		event := func(id string) outbox.Event {
			return outbox.Event{ID: iot.ID{Device: id}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: []byte(`{}`)}
		}
		put(t, db, x, event("a"))
		put(t, db, x, event("b"), event("c"))
		put(t, db, x, event("d"))
		damage := "UPDATE outbox SET body = ? WHERE id = (SELECT min(id) + 1 FROM outbox)"
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), damage, []byte{1, 2, 3})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := x.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(contents(t, log)); n != 2 {
			t.Errorf("%d events", n)
		}
		if rows(t, db, "outbox") != 0 || rows(t, db, "outbox_aside") != 1 {
			t.Errorf("%d rows wait, %d are put aside", rows(t, db, "outbox"), rows(t, db, "outbox_aside"))
		}
		if !strings.Contains(text.String(), "cut short") {
			t.Errorf("logged: %s", &text)
		}
	})
}

// TestOrder puts events of few devices by many writers: each device's events
// are appended in the order of its changes.
func TestOrder(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		x := open(t, db, log, nil)
		run(t, x)
		const devices, changes = 4, 300
		write := func(sql string, args ...any) {
			t.Helper()
			if err := db.Write(t.Context(), func(tx state.Tx) error { _, err := tx.Exec(t.Context(), sql, args...); return err }); err != nil {
				t.Fatal(err)
			}
		}
		write("CREATE TABLE counted (device TEXT PRIMARY KEY, n BIGINT NOT NULL)")
		for d := range devices {
			write("INSERT INTO counted VALUES (?, 0)", fmt.Sprint("d", d))
		}
		var wait sync.WaitGroup
		for w := range 8 {
			wait.Go(func() {
				for i := range devices * changes / 8 {
					id := fmt.Sprint("d", (w+i)%devices)
					if err := db.Write(t.Context(), func(tx state.Tx) error {
						var n int
						if err := tx.QueryRow(t.Context(), "UPDATE counted SET n = n + 1 WHERE device = ? RETURNING n", id).Scan(&n); err != nil {
							return err
						}
						var b outbox.Batch
						b.Add(outbox.Event{ID: iot.ID{Device: id}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: fmt.Append(nil, n)})
						return x.Put(t.Context(), tx, &b)
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Wait()
		await(t, "all events", func() bool { return rows(t, db, "outbox") == 0 })
		last := map[string]int{}
		for _, g := range contents(t, log) {
			id := g.origin.ID.Device
			if g.body != fmt.Sprint(last[id]+1) {
				t.Fatalf("%s: event %s comes after %d", id, g.body, last[id])
			}
			last[id]++
		}
		for d := range devices {
			if last[fmt.Sprint("d", d)] != changes {
				t.Errorf("d%d: %d events", d, last[fmt.Sprint("d", d)])
			}
		}
	})
}

// TestRestart ends the relay in the middle of its work, again and again: what
// was put in arrives, and what arrives twice has the same correlation id.
func TestRestart(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		const total = 2000
		done := make(chan struct{})
		first := open(t, db, log, nil)
		go func() {
			defer close(done)
			for i := range total / 20 {
				var b outbox.Batch
				for j := range 20 {
					b.Add(outbox.Event{ID: iot.ID{Device: fmt.Sprint("d", i*20+j)}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: []byte("{}")})
				}
				if err := db.Write(t.Context(), func(tx state.Tx) error { return first.Put(t.Context(), tx, &b) }); err != nil {
					t.Error(err)
				}
			}
		}()
		for going := true; going; {
			select {
			case <-done:
				going = false
			default:
			}
			x := open(t, db, log, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Millisecond)
			if err := x.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			// A node that dies says nothing; another waits for its lease to end.
			if err := outbox.Release(t.Context(), x); err != nil {
				t.Error(err)
			}
		}
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[string]string{}
		for _, g := range contents(t, log) {
			id, correlation := g.origin.ID.Device, g.system["correlation-id"]
			if was, again := seen[id]; again && was != correlation {
				t.Errorf("the event of %s was appended with the correlation ids %s and %s", id, was, correlation)
			}
			seen[id] = correlation
		}
		if len(seen) != total {
			t.Errorf("%d of %d events arrived", len(seen), total)
		}
	})
}

// TestRowsThatOutliveTheirAppend puts back rows whose events are in the log, as
// a crash before their deletion leaves them: they are not appended again, and
// what was not appended is.
func TestRowsThatOutliveTheirAppend(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{})
		defer log.Close()
		first := open(t, db, log, nil)
		event := func(device string) outbox.Event {
			return outbox.Event{ID: iot.ID{Device: device}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: []byte("{}")}
		}
		put(t, db, first, event("a"), event("b"))
		put(t, db, first, event("c"))
		var bodies [][]byte
		if err := db.Read(t.Context(), func(tx state.Tx) error {
			bodies = nil
			list, err := tx.Query(t.Context(), "SELECT body FROM outbox ORDER BY id")
			if err != nil {
				return err
			}
			defer list.Close()
			for list.Next() {
				var body []byte
				if err := list.Scan(&body); err != nil {
					return err
				}
				bodies = append(bodies, body)
			}
			return list.Err()
		}); err != nil {
			t.Fatal(err)
		}
		if err := first.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			for _, b := range bodies {
				if _, err := tx.Exec(t.Context(), "INSERT INTO outbox (body) VALUES (?)", b); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		second := open(t, db, log, nil)
		put(t, db, second, event("d"))
		if err := second.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		seen := map[string]int{}
		for _, g := range contents(t, log) {
			seen[g.origin.ID.Device]++
		}
		for _, d := range []string{"a", "b", "c", "d"} {
			if seen[d] != 1 {
				t.Errorf("the event of %s was appended %d times", d, seen[d])
			}
		}
		if n := rows(t, db, "outbox"); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

// TestTwoNodes: two nodes on one database take turns, so nothing is appended
// twice, and the second takes over from one that has ended.
func TestTwoNodes(t *testing.T) {
	db := statetest.Postgres(t)
	log := memlog.New(memlog.Config{})
	defer log.Close()
	a, b := open(t, db, log, nil), open(t, db, log, nil)
	stop := run(t, a)
	run(t, b)
	event := func(n int) outbox.Event {
		return outbox.Event{ID: iot.ID{Device: fmt.Sprint("d", n)}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: []byte("{}")}
	}
	for n := range 200 {
		put(t, db, []*outbox.Box{a, b}[n%2], event(n))
	}
	await(t, "200 events", func() bool { return rows(t, db, "outbox") == 0 })
	if n := len(contents(t, log)); n != 200 {
		t.Errorf("%d events were appended for 200 that were put in", n)
	}
	stop()
	if err := a.Drain(t.Context()); err != nil { // gives the turn away
		t.Fatal(err)
	}
	put(t, db, a, event(200)) // b does not hear of it
	await(t, "an event of the other node", func() bool { return len(contents(t, log)) == 201 })
}

// TestLogStalls: while the log takes nothing rooms go on, and nothing is lost
// or doubled when it goes on.
func TestLogStalls(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		log := memlog.New(memlog.Config{MaxHeld: 2000})
		defer log.Close()
		x := open(t, db, log, nil)
		run(t, x)
		log.Stall(true)
		const total = 3000
		for i := range total / 100 {
			events := make([]outbox.Event, 100)
			for j := range events {
				events[j] = outbox.Event{ID: iot.ID{Device: fmt.Sprint("d", i*100+j)}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: make([]byte, 1000)}
			}
			put(t, db, x, events...)
		}
		log.Stall(false)
		await(t, "no rows", func() bool { return rows(t, db, "outbox") == 0 })
		if n := len(contents(t, log)); n != total {
			t.Errorf("%d events for %d", n, total)
		}
	})
}

// TestLogFails: events of which the log cannot say that they are durable are
// appended again, and the failure is logged once.
func TestLogFails(t *testing.T) {
	db := statetest.SQLite(t)
	var failing atomic.Bool
	log := faultlog.Wrap(memlog.New(memlog.Config{}), func(int, int, int) (v faultlog.Verdict) {
		if failing.Load() {
			v.Err = errors.New("no space left")
		}
		return v
	})
	defer log.Close()
	var text safeText
	x := open(t, db, log, slog.New(slog.NewTextHandler(&text, nil)))
	for n := range 10 {
		put(t, db, x, outbox.Event{ID: iot.ID{Device: fmt.Sprint("d", n)}, Source: iot.SourceTwinChange, OpType: "updateTwin", Body: []byte("{}")})
	}
	failing.Store(true)
	run(t, x)
	await(t, "two tries", func() bool { return strings.Contains(text.String(), "no space left") })
	time.Sleep(250 * time.Millisecond) // so that it fails again
	failing.Store(false)
	await(t, "no rows", func() bool { return rows(t, db, "outbox") == 0 })
	if n := strings.Count(text.String(), "no space left"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, text.String())
	}
	seen := map[string]bool{}
	for _, g := range contents(t, log) {
		seen[g.system["correlation-id"]] = true
	}
	if len(seen) != 10 {
		t.Errorf("%d of 10 events arrived", len(seen))
	}
	await(t, "good news", func() bool { return strings.Contains(text.String(), "appended again") })
}

type safeText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
