package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/engine/state"
)

// lookEvery is how often a node asks whether it is to run the jobs and, where
// there may be other nodes, for jobs that those were given or told to cancel.
const lookEvery = time.Second

// Run works on jobs until ctx ends. What is under way then is left where it
// is, and continued by the next Run, here or on another node.
func (r *Room) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { r.keepHistory(ctx) })
	defer r.resign(ctx)
	failing := false
	for {
		mine, err := r.seat.Hold(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, state.ErrClosed):
			return nil
		case err != nil && !failing:
			r.logger.Warn("not known whether this node is to run the jobs, will be asked again", slog.Any("error", err))
		case mine:
			if err := r.lead(ctx); err != nil {
				return err
			}
		}
		failing = err != nil
		if rest(ctx, lookEvery) != nil {
			return nil
		}
	}
}

func (r *Room) resign(ctx context.Context) {
	if err := r.seat.Release(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, state.ErrClosed) {
		r.logger.Warn("lease not given back, other nodes wait for its end", slog.Any("error", err))
	}
}

// lead runs the jobs until life ends or another node is to do it.
func (r *Room) lead(life context.Context) error {
	ctx, cancel := context.WithCancel(life)
	var wait sync.WaitGroup
	defer r.follow()
	defer wait.Wait()
	defer cancel()
	r.mu.Lock()
	r.leading = true // from before the store is read: none is missed
	r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		if ctx.Err() != nil || errors.Is(err, state.ErrClosed) {
			return nil // the instance ends
		}
		return fmt.Errorf("job: read the jobs that have not ended: %w", err)
	}
	var look <-chan time.Time
	if r.seat.Shared() {
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		look = t.C
	}
	for {
		r.mu.Lock()
		fresh := r.fresh
		r.fresh = nil
		r.mu.Unlock()
		for _, o := range fresh {
			wait.Go(func() { r.drive(ctx, o) })
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
			continue
		case <-look:
		}
		switch mine, err := r.seat.Hold(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil || !mine:
			r.logger.Warn("another node may run the jobs from now on, this one stops", slog.Any("error", err))
			return nil
		}
		if err := r.look(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, state.ErrClosed) {
			r.logger.Warn("jobs of other nodes not looked for, will be tried again", slog.Any("error", err))
		}
	}
}

// follow forgets the jobs that another node is to run.
func (r *Room) follow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seat.Shared() {
		r.leading = false
	}
	clear(r.open)
	r.fresh = nil
}

// load takes up the jobs that an earlier run has left.
func (r *Room) load(ctx context.Context) error {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := r.take(ctx)
		if !transient(err) {
			return err
		}
		r.logger.Warn("jobs not read, will be tried again", slog.Any("error", err))
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}

// take takes up the jobs of the store that are not known yet.
func (r *Room) take(ctx context.Context) error {
	defer r.watch()()
	jobs, err := r.unsettled(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range jobs {
		o := &open{job: jobs[i], resumed: true}
		if r.known(o.job.ID) {
			continue
		}
		r.open[o.job.ID] = o
		r.fresh = append(r.fresh, o)
	}
	return nil
}

// watch notes which jobs end until the function it gives is called: what was
// read of them meanwhile is old. Only the goroutine of lead calls it.
func (r *Room) watch() (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = map[string]struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gone = nil
	}
}

// known reports whether a job is run, or has ended since watch; under mu.
func (r *Room) known(id string) bool {
	_, ended := r.gone[id]
	return ended || r.open[id] != nil
}

// ended forgets a job that has come to its end.
func (r *Room) ended(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, id)
	if r.gone != nil {
		r.gone[id] = struct{}{}
	}
}

// look finds what other nodes were told: jobs to run and jobs to cancel.
func (r *Room) look(ctx context.Context) error {
	type line struct {
		id     string
		status Status
	}
	defer r.watch()()
	var lines []line
	err := r.db.Read(ctx, func(tx state.Tx) error {
		lines = lines[:0]
		rows, err := tx.Query(ctx, "SELECT id, status FROM job WHERE settled = 0")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var l line
			if err := rows.Scan(&l.id, &l.status); err != nil {
				return err
			}
			lines = append(lines, l)
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	unknown := false
	r.mu.Lock()
	for _, l := range lines {
		unknown = unknown || !r.known(l.id)
		if o := r.open[l.id]; o != nil && l.status == Cancelled {
			o.stop(errCancelled)
		}
	}
	r.mu.Unlock()
	if !unknown {
		return nil
	}
	return r.take(ctx)
}

// launch hands a job that was just stored to Run. Where another node runs the
// jobs, that one finds it.
func (r *Room) launch(j Job) {
	r.mu.Lock()
	if r.leading && r.open[j.ID] == nil {
		o := &open{job: j}
		r.open[j.ID] = o
		r.fresh = append(r.fresh, o)
	}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
