//go:build linux

package main

import (
	"errors"
	"fmt"
	"os/exec"
)

// slowDisk runs the server under strace, which makes every sync take 100 ms,
// and offers far more than such a disk can take. The server may be slow then,
// but its memory must stay bounded and nothing may fail.
func (b *bench) slowDisk() error {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return fmt.Errorf("strace is not installed (Debian: apt-get install strace): %w", errUnavailable)
	}
	const conns, window = 50, 8192
	h, err := b.devices(conns)
	if err != nil {
		return err
	}
	s, err := h.serve(strace, "-D", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync",
		"-e", "inject=fsync,fdatasync:delay_exit=100ms", "-e", "signal=none", "-o", "/dev/null")
	if err != nil {
		return err
	}
	defer s.stop()
	before := s.anonymous()
	var m *meter
	var c cost
	peakOfAll := peakOf(s.anonymous)
	l := load{
		addr: s.plain, logins: h.logins(conns), window: window, warm: b.warm, measure: 2 * b.window,
		opened: func() { m = measure(s.process) },
		closed: func() { c = m.end(b.cores) },
	}
	res, err := l.run()
	peak := peakOfAll()
	_, resident := s.memory()
	if err := errors.Join(err, s.alive()); err != nil {
		return err
	}
	if res.acked == 0 {
		return errors.New("nothing was acknowledged on a slow disk")
	}
	offered := float64(conns*window*len(publishFrame(l.logins[0].topic, 0).bytes)) / (1 << 20)
	add := func(fig, unit string, v, target float64) {
		b.report.add(figure{Case: "slowdisk", Name: fig, Unit: unit, Value: v, Target: target, AtMost: target > 0, Noise: c.noise})
	}
	add("in flight at the devices", "MiB", offered, 0)
	add("growth of the server's own memory", "MiB", float64(peak-before)/(1<<20), 64)
	add("resident at most, its program included", "MiB", float64(resident)/(1<<20), 0)
	add("acknowledged", "per second", float64(res.acked)/c.seconds, 0)
	add("PUBACK p99", "ms", res.latency.quantile(0.99), 0)
	return nil
}
