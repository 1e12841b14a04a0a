package job

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/iot"
)

const (
	// changePage is the number of twins that are changed at a time: the room of
	// twins writes so many in one go. More would make others wait longer.
	changePage = 256
	// again is how long a job rests before it tries once more what the store
	// could not do.
	again = time.Second
)

// changeTwins changes the twin of every device of the job that has not ended.
// The outcome of one page is stored while the next one is changed.
func (r *Room) changeTwins(ctx context.Context, o *open) error {
	w := changeRound{room: r, open: o, pages: make(chan []record, 1)}
	var failed error
	var storer sync.WaitGroup
	storer.Go(func() {
		for list := range w.pages {
			if failed == nil {
				failed = r.store(ctx, o, opEnded, list)
			}
			o.running.Add(-int64(len(list)))
			w.under.Done()
		}
	})
	err := w.run(ctx)
	close(w.pages)
	storer.Wait()
	return errors.Join(err, failed)
}

// changeRound is the work on a job that changes twins.
type changeRound struct {
	room  *Room
	open  *open
	pages chan []record  // with their outcome, to be stored
	under sync.WaitGroup // pages that are not stored yet
}

func (w *changeRound) run(ctx context.Context) error {
	var after iot.ID
	left := false // some are to be tried again
	for {
		list, err := w.room.unfinished(ctx, w.open.job.seq, after, changePage)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !transient(err):
			return err
		case err != nil:
			if err := rest(ctx, again); err != nil {
				return err
			}
			continue
		case len(list) == 0 && !left:
			return nil
		case len(list) == 0:
			w.under.Wait() // else they would be read as unfinished
			if err := rest(ctx, again); err != nil {
				return err
			}
			after, left = iot.ID{}, false
			continue
		}
		after = list[len(list)-1].ID
		done, err := w.room.changeSome(ctx, w.open, list)
		if len(done) > 0 {
			w.open.running.Add(int64(len(done)))
			w.under.Add(1)
			w.pages <- done
		}
		if err != nil {
			return err
		}
		left = left || len(done) < len(list)
	}
}

// changeSome changes a page of twins, and gives those with an outcome.
func (r *Room) changeSome(ctx context.Context, o *open, list []record) ([]record, error) {
	select {
	case r.changing <- struct{}{}:
		defer func() { <-r.changing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	start := time.Now().UnixNano()
	errs := make([]error, len(list))
	var wait sync.WaitGroup
	for i := range list {
		wait.Go(func() {
			// Not ctx: a change that is under way has an outcome soon.
			errs[i] = r.deps.Change(context.WithoutCancel(ctx), list[i].Target, o.plan.change)
		})
	}
	wait.Wait()
	now := time.Now().UnixNano()
	done := list[:0]
	for i, err := range errs {
		if transient(err) {
			continue
		}
		d := list[i]
		d.started, d.ended = start, now
		d.outcome(err)
		if d.code == int64(iot.ServerError) {
			r.logger.Error("twin not changed by a job", slog.String("job", o.job.ID), slog.String("device", d.ID.Device), slog.Any("error", err))
		}
		done = append(done, d)
	}
	return done, nil
}

// outcome puts what came of a device into its record.
func (d *record) outcome(err error) {
	if err == nil {
		d.status = deviceCompleted
		return
	}
	d.status, d.code, d.text = deviceFailed, int64(iot.CodeOf(err)), "The server could not do this, its log has the reason."
	if domain, ok := errors.AsType[*iot.Error](err); ok {
		d.text = domain.Message
	}
}
