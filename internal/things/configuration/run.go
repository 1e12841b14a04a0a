package configuration

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/engine/state"
)

const (
	// saveEvery is how often the place in the log is stored when nothing that
	// counts has happened; after a restart that much is read again.
	saveEvery = 5 * time.Second
	// retryEvery is how often changes that twins refused are tried again.
	retryEvery = time.Minute
	// failedWait is how long the worker waits after an error of the store.
	failedWait = time.Second
	// pollEvery is how often configurations of other nodes are looked for.
	pollEvery = time.Second
)

// Run brings twins in line until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() { r.results.run(ctx, r) })
	if r.seat.Shared() {
		wait.Go(func() { r.poll(ctx) })
	}
	defer func() {
		if err := r.seat.Release(context.WithoutCancel(ctx)); err != nil && !errors.Is(err, state.ErrClosed) {
			r.logger.Warn("lease not given back, other nodes wait for its end", slog.Any("error", err))
		}
	}()
	for ctx.Err() == nil {
		mine, err := r.seat.Hold(ctx)
		if err == nil && mine && r.busy() {
			err = r.serve(ctx)
		}
		if err != nil {
			r.failed(ctx, err)
		}
		r.idle(ctx, pollEvery)
	}
	return nil
}

func (r *Room) failed(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, state.ErrClosed) {
		r.logger.Error("configurations are not applied at the moment, trying again", slog.Any("error", err))
	}
}

// busy reports whether there is anything to follow events for.
func (r *Room) busy() bool { return len(r.set.Load().all) > 0 }

// idle waits for something to do.
func (r *Room) idle(ctx context.Context, most time.Duration) {
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-t.C:
	}
}

// poll notices configurations that other nodes have changed.
func (r *Room) poll(ctx context.Context) {
	for ctx.Err() == nil {
		wait(ctx, pollEvery)
		var stamp string
		err := r.db.Read(ctx, func(tx state.Tx) (err error) {
			stamp, err = stampOf(ctx, tx)
			return err
		})
		if err == nil && stamp != r.set.Load().stamp {
			err = r.reload(ctx)
		}
		if err != nil {
			r.failed(ctx, err)
		}
	}
}

// serve follows events and brings twins in line while there are
// configurations and this node holds the lease.
func (r *Room) serve(ctx context.Context) error {
	places, err := r.start(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var readers sync.WaitGroup
	defer func() {
		cancel()
		r.changes.end()
		readers.Wait()
	}()
	r.changes.begin(places)
	for part := range places {
		readers.Go(func() { r.follow(ctx, part) })
	}
	w := worker{room: r, saved: time.Now(), retried: time.Now()}
	for ctx.Err() == nil && r.busy() {
		if mine, err := r.seat.Hold(ctx); err != nil || !mine {
			return err
		}
		did, err := w.step(ctx)
		switch {
		case err != nil:
			r.failed(ctx, err)
			wait(ctx, failedWait)
		case !did:
			r.idle(ctx, pollEvery)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return r.stop(ctx)
}

// everything is the partition of the row that asks for an evaluation of all
// devices.
const everything = -1

// start finds the places in the log from which to read, and makes sure that
// whatever happened before them gets known.
func (r *Room) start(ctx context.Context) ([]int64, error) {
	saved, err := r.places(ctx)
	if err != nil {
		return nil, err
	}
	_, full := saved[everything]
	places := make([]int64, r.log.Partitions())
	for part := range places {
		info, err := r.log.Info(ctx, part)
		if err != nil {
			return nil, err
		}
		place, ok := saved[part]
		switch {
		case !ok:
			// Nothing was read before: what was evaluated then may be old.
			place, full = info.Next, full || r.evaluated()
		case place > info.Next:
			place, full = info.Next, true // it is another log
		}
		places[part] = place
	}
	return places, r.save(ctx, places, full)
}

// evaluated reports whether some configuration was brought to all twins once.
func (r *Room) evaluated() bool {
	for _, a := range r.set.Load().all {
		if a.done > 0 {
			return true
		}
	}
	return false
}

func (r *Room) places(ctx context.Context) (map[int]int64, error) {
	var out map[int]int64
	err := r.db.Read(ctx, func(tx state.Tx) error {
		out = map[int]int64{}
		rows, err := tx.Query(ctx, "SELECT part, sequence FROM configuration_place")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var part int
			var sequence int64
			if err := rows.Scan(&part, &sequence); err != nil {
				return err
			}
			out[part] = sequence
		}
		return rows.Err()
	})
	return out, stored(err, "read the places in the event log")
}

const putPlace = "INSERT INTO configuration_place (part, sequence) VALUES (?, ?) ON CONFLICT (part) DO UPDATE SET sequence = excluded.sequence"

// save stores the places in the log, and with full that everything is to be
// evaluated.
func (r *Room) save(ctx context.Context, places []int64, full bool) error {
	err := r.db.Write(ctx, func(tx state.Tx) error {
		for part, place := range places {
			if _, err := tx.Exec(ctx, putPlace, part, place); err != nil {
				return err
			}
		}
		if !full {
			return nil
		}
		_, err := tx.Exec(ctx, putPlace, everything, 0)
		return err
	})
	return stored(err, "store the places in the event log")
}

// stop forgets the places: without configurations events count for nothing.
func (r *Room) stop(ctx context.Context) error {
	err := r.db.Write(ctx, func(tx state.Tx) error {
		var n int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM configuration").Scan(&n); err != nil || n > 0 {
			return err // there is one again
		}
		_, err := tx.Exec(ctx, "DELETE FROM configuration_place")
		return err
	})
	return stored(err, "forget the places in the event log")
}
