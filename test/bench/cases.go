//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// closedFigures are the results of one server in a closed loop.
type closedFigures struct {
	res       result
	cost      cost
	rss, peak int64
}

func (f closedFigures) perCPU() float64 { return float64(f.res.acked) / max(f.cost.total(), 1e-9) }
func (f closedFigures) perSecond() float64 {
	return float64(f.res.acked) / f.cost.seconds
}

func (b *bench) closedLoop(name string, s *server, logins []login, window int, overTLS bool) (f closedFigures, err error) {
	var m *meter
	l := load{
		addr: s.plain, logins: logins, window: window, warm: b.warm, measure: b.window,
		opened: func() { m = measure(s.process); b.profile.begin(name, s, b.window) },
		closed: func() {
			f.cost = m.end(b.cores)
			f.rss, f.peak = s.memory()
		},
	}
	if overTLS {
		l.addr = s.tls
		f.res, err = l.runTLS(s.conf)
	} else {
		f.res, err = l.run()
	}
	return f, errors.Join(err, s.alive())
}

// closed measures Dunlin and the peer, one after the other.
func (b *bench) closed(name string, conns, window int, overTLS bool) error {
	h, err := b.devices(conns)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	ours, err := b.closedLoop(name, s, h.logins(conns), window, overTLS)
	s.stop()
	if err != nil {
		return err
	}
	var peer closedFigures
	if s, err := mosquitto(b.dir); err == nil {
		peer, err = b.closedLoop(name, s, anonymous(conns), window, overTLS)
		s.stop()
		if err != nil {
			return fmt.Errorf("mosquitto: %w", err)
		}
	} else {
		b.report.note("%s: %v", name, err)
	}
	target := map[string]float64{"closed100": 300e3, "closed1000": 200e3}[name]
	if overTLS {
		// At least 70 % of the plain loop, of this run where it was measured.
		for _, f := range b.report.Figures {
			if f.Case+"tls" == name && f.Unit == perCPU {
				target = 0.7 * f.Value
			}
		}
		if target == 0 {
			target = 0.7 * map[string]float64{"closed100tls": 300e3, "closed1000tls": 200e3}[name]
		}
	}
	earlier := map[string]string{
		"closed100": "Mosquitto 129 k, FlashMQ 778 k, nats 49 k; none stores", "closed1000": "Mosquitto 138 k, FlashMQ 345 k",
		"closed100tls": "Mosquitto 93 k, FlashMQ 708 k, nats 51 k",
	}[name]
	add := func(fig, unit string, v, peer, target float64, atMost bool, earlier string) {
		b.report.add(figure{Case: name, Name: fig, Unit: unit, Value: v, Peer: peer, Target: target, AtMost: atMost, Earlier: earlier, Noise: ours.cost.noise})
	}
	add("acknowledged", perCPU, ours.perCPU(), zeroIf(peer.cost.seconds, peer.perCPU()), target, false, earlier)
	add("acknowledged", "per second", ours.perSecond(), zeroIf(peer.cost.seconds, peer.perSecond()), 0, false, "")
	add("PUBACK p50", "ms", ours.res.latency.quantile(0.5), peer.res.latency.quantile(0.5), 0, false, "")
	add("PUBACK p99", "ms", ours.res.latency.quantile(0.99), peer.res.latency.quantile(0.99), 0, false, "")
	add("resident", "MiB", float64(ours.rss)/(1<<20), float64(peer.rss)/(1<<20), 0, false, "")
	return nil
}

const perCPU = "per CPU-second of the server"

// zeroIf gives 0, "not measured", for a peer that did not run.
func zeroIf(seconds, v float64) float64 {
	if seconds == 0 {
		return 0
	}
	return v
}

// paced measures an open loop with one consumer of the log in a process of
// its own, whose CPU counts.
func (b *bench) paced(name string, rate int) error {
	h, err := b.devices(100)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	logins := h.logins(100)
	tail, err := h.tail()
	if err != nil {
		return err
	}
	defer tail.stop()
	if err := tail.attach(s.plain, logins[0]); err != nil {
		return err
	}
	var m *meter
	var c cost
	l := load{
		addr: s.plain, logins: logins, rate: rate, warm: b.warm, measure: b.window,
		opened: func() {
			m = measure(s.process, tail.process)
			tail.window(true)
			b.profile.begin(name, s, b.window)
		},
		closed: func() { c = m.end(b.cores); tail.window(false) },
	}
	res, err := l.run()
	if err := errors.Join(err, s.alive(), tail.alive()); err != nil {
		return err
	}
	seen, wanted := tail.settled(res.total, 3*time.Second), res.total
	if seen < wanted {
		b.report.note("%s: the consumer saw %d of %d messages", name, seen, wanted)
	}
	if res.late > 0 {
		b.report.note("%s: %d messages were not sent because %d waited on their connection already", name, res.late, pacedSlots)
	}
	target := map[int]float64{10_000: 20e3, 20_000: 30e3, 40_000: 55e3}[rate]
	earlier := map[int]string{10_000: "7.4-8.2 k", 20_000: "13-16 k", 40_000: "26-27 k"}[rate]
	limits := map[int][4]float64{10_000: {4, 10, 5, 15}}[rate]
	ms := map[int][4]string{
		10_000: {"0.8-11", "10-127", "0.8-2.2", "11-140"}, 20_000: {"0.9-6", "11-130", "0.8-6", "10-132"}, 40_000: {"4-6", "40-112", "4-66", "61-193"},
	}[rate]
	add := func(fig, unit string, v, target float64, atMost bool, earlier string) {
		b.report.add(figure{Case: name, Name: fig, Unit: unit, Value: v, Target: target, AtMost: atMost, Earlier: earlier, Noise: c.noise})
	}
	acked := float64(res.acked)
	add("acknowledged, server and consumer", "per CPU-second of both", acked/max(c.total(), 1e-9), target, false, earlier)
	add("acknowledged, server alone", perCPU, acked/max(c.cpu[0], 1e-9), 0, false, "")
	add("acknowledged", "per second", acked/c.seconds, 0, false, "")
	add("PUBACK p50", "ms", res.latency.quantile(0.5), limits[0], limits[0] > 0, ms[0])
	add("PUBACK p99", "ms", res.latency.quantile(0.99), limits[1], limits[1] > 0, ms[1])
	add("device to consumer p50", "ms", tail.latency.quantile(0.5), limits[2], limits[2] > 0, ms[2])
	add("device to consumer p99", "ms", tail.latency.quantile(0.99), limits[3], limits[3] > 0, ms[3])
	return nil
}

// idle measures what a connection costs that does nothing.
func (b *bench) idle(name string, overTLS bool) error {
	// Files per process are limited to 20,000 on the machine whose figures
	// these are compared with.
	n := 19_000
	if b.quick {
		n = 1000
	}
	h, err := b.devices(n)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	ours, err := b.hold(name, s, h.logins(n), overTLS)
	s.stop()
	if err != nil {
		return err
	}
	var peer idleFigures
	if s, err := mosquitto(b.dir); err == nil {
		peer, err = b.hold(name, s, anonymous(n), overTLS)
		s.stop()
		if err != nil {
			return fmt.Errorf("mosquitto: %w", err)
		}
	} else {
		b.report.note("%s: %v", name, err)
	}
	mem, rate, memEarlier, rateEarlier := 2.0, 12e3, "0.7-38", "4-24 k"
	if overTLS {
		mem, rate, memEarlier, rateEarlier = 16, 1e3, "15-71", "0.9-1.4 k"
	}
	add := func(fig, unit string, v, peer, target float64, atMost bool, earlier string) {
		b.report.add(figure{Case: name, Name: fig, Unit: unit, Value: v, Peer: peer, Target: target, AtMost: atMost, Earlier: earlier, Noise: ours.noise})
	}
	add("connections", "open", float64(n), 0, 0, false, "")
	add("resident per connection", "kB", ours.perConn/1e3, peer.perConn/1e3, mem, true, memEarlier)
	add("connects", perCPU, ours.perCPU, peer.perCPU, rate, false, rateEarlier)
	add("connects", "per second", ours.perSecond, peer.perSecond, 0, false, "")
	add("CPU while idle", "ms per second", ours.idleCPU*1e3, peer.idleCPU*1e3, 0, false, "")
	return nil
}

// afterwork is how long a server may go on with what connections caused, such
// as storing when a device was seen; it counts.
const afterwork = 300 * time.Millisecond

type idleFigures struct {
	perConn, perCPU, perSecond, idleCPU, noise float64
}

// hold opens all connections, lets the server come to rest and looks at it.
func (b *bench) hold(name string, s *server, logins []login, overTLS bool) (f idleFigures, err error) {
	connects := make([][]byte, len(logins)) // tokens are made before the window
	for i, l := range logins {
		connects[i] = connectPacket(l)
	}
	rest, watch := 6*time.Second, 2*time.Second
	if b.quick {
		rest, watch = time.Second, time.Second
	}
	time.Sleep(watch / 2)
	before, _ := s.memory()
	errs := make([]error, len(logins))
	closers := make([]func(), len(logins))
	defer func() {
		for _, c := range closers {
			if c != nil {
				c()
			}
		}
	}()
	b.profile.begin(name, s, b.window)
	m := measure(s.process)
	parallel(len(logins), 16, func(i int) {
		// A few source addresses, so that ports do not run out.
		from := netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i%4)})
		if overTLS {
			c, err := dialTLS(s.tls, from, s.conf, connects[i])
			if errs[i] = err; err == nil {
				closers[i] = func() { _ = c.NetConn().Close() }
			}
			return
		}
		fd, err := dialRaw(s.plain, from, connects[i])
		if errs[i] = err; err == nil {
			closers[i] = func() { _ = unix.Close(fd) }
		}
	})
	f.perSecond = float64(len(logins)) / time.Since(m.began).Seconds()
	time.Sleep(afterwork)
	c := m.end(b.cores)
	if err := errors.Join(errors.Join(firstFew(errs)...), s.alive()); err != nil {
		return f, err
	}
	f.perCPU, f.noise = float64(len(logins))/max(c.total(), 1e-9), c.noise
	time.Sleep(rest)
	after, _ := s.memory()
	f.perConn = float64(after-before) / float64(len(logins))
	m = measure(s.process)
	time.Sleep(watch)
	c = m.end(b.cores)
	f.idleCPU = c.total() / c.seconds
	return f, nil
}

func firstFew(errs []error) (out []error) {
	for _, e := range errs {
		if e != nil && len(out) < 3 {
			out = append(out, e)
		}
	}
	return out
}

// slowReader checks that connections which never read do not hold up others
// and do not fill the server's memory.
func (b *bench) slowReader() error {
	const rogues = 4
	h, err := b.devices(100 + rogues)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	all := h.logins(100 + rogues)
	phase := func(stop *atomic.Bool, wg *sync.WaitGroup) (res result, c cost, rss int64, err error) {
		var m *meter
		l := load{
			addr: s.plain, logins: all[:100], rate: 10_000, warm: b.warm, measure: b.window,
			opened: func() { m = measure(s.process) },
			closed: func() {
				c = m.end(b.cores)
				_, rss = s.memory()
			},
		}
		res, err = l.run()
		stop.Store(true)
		wg.Wait()
		return res, c, rss, errors.Join(err, s.alive())
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	quiet, _, rssQuiet, err := phase(&stop, &wg)
	if err != nil {
		return err
	}
	stop.Store(false)
	var closed, refused atomic.Int64
	for _, l := range all[100:] {
		wg.Go(func() {
			for !stop.Load() {
				ended, err := flood(s.plain, l, &stop)
				if err != nil {
					refused.Add(1)
					return
				}
				if ended {
					closed.Add(1)
				}
			}
		})
	}
	loud, c, rssLoud, err := phase(&stop, &wg)
	if err != nil {
		return err
	}
	if n := refused.Load(); n > 0 {
		b.report.note("slowreader: %d rogue peers could not connect", n)
	}
	b.report.note("slowreader: the server closed %d connections of peers that do not read", closed.Load())
	add := func(fig, unit string, v, target float64) {
		b.report.add(figure{Case: "slowreader", Name: fig, Unit: unit, Value: v, Target: target, AtMost: target > 0, Noise: c.noise})
	}
	// Twice the quiet figure leaves room for what two short windows differ by.
	add("PUBACK p99 of the others, alone", "ms", quiet.latency.quantile(0.99), 0)
	add("PUBACK p99 of the others, with 4 that never read", "ms", loud.latency.quantile(0.99), max(2*quiet.latency.quantile(0.99), 10))
	add("PUBACK p50 of the others, with 4 that never read", "ms", loud.latency.quantile(0.5), 0)
	add("resident at most, alone", "MiB", float64(rssQuiet)/(1<<20), 0)
	add("resident at most, with 4 that never read", "MiB", float64(rssLoud)/(1<<20), float64(rssQuiet)/(1<<20)+32)
	return nil
}

// flood asks for answers on one connection, 2 million pings per second, and
// never reads them, until the server ends the connection or stop is set. The
// kernel alone takes some megabytes of answers before the server notices.
func flood(addr netip.AddrPort, l login, stop *atomic.Bool) (ended bool, err error) {
	fd, err := dialRaw(addr, netip.Addr{}, connectPacket(l))
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	// With a small buffer of its own the peer becomes slow at once.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 2048); err != nil {
		return false, err
	}
	short := unix.Timeval{Usec: 100_000}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &short); err != nil {
		return false, err
	}
	burst := bytes.Repeat([]byte{0xc0, 0}, 10_000)
	for p := burst; !stop.Load(); {
		n, err := unix.Write(fd, p)
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return true, nil
		}
		if p = p[max(n, 0):]; len(p) == 0 {
			p = burst
			time.Sleep(5 * time.Millisecond)
		}
	}
	return false, nil
}
