package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Why a job stops before it is done.
var (
	errCancelled = errors.New("job: cancelled")
	errExpired   = errors.New("job: its time is up")
)

// open is a job that has not ended. The goroutine of drive owns it, apart from
// what says otherwise.
type open struct {
	job     Job
	plan    plan
	resumed bool // an earlier run had it

	running  atomic.Int64 // devices under way
	progress atomic.Int64 // of a transfer, 0 to 100

	mu     sync.Mutex
	cancel context.CancelCauseFunc // nil before drive
	why    error                   // set by stop
}

// stop ends the work on the job. Any goroutine may call it, more than once.
func (o *open) stop(why error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.why = why
	if o.cancel != nil {
		o.cancel(why)
	}
}

// context gives what the work on the job runs under.
func (o *open) context(life context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(life)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cancel = cancel; o.why != nil {
		cancel(o.why)
	}
	return ctx, cancel
}

// drive brings one job to its end, or to where it was when life ended.
func (r *Room) drive(life context.Context, o *open) {
	ctx, cancel := o.context(life)
	defer cancel(nil)
	err := r.perform(ctx, o)
	if life.Err() != nil && !errors.Is(err, errCancelled) {
		return // goes on with the next run
	}
	if errors.Is(err, leader.ErrLost) {
		return // another node goes on with it
	}
	if err = r.settle(life, o, err); err != nil {
		if life.Err() == nil && !errors.Is(err, leader.ErrLost) {
			r.logger.Error("job not brought to its end, will be with the next start", slog.String("job", o.job.ID), slog.Any("error", err))
		}
		return
	}
	r.ended(o.job.ID)
}

// perform does what the job is for. A job that must not be begun, or gone on
// with, is answered with the reason.
func (r *Room) perform(ctx context.Context, o *open) error {
	if o.job.Status == Cancelled {
		return errCancelled
	}
	if o.job.Status.Ended() {
		return nil
	}
	if !o.job.Kind.Scheduled() {
		return r.transfer(ctx, o)
	}
	var err error
	if o.plan, err = o.job.plan(); err != nil {
		return err
	}
	release, err := r.begin(ctx, o)
	if err != nil {
		return err
	}
	defer release()
	r.metrics.running.Inc()
	defer r.metrics.running.Dec()

	within, cancel := context.WithDeadlineCause(ctx, o.job.Begun.Add(o.job.MaxTime), errExpired)
	defer cancel()
	if o.job.Kind == UpdateTwin {
		if err := r.find(within, o); err != nil {
			return err
		}
		return r.changeTwins(within, o)
	}
	// From before the devices are known: none that connects is missed.
	c := newCaller()
	defer r.listen(c)()
	if err := r.find(within, o); err != nil {
		return err
	}
	return r.callDevices(within, o, c)
}

// begin waits until the job is due and may run.
func (r *Room) begin(ctx context.Context, o *open) (release func(), err error) {
	release = func() {}
	if wait := time.Until(o.job.Start); wait > 0 && o.job.Status != Running {
		if o.job.Status != Scheduled {
			if err := r.become(ctx, o, Scheduled); err != nil {
				return release, err
			}
		}
		if err := rest(ctx, wait); err != nil {
			return release, err
		}
	}
	if r.slots != nil {
		select {
		case r.slots <- struct{}{}:
			release = func() { <-r.slots }
		case <-ctx.Done():
			return release, context.Cause(ctx)
		}
	}
	if o.job.Status != Running {
		o.job.Begun = time.Now().UTC()
		if err := r.become(ctx, o, Running); err != nil {
			release()
			return func() {}, err
		}
	}
	return release, nil
}

// become stores a new state of a job that was not ended meanwhile.
func (r *Room) become(ctx context.Context, o *open, s Status) error {
	var n int64
	err := r.write(ctx, "begin a job", func(ctx context.Context, tx state.Tx) error {
		var err error
		n, err = tx.Exec(ctx, "UPDATE job SET status = ?, run_at = ? WHERE seq = ? AND status < 10", int64(s), nanos(o.job.Begun), o.job.seq)
		return err
	})
	if err == nil && n == 0 {
		return errCancelled
	}
	o.job.Status = s
	return err
}

// findPage is the number of devices that are found, and get their records, at
// a time: few enough for other writes to come in between.
const findPage = 500

// find gives every device that the job is for a record.
func (r *Room) find(ctx context.Context, o *open) error {
	for !o.job.selected {
		targets, last, more, err := r.findSome(ctx, o)
		if err != nil {
			return err
		}
		now := time.Now().UnixNano()
		list := make([]record, len(targets))
		var args []any
		for i, t := range targets {
			list[i] = record{Target: t, created: now}
			args = list[i].values(args, o.job.seq)
		}
		err = r.write(ctx, "store the devices of a job", func(ctx context.Context, tx state.Tx) error {
			if err := putDevices.exec(ctx, tx, args); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, "UPDATE job SET total = total + ?, place_device = ?, place_module = ?, selected = ? WHERE seq = ?",
				len(list), last.Device, last.Module, flag(!more), o.job.seq); err != nil {
				return err
			}
			return r.tell(ctx, tx, &o.job, opScheduled, list)
		})
		if err != nil {
			return err
		}
		o.job.place, o.job.selected = last, !more
		o.job.Total += int64(len(list))
	}
	return nil
}

// findSome reads a page of the devices that the job is for. One job at a time
// does: a condition without an index reads every twin there is.
func (r *Room) findSome(ctx context.Context, o *open) (found []Target, last iot.ID, more bool, err error) {
	select {
	case r.finding <- struct{}{}:
		defer func() { <-r.finding }()
	case <-ctx.Done():
		return nil, last, false, context.Cause(ctx)
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		found, last, more, err = r.deps.Find(ctx, &o.plan.target, o.job.place, findPage)
		switch {
		case ctx.Err() != nil:
			return nil, last, false, context.Cause(ctx)
		case err == nil || !transient(err):
			return found, last, more, err
		}
		if err := rest(ctx, pause); err != nil {
			return nil, last, false, err
		}
	}
}

// store writes the outcome of devices, which counts from then on, and events
// with the name op; without a name they have that of each outcome.
func (r *Room) store(ctx context.Context, o *open, op string, list []record) error {
	var succeeded, failed, canceled int64
	var args []any
	for i := range list {
		d := &list[i]
		switch d.status {
		case deviceCompleted:
			succeeded++
		case deviceFailed:
			failed++
		case deviceCanceled:
			canceled++
		default:
		}
		args = d.values(args, o.job.seq)
	}
	err := r.write(ctx, "store what came of devices", func(ctx context.Context, tx state.Tx) error {
		if err := putDevices.exec(ctx, tx, args); err != nil {
			return err
		}
		if succeeded+failed+canceled > 0 {
			if _, err := tx.Exec(ctx, "UPDATE job SET succeeded = succeeded + ?, failed = failed + ?, canceled = canceled + ? WHERE seq = ?",
				succeeded, failed, canceled, o.job.seq); err != nil {
				return err
			}
		}
		if op == opNone {
			return nil
		}
		return r.tell(ctx, tx, &o.job, op, list)
	})
	if err == nil {
		o.job.Succeeded += succeeded
		o.job.FailedCount += failed
		o.job.Canceled += canceled
		for status, n := range map[deviceStatus]int64{deviceCompleted: succeeded, deviceFailed: failed, deviceCanceled: canceled} {
			if n > 0 {
				r.metrics.devices.WithLabelValues(o.job.Kind.String(), status.String()).Add(float64(n))
			}
		}
	}
	return err
}

// settle gives what the job has not reached its outcome, and the job its end.
func (r *Room) settle(ctx context.Context, o *open, why error) error {
	end, left := Completed, record{status: deviceFailed}
	failure, message := "", ""
	switch {
	case why == nil:
	case errors.Is(why, errCancelled):
		end, left.status = Cancelled, deviceCanceled
	case errors.Is(why, errExpired):
		message = fmt.Sprintf("The time of the job was up after %d seconds.", int64(o.job.MaxTime/time.Second))
		left.code, left.text = int64(iot.GatewayTimeout), "The time of the job was up before the twin was changed."
		if o.job.Kind == DeviceMethod {
			left.code, left.text = int64(iot.DeviceNotOnline), "The time of the job was up before the device was there to take the call."
		}
	default:
		end, failure = Failed, reason(why)
		left.status = deviceCanceled
		if domain, ok := errors.AsType[*iot.Error](why); !ok || domain.Err != nil {
			r.logger.Error("job failed", slog.String("job", o.job.ID), slog.Any("error", why))
		}
	}
	if o.job.Kind.Scheduled() {
		if err := r.settleDevices(ctx, o, left); err != nil {
			return err
		}
	}
	var n int64
	now := time.Now().UnixNano()
	err := r.write(ctx, "end a job", func(ctx context.Context, tx state.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM job_line WHERE job = ?", o.job.seq); err != nil {
			return err
		}
		var err error
		if n, err = tx.Exec(ctx, "UPDATE job SET status = ?, ended_at = ?, failure = ?, message = CASE WHEN ? = '' THEN message ELSE ? END, settled = 1 WHERE seq = ? AND status < 10",
			int64(end), now, failure, message, message, o.job.seq); err != nil || n == 1 {
			return err
		}
		_, err = tx.Exec(ctx, "UPDATE job SET settled = 1 WHERE seq = ?", o.job.seq)
		return err
	})
	if err == nil {
		if n == 0 {
			end = Cancelled
		}
		r.metrics.ended.WithLabelValues(o.job.Kind.String(), end.String()).Inc()
		r.logger.Info("job ended", slog.String("job", o.job.ID), slog.String("type", o.job.Kind.String()), slog.String("status", end.String()),
			slog.Int64("devices", o.job.Total), slog.Int64("succeeded", o.job.Succeeded), slog.Int64("failed", o.job.FailedCount))
	}
	return err
}

// reason is what applications are told of an error.
func reason(err error) string {
	if domain, ok := errors.AsType[*iot.Error](err); ok {
		return domain.Code.Name() + ": " + domain.Message
	}
	return "ServerError: the server could not do this, its log has the reason."
}

// settleDevices ends the records of devices that the job has not reached.
func (r *Room) settleDevices(ctx context.Context, o *open, as record) error {
	var after iot.ID
	for {
		list, err := r.unfinished(ctx, o.job.seq, after, findPage)
		if err != nil || len(list) == 0 {
			return err
		}
		now := time.Now().UnixNano()
		for i := range list {
			d := &list[i]
			d.code, d.text = as.code, as.text
			if d.status == deviceRunning {
				d.code, d.text = int64(iot.RequestCanceled), "The job ended while the device was being called: it may have done what it was asked for."
			}
			d.status, d.ended = as.status, now
		}
		if err := r.store(ctx, o, "", list); err != nil {
			return err
		}
		after = list[len(list)-1].ID
	}
}
