package simulate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// run is what the devices of one simulation share.
type run struct {
	cfg      Config
	site     site
	count    counters
	connects chan struct{}   // one place for each connection attempt at a time
	stop     context.Context // done when nothing new is to be sent
	started  time.Time
	warned   atomic.Bool // the log has heard that a connection failed
}

// Run simulates until every device has sent everything, the configured end has
// come, or ctx ends; then it waits up to Config.Drain for acknowledgements. An
// end of ctx is no error. The summary is right in every case; the error tells
// why the run could not start or that devices failed.
func Run(ctx context.Context, c Config) (Summary, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Summary{}, err
	}
	var rec *Recording
	var want []string
	if c.Replay != "" {
		rec, err = LoadRecording(ReplayConfig{
			File: c.Replay, TimeColumn: c.TimeColumn, ValueColumns: c.ValueColumns, DeviceColumn: c.DeviceColumn,
		})
		if err != nil {
			return Summary{}, err
		}
		if c.DeviceColumn != "" {
			want = rec.Devices()
		}
	}
	where, who, err := resolve(ctx, c, want)
	if err != nil {
		return Summary{}, err
	}
	srcs, err := sources(c, rec, who)
	if err != nil {
		return Summary{}, err
	}

	stop := ctx
	if c.Duration > 0 {
		var cancel context.CancelFunc
		stop, cancel = context.WithTimeout(ctx, c.Duration)
		defer cancel()
	}
	// Connections outlive stop by the time that acknowledgements may take.
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	r := &run{cfg: c, site: where, connects: make(chan struct{}, c.Connects), stop: stop, started: time.Now()}

	var devices, others sync.WaitGroup
	finished := make(chan struct{})
	others.Go(func() {
		select {
		case <-finished:
			return
		case <-stop.Done():
		}
		timer := time.NewTimer(c.Drain)
		defer timer.Stop()
		select {
		case <-finished:
		case <-timer.C:
			cut()
		}
	})
	if c.Progress != nil {
		others.Go(func() { r.progress(finished) })
	}
	for i := range who {
		d := &device{run: r, who: who[i], src: srcs[i], wake: make(chan struct{}, 1), pong: make(chan struct{}, 1)}
		if rec != nil {
			d.started = r.started // the devices of a recording keep step with each other
		}
		devices.Go(func() {
			if err := d.live(hard); err != nil {
				err = fmt.Errorf("device %s: %w", d.who.clientID(), err)
				r.count.lastError.Store(&err)
				// One line, not thousands, when the whole fleet is refused.
				if r.count.failed.Add(1) <= 10 {
					c.Log.Warn("device failed", slog.String("device_id", d.who.id.Device), slog.Any("error", err))
				}
			}
		})
	}
	devices.Wait()
	close(finished)
	others.Wait()
	s := r.summary(len(who))
	if s.Failed > 0 {
		err = *r.count.lastError.Load()
		if s.Failed > 1 {
			err = fmt.Errorf("%d of %d devices failed; the last: %w", s.Failed, s.Devices, err)
		}
		return s, err
	}
	if s.Unacked > 0 {
		return s, errUnacked
	}
	return s, nil
}

var errUnacked = errors.New("the run ended before all messages were acknowledged")

func (r *run) summary(devices int) Summary {
	k := &r.count
	s := Summary{
		Devices: devices, Failed: int(k.failed.Load()),
		Sent: k.sent.Load(), Acked: k.acked.Load(), Unacked: k.unacked.Load(),
		Resent: k.resent.Load(), Reconnects: k.reconnects.Load() - k.renewals.Load(), Renewals: k.renewals.Load(),
		Bytes: k.bytes.Load(), Seconds: time.Since(r.started).Seconds(),
		AckP50MS: ms(k.latency.quantile(0.5)), AckP99MS: ms(k.latency.quantile(0.99)),
		AckMaxMS: float64(k.latency.longest.Load()) / 1000,
	}
	done := s.Acked
	if r.cfg.QoS == 0 {
		done = s.Sent
	}
	s.Rate = float64(done) / max(s.Seconds, 1e-3)
	if e := k.lastError.Load(); e != nil {
		s.LastError = (*e).Error()
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// progress tells how the run goes until finished.
func (r *run) progress(finished <-chan struct{}) {
	every := 5 * time.Second
	if r.cfg.Terminal {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, lastAt := int64(0), r.started
	for {
		select {
		case <-finished:
			if r.cfg.Terminal {
				fmt.Fprint(r.cfg.Progress, "\r\x1b[K")
			}
			return
		case now := <-tick.C:
			done := r.count.acked.Load()
			if r.cfg.QoS == 0 {
				done = r.count.sent.Load()
			}
			r.line(r.cfg.Progress, done, float64(done-last)/now.Sub(lastAt).Seconds())
			last, lastAt = done, now
		}
	}
}

func (r *run) line(w io.Writer, done int64, rate float64) {
	k := &r.count
	start, end := "", "\n"
	if r.cfg.Terminal {
		start, end = "\r\x1b[K", ""
	}
	inFlight := int64(0)
	word := "sent"
	if r.cfg.QoS == 1 {
		word, inFlight = "acknowledged", k.sent.Load()-k.acked.Load()
	}
	fmt.Fprintf(w, "%s%d connected, %.0f msg/s, %d %s, %d in flight, %d reconnects%s",
		start, k.connected.Load(), rate, done, word, inFlight, k.reconnects.Load()-k.renewals.Load(), end)
}
