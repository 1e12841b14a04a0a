package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// caller is what a method job knows of devices that it is calling, or that
// have come to be there. Nothing is kept for the others: that a device waits
// to be called stands in the store, where it is looked up once it connects.
type caller struct {
	wake chan struct{} // capacity 1

	mu       sync.Mutex
	busy     map[iot.ID]*visit
	arrived  map[iot.ID]struct{}
	finished []*visit
}

// visit is one call under way, until its outcome is stored.
type visit struct {
	record
	err   error
	again bool // the device has connected meanwhile
}

func newCaller() *caller {
	return &caller{wake: make(chan struct{}, 1), busy: map[iot.ID]*visit{}, arrived: map[iot.ID]struct{}{}}
}

// listen lets Wake reach the caller until the function it gives is called.
func (r *Room) listen(c *caller) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.callers[c] = struct{}{}
	r.listening.Store(true)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.callers, c)
		r.listening.Store(len(r.callers) > 0)
	}
}

func (c *caller) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// arrive notes that a device takes calls from now on.
func (c *caller) arrive(id iot.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.busy[id]; v != nil {
		v.again = true
		return
	}
	c.arrived[id] = struct{}{}
	c.signal()
}

// take gives up to n devices that have arrived.
func (c *caller) take(n int) (ids []iot.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.arrived {
		if len(ids) == n {
			break
		}
		ids = append(ids, id)
		delete(c.arrived, id)
	}
	if len(c.arrived) == 0 {
		c.arrived = map[iot.ID]struct{}{} // a map keeps the room of its fullest hour
	}
	return ids
}

// idle gives those records whose device is not being called.
func (c *caller) idle(list []record) []record {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := list[:0]
	for i := range list {
		if c.busy[list[i].ID] == nil {
			kept = append(kept, list[i])
		}
	}
	return kept
}

// callRound is one goroutine's work on a method job.
type callRound struct {
	room    *Room
	open    *open
	caller  *caller
	wait    sync.WaitGroup
	after   iot.ID // of the walk over all devices
	walked  bool   // they were all looked at once
	checked bool   // devices that are away need not be looked up
	left    int64  // devices without an outcome
	later   []iot.ID
	timer   *time.Timer // set while later is not empty
}

// callBatch is the number of calls that are begun together.
const callBatch = 200

// callDevices calls the method of every device of the job: at once where it is
// connected, else when it connects, until all have an outcome or ctx ends.
func (r *Room) callDevices(ctx context.Context, o *open, c *caller) error {
	if o.resumed {
		// What was under way when the process died has no outcome.
		if err := r.write(ctx, "take back calls", func(ctx context.Context, tx state.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE job_device SET status = 0, started_at = 0 WHERE job = ? AND status = 1", o.job.seq)
			return err
		}); err != nil {
			return err
		}
	}
	w := &callRound{room: r, open: o, caller: c, checked: !o.resumed, left: o.job.Total - o.job.Succeeded - o.job.FailedCount - o.job.Canceled}
	w.timer = time.NewTimer(time.Hour)
	w.timer.Stop()
	defer w.timer.Stop()
	err := w.run(ctx)
	w.wait.Wait() // their context has ended, or they are done
	if serr := w.storeFinished(ctx); err == nil {
		err = serr
	}
	return err
}

func (w *callRound) run(ctx context.Context) error {
	calls, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		if err := w.storeFinished(ctx); err != nil {
			return err
		}
		if w.left <= 0 {
			return nil
		}
		busy, err := w.beginSome(calls)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !transient(err) {
			return err
		}
		if err != nil {
			if err := rest(ctx, again); err != nil {
				return err
			}
			continue
		}
		if busy {
			continue
		}
		select {
		case <-w.caller.wake:
		case <-w.timer.C:
			for _, id := range w.later {
				w.caller.arrive(id)
			}
			w.later = nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// beginSome begins calls of devices that have arrived, else of those that the
// walk comes to. It answers false when there is nothing to begin.
func (w *callRound) beginSome(ctx context.Context) (bool, error) {
	w.caller.mu.Lock()
	free := min(w.room.limits.Calls-len(w.caller.busy), callBatch)
	w.caller.mu.Unlock()
	if free <= 0 {
		return false, nil
	}
	seq := w.open.job.seq
	if ids := w.caller.take(free); len(ids) > 0 {
		list, err := w.room.unfinishedOf(ctx, seq, ids)
		if err == nil {
			err = w.begin(ctx, w.caller.idle(list))
		}
		if err != nil {
			for _, id := range ids {
				w.caller.arrive(id)
			}
		}
		return true, err
	}
	if w.walked {
		return false, nil
	}
	page, err := w.room.unfinished(ctx, seq, w.after, findPage)
	if err != nil {
		return false, err
	}
	after := w.after
	var here []record
	for i := range page {
		if len(here) == free {
			break
		}
		d := &page[i]
		away := !w.room.deps.Connected(d.ID)
		if away && !w.checked {
			// It may have been deleted while nobody was looking.
			err := w.room.deps.Exists(ctx, d.Target)
			if transient(err) || ctx.Err() != nil {
				return false, err
			}
			away = err == nil
		}
		if !away {
			here = append(here, *d)
		}
		after = d.ID
	}
	if err := w.begin(ctx, w.caller.idle(here)); err != nil {
		return false, err
	}
	w.walked = len(page) == 0
	w.after = after
	return !w.walked, nil
}

// begin notes that devices are being called, and calls them.
func (w *callRound) begin(ctx context.Context, list []record) error {
	if len(list) == 0 {
		return nil
	}
	now := time.Now().UnixNano()
	for i := range list {
		list[i].status, list[i].started = deviceRunning, now
	}
	if err := w.room.store(ctx, w.open, opStarted, list); err != nil {
		return err
	}
	for i := range list {
		v := &visit{record: list[i]}
		w.caller.mu.Lock()
		w.caller.busy[v.ID] = v
		w.caller.mu.Unlock()
		w.open.running.Add(1)
		w.wait.Go(func() { w.call(ctx, v) })
	}
	return nil
}

func (w *callRound) call(ctx context.Context, v *visit) {
	status, payload, err := w.room.deps.Call(ctx, v.Target, w.open.plan.call)
	w.open.running.Add(-1)
	c := w.caller
	c.mu.Lock()
	defer c.mu.Unlock()
	v.ended = time.Now().UnixNano()
	if v.err = err; err == nil {
		v.code, v.text = int64(status), string(payload)
	}
	c.finished = append(c.finished, v)
	c.signal()
}

// storeFinished stores the outcome of calls that have ended. A device that was
// not there after all is pending again.
func (w *callRound) storeFinished(ctx context.Context) error {
	c := w.caller
	c.mu.Lock()
	done := c.finished
	c.finished = nil
	c.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	var ended, back []record
	for _, v := range done {
		d := v.record
		switch {
		case ctx.Err() != nil && (errors.Is(v.err, context.Canceled) || errors.Is(v.err, context.DeadlineExceeded)):
			continue // stays under way: settled with the job, or tried again after a restart
		case iot.CodeOf(v.err) == iot.DeviceNotOnline || transient(v.err):
			d.status, d.started, d.ended, d.code, d.text = devicePending, 0, 0, 0, ""
			back = append(back, d)
			continue
		}
		d.outcome(v.err)
		if d.code == int64(iot.ServerError) {
			w.room.logger.Error("method not called by a job", slog.String("job", w.open.job.ID), slog.String("device", d.ID.Device), slog.Any("error", v.err))
		}
		ended = append(ended, d)
	}
	if len(back) > 0 {
		if err := w.room.store(ctx, w.open, opNone, back); err != nil {
			return err
		}
	}
	if len(ended) > 0 {
		if err := w.room.store(ctx, w.open, opEnded, ended); err != nil {
			return err
		}
		w.left -= int64(len(ended))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range done {
		delete(c.busy, v.ID)
		switch {
		case v.again && iot.CodeOf(v.err) == iot.DeviceNotOnline:
			c.arrived[v.ID] = struct{}{}
		case transient(v.err):
			w.timer.Reset(again)
			w.later = append(w.later, v.ID)
		}
	}
	return nil
}
