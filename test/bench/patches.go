//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"
)

// store is where a hub keeps its state: SQLite, or PostgreSQL with a server of
// its own.
type store struct {
	args []string
	db   *database
}

func (b *bench) store(postgresql bool) (store, error) {
	if !postgresql {
		return store{}, nil
	}
	db, err := postgres(filepath.Join(b.dir, "postgres"))
	if err != nil {
		return store{}, err
	}
	return store{args: []string{"--database", db.url()}, db: db}, nil
}

func (s store) stop() {
	if s.db != nil {
		s.db.stop()
	}
}

// measure begins a window: the server first, then its database.
func (s store) measure(srv *server) *meter {
	if s.db != nil {
		return measure(srv.process, s.db.process)
	}
	return measure(srv.process)
}

// firstReport is what each device reports before the window, and reports what
// it changes then.
const firstReport = `{"firmware":{"version":"1.4.12","state":"idle"},"interval":30,"sensor1":{"unit":"C","value":21.5,"ok":true},"sensor2":{"unit":"C","value":21.5,"ok":true}}`

func reports() (list [64][]byte) {
	for i := range list {
		list[i] = fmt.Appendf(nil, `{"sensor1":{"value":%d.25},"interval":%d}`, i, i)
	}
	return list
}

// reporter is devices that each keep a number of reported-property changes on
// their way. Each change is answered when it is durable.
type reporter struct {
	*fleet
	flight  int
	changes [64][]byte
	at      [][]int64 // by device and slot: when it was sent
	next    int       // change
	topic   []byte
	on      bool
	paused  bool
	waiting int
	acked   int64
	latency histogram
}

func (r *reporter) report(p *peer, slot int, patch []byte) {
	r.at[p.index][slot] = r.now
	r.topic = strconv.AppendInt(append(r.topic[:0], "$iothub/twin/PATCH/properties/reported/?$rid="...), int64(slot), 10)
	p.out = append(remaining(append(p.out, 0x30), 2+len(r.topic)+len(patch)), byte(len(r.topic)>>8), byte(len(r.topic)))
	p.out = append(append(p.out, r.topic...), patch...)
	r.waiting++
}

var reported = []byte("$iothub/twin/res/204/?$rid=")

func (r *reporter) answer(p *peer, first byte, body []byte) error {
	topic, payload, _, err := published(first, body)
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(topic, reported)
	if !ok {
		return fmt.Errorf("a report was answered with %s: %s", topic, payload)
	}
	slot := 0
	for _, c := range rest {
		if c < '0' || c > '9' {
			break
		}
		slot = slot*10 + int(c-'0')
	}
	r.waiting--
	if r.on {
		r.acked++
		r.latency.add(time.Duration(r.now - r.at[p.index][slot]))
	}
	if !r.paused {
		r.next++
		r.report(p, slot, r.changes[r.next%len(r.changes)])
	}
	return nil
}

func (r *reporter) until(done func() bool) error {
	for end := monotonic() + 60e9; !done(); {
		if monotonic() > end {
			return fmt.Errorf("%d reports are not answered", r.waiting)
		}
		if err := r.step(5); err != nil {
			return err
		}
	}
	return nil
}

// start has every device send a report in each of its slots.
func (r *reporter) start(slots int, patch []byte) error {
	r.now = monotonic()
	for _, p := range r.peers {
		for slot := range slots {
			r.report(p, slot, patch)
		}
		if err := r.flush(p); err != nil {
			return err
		}
	}
	return nil
}

// patches measures durable reported-property patches of 1,000 devices over
// MQTT in a closed loop.
func (b *bench) patches(name string, postgresql bool, target float64) (err error) {
	devices := 1000
	if b.quick {
		devices = 100
	}
	st, err := b.store(postgresql)
	if err != nil {
		return err
	}
	defer st.stop()
	h, err := b.devices(devices, st.args...)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	for _, flight := range []int{1, 8} {
		if err := b.patchesOf(name, st, h, s, flight, target); err != nil {
			return fmt.Errorf("%d in flight: %w", flight, err)
		}
	}
	return nil
}

func (b *bench) patchesOf(name string, st store, h *hub, s *server, flight int, target float64) (err error) {
	f, err := newFleet(s.plain, h.logins(len(h.keys)), func(login) []string { return []string{"$iothub/twin/res/#"} })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	r := &reporter{fleet: f, flight: flight, changes: reports(), at: make([][]int64, len(f.peers))}
	for i := range r.at {
		r.at[i] = make([]int64, flight)
	}
	f.packet = r.answer
	r.paused = true
	if err := r.start(1, []byte(firstReport)); err != nil {
		return err
	}
	if err := r.until(func() bool { return r.waiting == 0 }); err != nil {
		return err
	}
	r.paused = false
	if err := r.start(flight, r.changes[0]); err != nil {
		return err
	}
	opens := monotonic() + int64(b.warm)
	if err := r.until(func() bool { return r.now >= opens }); err != nil {
		return err
	}
	m := st.measure(s)
	b.profile.begin(fmt.Sprintf("%s-%d", name, flight), s, b.window)
	r.on = true
	closes := monotonic() + int64(b.window)
	if err := r.until(func() bool { return r.now >= closes }); err != nil {
		return err
	}
	r.on, r.paused = false, true
	c := m.end(b.cores)
	if err := r.until(func() bool { return r.waiting == 0 }); err != nil {
		return err
	}
	add := func(fig, unit string, v, target float64, atMost bool) {
		b.report.add(figure{Case: name, Name: fmt.Sprintf("%d in flight: %s", flight, fig), Unit: unit, Value: v, Target: target, AtMost: atMost, Noise: c.noise})
	}
	acked := float64(r.acked)
	add("durable patches", "per second", acked/c.seconds, target, false)
	add("durable patches", perCPU, acked/max(c.cpu[0], 1e-9), 0, false)
	add("CPU of the server", "CPU-seconds per second", c.cpu[0]/c.seconds, 0, false)
	if st.db != nil {
		add("CPU of PostgreSQL", "CPU-seconds per second", c.cpu[1]/c.seconds, 0, false)
	}
	add("answer p50", "ms", r.latency.quantile(0.5), 0, false)
	add("answer p99", "ms", r.latency.quantile(0.99), 0, false)
	return nil
}
