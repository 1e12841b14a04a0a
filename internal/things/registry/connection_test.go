package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/record"
)

// connections drives a registry as presence does: what happened waits in a
// queue until it is stored.
type connections struct {
	t     *testing.T
	db    state.DB
	log   *memlog.Log
	box   *outbox.Box
	reg   *registry.Registry
	now   time.Time
	queue []registry.Seen
	here  map[iot.ID]registry.Seen // connections
	known map[iot.ID]uint64        // generations
	told  map[string][]bool        // by identity and generation: what events said
	last  map[iot.ID]string        // sequence numbers
	read  eventlog.From            // place in the log
}

func newConnections(t *testing.T, db state.DB) *connections {
	c := &connections{
		t: t, db: db, now: time.Now(), log: memlog.New(memlog.Config{Partitions: 1}),
		here: map[iot.ID]registry.Seen{}, known: map[iot.ID]uint64{}, told: map[string][]bool{}, last: map[iot.ID]string{},
	}
	t.Cleanup(func() { _ = c.log.Close() })
	c.start()
	return c
}

// start is that of an instance, after an orderly end or a crash.
func (c *connections) start() {
	c.t.Helper()
	var err error
	logger := slog.New(slog.DiscardHandler)
	if c.box, err = outbox.Open(c.t.Context(), outbox.Deps{DB: c.db, Log: c.log, Hub: hubName, Logger: logger, Registerer: prometheus.NewRegistry()}); err != nil {
		c.t.Fatal(err)
	}
	policies, err := access.Open(c.t.Context(), c.db, access.NewHosts(hubName))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.reg, err = registry.Open(c.t.Context(), registry.Deps{DB: c.db, Policies: policies, Outbox: c.box, Logger: logger}); err != nil {
		c.t.Fatal(err)
	}
	c.queue, c.here = nil, map[iot.ID]registry.Seen{}
	c.now = c.now.Add(time.Millisecond)
	if err := c.reg.ForgetConnections(c.t.Context(), c.now); err != nil {
		c.t.Fatal(err)
	}
}

func (c *connections) enter(id iot.ID) {
	c.leave(id)
	s := registry.Seen{ID: id, Generation: c.known[id], Activity: registry.Activity{Connected: true, Since: c.now, Last: c.now}}
	c.here[id] = s
	c.queue = append(c.queue, s)
}

func (c *connections) leave(id iot.ID) {
	s, ok := c.here[id]
	if !ok {
		return
	}
	delete(c.here, id)
	s.Connected, s.Since = false, c.now
	c.queue = append(c.queue, s)
}

func (c *connections) active(id iot.ID) {
	if s, ok := c.here[id]; ok {
		s.Last, s.Same = c.now, true
		c.queue = append(c.queue, s)
	}
}

func (c *connections) save(n int) {
	c.t.Helper()
	if err := c.reg.SaveActivity(c.t.Context(), c.queue[:n]); err != nil {
		c.t.Fatal(err)
	}
}

func (c *connections) make(id iot.ID) {
	c.t.Helper()
	var err error
	if id.IsModule() {
		var m registry.Module
		m, _, err = c.reg.PutModule(c.t.Context(), registry.ModuleSpec{ID: id}, registry.Match{}, c.now)
		c.known[id] = m.Generation
	} else {
		var d registry.Device
		d, _, err = c.reg.PutDevice(c.t.Context(), registry.DeviceSpec{ID: id.Device}, registry.Match{}, c.now)
		c.known[id] = d.Generation
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// drop deletes an identity; its connection ends a moment later.
func (c *connections) drop(id iot.ID) {
	c.t.Helper()
	var err error
	if id.IsModule() {
		_, err = c.reg.DeleteModule(c.t.Context(), id, registry.Any())
	} else {
		_, err = c.reg.DeleteDevice(c.t.Context(), id.Device, registry.Any())
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// hear reads the new events: those of one identity alternate and their numbers
// rise.
func (c *connections) hear() {
	c.t.Helper()
	if err := c.box.Drain(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	for rec, err := range c.log.Read(c.t.Context(), 0, eventlog.ReadOptions{From: c.read}) {
		if err != nil {
			c.t.Fatal(err)
		}
		c.read = eventlog.From{Kind: eventlog.AfterOffset, Value: int64(rec.Offset)}
		var e record.Event
		if err := record.Decode(rec.Data, &e); err != nil {
			c.t.Fatal(err)
		}
		if e.Origin.Source != iot.SourceConnectionState {
			continue
		}
		var op string
		for _, p := range e.Properties {
			if string(p.Name) == "opType" {
				op = string(p.Value)
			}
		}
		connected := op == "deviceConnected"
		if !connected && op != "deviceDisconnected" {
			c.t.Errorf("opType %q", op)
		}
		var body struct {
			SequenceNumber string `json:"sequenceNumber"`
		}
		if err := json.Unmarshal(e.Body, &body); err != nil || len(body.SequenceNumber) != 64 {
			c.t.Fatalf("body %s, %v", e.Body, err)
		}
		id := e.Origin.ID
		if body.SequenceNumber <= c.last[id] {
			c.t.Fatalf("%s: the sequence number %s follows %s", id, body.SequenceNumber, c.last[id])
		}
		c.last[id] = body.SequenceNumber
		key := fmt.Sprint(id, e.Origin.Generation)
		if told := c.told[key]; connected == (len(told) > 0 && told[len(told)-1]) {
			c.t.Fatalf("%s: %s after %v", key, op, told)
		}
		c.told[key] = append(c.told[key], connected)
	}
}

// compare holds what is stored to what events said.
func (c *connections) compare(id iot.ID) {
	c.t.Helper()
	var a registry.Activity
	var generation uint64
	var err error
	if id.IsModule() {
		var m registry.Module
		m, err = c.reg.Module(c.t.Context(), id)
		a, generation = m.Activity, m.Generation
	} else {
		var d registry.Device
		d, err = c.reg.Device(c.t.Context(), id.Device)
		a, generation = d.Activity, d.Generation
	}
	if err != nil {
		c.t.Fatal(err)
	}
	told := c.told[fmt.Sprint(id, generation)]
	if said := len(told) > 0 && told[len(told)-1]; a.Connected != said {
		c.t.Fatalf("%s is stored as connected: %t, events said %v", id, a.Connected, told)
	}
}

// TestConnectionEvents connects, disconnects, takes over, deletes and crashes
// at random: whatever was stored when, events alternate and say what is stored.
func TestConnectionEvents(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 1))
		c := newConnections(t, db)
		var ids []iot.ID
		for i := range 12 {
			ids = append(ids, iot.ID{Device: fmt.Sprint("d", i)})
			if i%3 == 0 {
				ids = append(ids, iot.ID{Device: fmt.Sprint("d", i), Module: "m"})
			}
		}
		for _, id := range ids {
			c.make(id)
		}
		for range 700 {
			c.now = c.now.Add(time.Duration(random.IntN(1000)) * time.Microsecond)
			id := ids[random.IntN(len(ids))]
			switch n := random.IntN(100); {
			case n < 35:
				c.enter(id) // a take-over, perhaps
			case n < 55:
				c.leave(id)
			case n < 62:
				c.active(id)
			case n < 85:
				n := random.IntN(len(c.queue) + 1)
				c.save(n)
				if random.IntN(5) > 0 {
					c.queue = c.queue[n:]
				} // else the outcome was unknown, and it is saved again
			case n < 90:
				if id.IsModule() || slices.Contains(ids, iot.ID{Device: id.Device, Module: "m"}) {
					id = iot.ID{Device: id.Device, Module: "m"}
					if !slices.Contains(ids, id) {
						continue
					}
				}
				c.drop(id)
				if random.IntN(2) == 0 { // its connection ends before it is made again, or after
					c.leave(id)
				}
				c.make(id)
			case n < 93:
				c.start() // after a crash
			default:
				c.hear()
				for _, id := range ids {
					c.compare(id)
				}
			}
		}
		for id := range c.here {
			c.leave(id)
		}
		c.save(len(c.queue))
		c.hear()
		for _, id := range ids {
			c.compare(id)
		}
		if len(c.told) < len(ids) || len(c.last) != len(ids) {
			t.Errorf("events of %d identities", len(c.last))
		}
	})
}

// TestTakeOverOrder shows that a take-over is a disconnect and then a connect,
// also together with a hundred others, and that storing it again adds nothing.
func TestTakeOverOrder(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := newConnections(t, db)
		var ids []iot.ID
		for i := range 100 {
			ids = append(ids, iot.ID{Device: fmt.Sprint("d", i)})
			c.make(ids[i])
		}
		for range 3 {
			for _, id := range ids {
				c.now = c.now.Add(time.Microsecond)
				c.enter(id)
			}
			c.save(len(c.queue))
			c.save(len(c.queue))
			c.queue = nil
		}
		c.hear()
		for _, id := range ids {
			if told := c.told[fmt.Sprint(id, c.known[id])]; !slices.Equal(told, []bool{true, false, true, false, true}) {
				t.Fatalf("%s: events said %v", id, told)
			}
		}
		c.start()
		c.hear()
		for _, id := range ids {
			if told := c.told[fmt.Sprint(id, c.known[id])]; len(told) != 6 || told[5] {
				t.Fatalf("%s: after a crash events said %v", id, told)
			}
			c.compare(id)
		}
	})
}

// TestConnectionsBesideChanges stores connections while the same devices are
// changed and deleted: nothing is lost over it.
func TestConnectionsBesideChanges(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := newConnections(t, db)
		var ids []iot.ID
		for i := range 40 {
			ids = append(ids, iot.ID{Device: fmt.Sprint("d", i)})
			c.make(ids[i])
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 4)
		for g := range cap(done) {
			go func() {
				var err error
				for i := 0; err == nil && ctx.Err() == nil; i++ {
					id := ids[(i*7+g*11)%len(ids)].Device
					_, _, err = c.reg.PutDevice(t.Context(), registry.DeviceSpec{ID: id, StatusReason: new(new(fmt.Sprint(i)))}, registry.Any(), time.Now())
				}
				done <- err
			}()
		}
		for range 20 {
			for _, id := range ids {
				c.now = c.now.Add(time.Microsecond)
				c.enter(id)
			}
			c.save(len(c.queue))
			c.queue = nil
		}
		cancel()
		for range cap(done) {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		c.hear()
		for _, id := range ids {
			if told := c.told[fmt.Sprint(id, c.known[id])]; len(told) != 39 {
				t.Fatalf("%s: %d events", id, len(told))
			}
			c.compare(id)
		}
	})
}

// BenchmarkConnections stores connects and disconnects of 20,000 devices, as
// presence does in a storm; an operation is one change, with its event unless
// there is no outbox. The relay of the events is not counted.
func BenchmarkConnections(b *testing.B) {
	for _, silent := range []bool{false, true} {
		b.Run(map[bool]string{false: "events", true: "silent"}[silent], func(b *testing.B) {
			r, _, _ := openEvents(b, statetest.SQLite(b))
			if silent {
				r, _ = open(b, statetest.SQLite(b))
			}
			const devices, batch = 20_000, 1024
			fill(b, r, devices)
			list := make([]registry.Seen, 0, devices)
			for d, err := r.Devices(b.Context(), "", registry.MaxPage); len(d) > 0; d, err = r.Devices(b.Context(), d[len(d)-1].ID, registry.MaxPage) {
				if err != nil {
					b.Fatal(err)
				}
				for i := range d {
					list = append(list, registry.Seen{ID: iot.ID{Device: d[i].ID}, Generation: d[i].Generation})
				}
			}
			rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			defer cpu(b)()
			b.ResetTimer()
			part := make([]registry.Seen, batch)
			for n := 0; n < b.N; n += batch {
				at := n % (devices - batch)
				copy(part, list[at:at+batch])
				now := time.Now()
				for i := range part {
					list[at+i].Connected = !list[at+i].Connected
					part[i].Activity = registry.Activity{Connected: list[at+i].Connected, Since: now, Last: now}
				}
				if err := r.SaveActivity(b.Context(), part); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
