package outbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
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
		defer log.Close() //nolint:errcheck // in memory
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
		defer log.Close() //nolint:errcheck // in memory
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
		defer log.Close() //nolint:errcheck // in memory
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
