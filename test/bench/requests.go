//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Applications use a number of connections, which they keep.
const applications = 128

// ground is a hub under load from both sides: devices of a fleet, and
// connections of applications.
type ground struct {
	b     *bench
	name  string
	hub   *hub
	srv   *server
	fleet *fleet
	apps  []*rest
}

// ground starts a hub with n devices that have subscribed to a filter; packet
// is what they do. end ends it all.
func (b *bench) ground(name string, n int, filters func(l login) []string, packet func(p *peer, first byte, body []byte) error) (g *ground, err error) {
	g = &ground{b: b, name: name}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.end())
		}
	}()
	if g.hub, err = b.devices(n); err != nil {
		return g, err
	}
	if g.srv, err = g.hub.serve(); err != nil {
		return g, err
	}
	if g.fleet, err = newFleet(g.srv.plain, g.hub.logins(n), filters); err != nil {
		return g, err
	}
	g.fleet.packet = packet
	for range applications {
		app, err := g.hub.application(g.srv)
		if err != nil {
			return g, err
		}
		g.apps = append(g.apps, app)
	}
	return g, nil
}

func (g *ground) end() (err error) {
	for _, app := range g.apps {
		app.close()
	}
	if g.fleet != nil {
		err = g.fleet.end()
	}
	if g.srv != nil {
		err = errors.Join(err, g.srv.alive())
		g.srv.stop()
	}
	return err
}

// window is what is measured between two moments.
type window struct {
	opens, closes int64 // monotonic nanoseconds
	cost          cost
}

// open waits for the warm-up, measures and waits for the end of the window. It
// runs beside the load.
func (g *ground) open(w *window, done *sync.WaitGroup) {
	now := monotonic()
	w.opens, w.closes = now+int64(g.b.warm), now+int64(g.b.warm+g.b.window)
	done.Go(func() {
		time.Sleep(g.b.warm)
		m := measure(g.srv.process)
		g.b.profile.begin(g.name, g.srv, g.b.window)
		time.Sleep(g.b.window)
		w.cost = m.end(g.b.cores)
	})
}

// has tells whether something that was begun then counts.
func (w *window) has(at int64) bool { return at >= w.opens && at < w.closes }

// paced calls do for the numbers from 0 at a rate, each with a free connection
// of an application, until the window closes. It gives how many there were and
// how many of them no connection was free for in time.
func (g *ground) paced(w *window, rate int, do func(app *rest, seq int) error) (sent, late int, err error) {
	due := make(chan int, 4*applications)
	errs := make([]error, len(g.apps))
	var wg sync.WaitGroup
	for i, app := range g.apps {
		wg.Go(func() {
			for seq := range due {
				if errs[i] == nil {
					errs[i] = do(app, seq)
				}
			}
		})
	}
	start := monotonic()
	for ; ; sent++ {
		at := start + int64(sent)*1e9/int64(rate)
		now := monotonic()
		if at > now {
			time.Sleep(time.Duration(at - now))
		}
		if at >= w.closes {
			break
		}
		select {
		case due <- sent:
		default:
			due <- sent
		}
		if len(due) > applications/2 {
			late++
		}
	}
	close(due)
	wg.Wait()
	return sent, late, errors.Join(firstFew(errs)...)
}

// desired measures how fast a change of desired properties that an application
// asks for over REST reaches the device.
func (b *bench) desired() error {
	const rate, devices = 1000, 1000
	most := rate * int((b.warm+b.window)/time.Second+2)
	sentAt, answeredAt, receivedAt := make([]int64, most), make([]int64, most), make([]int64, most)
	mark := []byte(`"seq":`)
	var g *ground
	g, err := b.ground("desired", devices, func(login) []string { return []string{"$iothub/twin/PATCH/properties/desired/#"} },
		func(_ *peer, first byte, body []byte) error {
			topic, payload, _, err := published(first, body)
			if err != nil {
				return err
			}
			_, text, ok := bytes.Cut(payload, mark)
			end := bytes.IndexAny(text, ",}")
			if !ok || end < 0 {
				return fmt.Errorf("%s: %s", topic, payload)
			}
			seq, err := strconv.Atoi(string(text[:end]))
			if err != nil || seq >= most {
				return fmt.Errorf("%s: %s: %w", topic, payload, err)
			}
			atomic.StoreInt64(&receivedAt[seq], g.fleet.now)
			return nil
		})
	if err != nil {
		return err
	}
	g.fleet.serve()
	var w window
	var measuring sync.WaitGroup
	g.open(&w, &measuring)
	sent, late, err := g.paced(&w, rate, func(app *rest, seq int) error {
		body := fmt.Appendf(nil, `{"properties":{"desired":{"seq":%d,"interval":30,"mode":"eco"}}}`, seq)
		sentAt[seq] = monotonic()
		_, err := app.must(http.StatusOK, http.MethodPatch, "/twins/"+g.hub.keys[seq%devices].id, "", body)
		answeredAt[seq] = monotonic()
		return err
	})
	measuring.Wait()
	received := func() (n int) {
		for seq := range sent {
			if atomic.LoadInt64(&receivedAt[seq]) != 0 {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(3 * time.Second); err == nil && received() < sent && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := errors.Join(err, g.end()); err != nil {
		return err
	}
	var all, answer, after histogram
	n := 0
	for seq := range sent {
		if !w.has(sentAt[seq]) || receivedAt[seq] == 0 {
			continue
		}
		n++
		all.add(time.Duration(receivedAt[seq] - sentAt[seq]))
		answer.add(time.Duration(answeredAt[seq] - sentAt[seq]))
		after.add(max(0, time.Duration(receivedAt[seq]-answeredAt[seq])))
	}
	if lost := sent - received(); lost > 0 {
		b.report.note("desired: %d of %d changes did not reach their device", lost, sent)
	}
	if late > 0 {
		b.report.note("desired: %d requests waited for a connection", late)
	}
	add := adder(b, "desired", w.cost)
	add("changes", "per second", float64(n)/w.cost.seconds, 0, false)
	add("REST answer to the device's receipt p99", "ms", after.quantile(0.99), 5, true)
	add("REST request to the device's receipt p50", "ms", all.quantile(0.5), 0, false)
	add("REST request to the device's receipt p99", "ms", all.quantile(0.99), 0, false)
	add("REST request to its answer p99", "ms", answer.quantile(0.99), 0, false)
	add("changes", perCPU, float64(n)/max(w.cost.cpu[0], 1e-9), 0, false)
	return nil
}

// adder adds figures of one case.
func adder(b *bench, name string, c cost) func(fig, unit string, v, target float64, atMost bool) {
	return func(fig, unit string, v, target float64, atMost bool) {
		b.report.add(figure{Case: name, Name: fig, Unit: unit, Value: v, Target: target, AtMost: atMost, Noise: c.noise})
	}
}

// methods measures direct method calls over REST to connected devices.
func (b *bench) methods() error {
	const rate, devices = 1000, 1000
	answer := []byte(`{"done":true,"firmware":"1.4.12"}`)
	topic := []byte("$iothub/methods/res/200/")
	var scratch []byte
	g, err := b.ground("methods", devices, func(login) []string { return []string{"$iothub/methods/POST/#"} },
		func(p *peer, first byte, body []byte) error {
			t, payload, _, err := published(first, body)
			if err != nil {
				return err
			}
			at := bytes.IndexByte(t, '?')
			if at < 0 || !bytes.HasPrefix(t, []byte("$iothub/methods/POST/reboot/")) {
				return fmt.Errorf("%s: %s", t, payload)
			}
			scratch = append(append(scratch[:0], topic...), t[at:]...)
			p.out = appendPublish(p.out, string(scratch), answer)
			return nil
		})
	if err != nil {
		return err
	}
	g.fleet.serve()
	var w window
	var measuring sync.WaitGroup
	g.open(&w, &measuring)
	var mu sync.Mutex
	var took histogram
	body := []byte(`{"methodName":"reboot","payload":{"delay":5},"responseTimeoutInSeconds":30}`)
	want := []byte(`"done":true`)
	_, late, err := g.paced(&w, rate, func(app *rest, seq int) error {
		began := monotonic()
		got, err := app.must(http.StatusOK, http.MethodPost, "/twins/"+g.hub.keys[seq%devices].id+"/methods", "", body)
		ended := monotonic()
		if err == nil && !bytes.Contains(got, want) {
			err = fmt.Errorf("a method was answered with %s", got)
		}
		if w.has(began) {
			mu.Lock()
			defer mu.Unlock()
			took.add(time.Duration(ended - began))
		}
		return err
	})
	measuring.Wait()
	if err := errors.Join(err, g.end()); err != nil {
		return err
	}
	if late > 0 {
		b.report.note("methods: %d calls waited for a connection", late)
	}
	add := adder(b, "methods", w.cost)
	add("calls", "per second", float64(took.n)/w.cost.seconds, 0, false)
	add("round trip p50", "ms", took.quantile(0.5), 0.5, true)
	add("round trip p99", "ms", took.quantile(0.99), 3, true)
	add("calls", perCPU, float64(took.n)/max(w.cost.cpu[0], 1e-9), 0, false)
	return nil
}

// commands measures cloud-to-device messages in a closed loop: sent over REST,
// queued durably, delivered over MQTT, acknowledged by the device.
func (b *bench) commands() error {
	const devices = 1000
	var acked, inWindow atomic.Int64
	var w window
	g, err := b.ground("c2d", devices, func(l login) []string { return []string{"devices/" + l.id + "/messages/devicebound/#"} }, nil)
	if err != nil {
		return err
	}
	g.fleet.packet = func(p *peer, first byte, body []byte) error {
		topic, payload, id, err := published(first, body)
		if err != nil {
			return err
		}
		if id == 0 {
			return fmt.Errorf("%s: %s: not with QoS 1", topic, payload)
		}
		p.out = append(p.out, 0x40, 2, byte(id>>8), byte(id))
		acked.Add(1)
		if w.has(g.fleet.now) {
			inWindow.Add(1)
		}
		return nil
	}
	var measuring sync.WaitGroup
	g.open(&w, &measuring)
	g.fleet.serve()
	var seq, sent atomic.Int64
	errs := make([]error, len(g.apps))
	var senders sync.WaitGroup
	var mu sync.Mutex
	var took histogram
	for i, app := range g.apps {
		senders.Go(func() {
			var mine histogram
			body := bytes.Repeat([]byte("x"), payloadBytes)
			for errs[i] == nil {
				began := monotonic()
				if began >= w.closes {
					break
				}
				n := seq.Add(1)
				id := g.hub.keys[n%devices].id
				headers := "iothub-to: /devices/" + id + "/messages/devicebound\r\niothub-messageid: " + strconv.FormatInt(n, 10) + "\r\n"
				if _, errs[i] = app.must(http.StatusNoContent, http.MethodPost, "/messages/devicebound", headers, body); errs[i] == nil {
					sent.Add(1)
				}
				if w.has(began) {
					mine.add(time.Duration(monotonic() - began))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			took.merge(&mine)
		})
	}
	senders.Wait()
	measuring.Wait()
	err = errors.Join(firstFew(errs)...)
	var completed float64
	for end := time.Now().Add(5 * time.Second); err == nil && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if completed, err = g.srv.metric(`dunlin_c2d_settled_total{outcome="complete"}`); completed >= float64(sent.Load()) {
			break
		}
	}
	if err := errors.Join(err, g.end()); err != nil {
		return err
	}
	if n := sent.Load(); int64(completed) != n || acked.Load() < n {
		return fmt.Errorf("%d messages were sent, devices acknowledged %d and the hub completed %.0f", n, acked.Load(), completed)
	}
	add := adder(b, "c2d", w.cost)
	n := float64(inWindow.Load())
	add("sent to acknowledged", "per second", n/w.cost.seconds, 10_000, false)
	add("sent to acknowledged", perCPU, n/max(w.cost.cpu[0], 1e-9), 0, false)
	add("CPU of the server", "CPU-seconds per second", w.cost.cpu[0]/w.cost.seconds, 0, false)
	add("REST request to its answer p50", "ms", took.quantile(0.5), 0, false)
	add("REST request to its answer p99", "ms", took.quantile(0.99), 0, false)
	return nil
}

// metric reads one sample of the server's metrics.
func (s *server) metric(sample string) (float64, error) {
	resp, err := http.Get("http://" + s.metrics.String() + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		return 0, err
	}
	for line := range strings.Lines(text.String()) {
		if rest, ok := strings.CutPrefix(line, sample+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(rest), 64)
		}
	}
	return 0, nil // a counter that was never touched
}
