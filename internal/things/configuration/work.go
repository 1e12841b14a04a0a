package configuration

import (
	"context"
	"slices"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// worker brings twins in line: first those that something happened to, then,
// a page at a time, all that a changed configuration is or was for.
type worker struct {
	room    *Room
	saved   time.Time
	places  []int64 // as they are stored
	retried time.Time
	retry   string // the last device that was tried again

	pending []string // changed devices that are being worked on
	reached []int64  // places in the log once they are done

	sweep sweep
	later map[int64]time.Time // when to look again at what is deleted but not gone
}

// step does one piece of work; did is false when there is none.
func (w *worker) step(ctx context.Context) (did bool, err error) {
	r := w.room
	s := r.set.Load()
	if len(w.pending) == 0 && w.reached == nil {
		var full bool
		if w.pending, full, w.reached = r.changes.take(); full {
			if err := r.save(ctx, nil, true); err != nil {
				r.changes.lose()
				return false, err
			}
			w.sweep = sweep{}
		}
	}
	if n := min(len(w.pending), 4*batchSize); n > 0 {
		if err := r.reconcile(ctx, s, w.pending[:n]); err != nil {
			return false, err
		}
		w.pending, did = w.pending[n:], true
	}
	if len(w.pending) > 0 {
		return true, nil
	}
	if did || time.Since(w.saved) >= saveEvery {
		if err := w.save(ctx); err != nil {
			return false, err
		}
	}
	w.reached = nil
	if swept, err := w.sweepOn(ctx, s); did || swept || err != nil {
		return true, err
	}
	if time.Since(w.retried) >= retryEvery {
		w.retried = time.Now()
		return false, w.tryAgain(ctx, s)
	}
	return false, nil
}

func (w *worker) save(ctx context.Context) error {
	w.saved = time.Now()
	if slices.Equal(w.places, w.reached) {
		return nil
	}
	if err := w.room.save(ctx, w.reached, false); err != nil {
		return err
	}
	w.places = w.reached
	return nil
}

// sweep is the way through all devices that a configuration is or was for, or
// with number 0 through all devices that there are or were.
type sweep struct {
	on     bool
	number int64
	aim    int64
	noted  bool // those that it was for come second
	after  iot.ID
}

// sweepOn does a page of a sweep.
func (w *worker) sweepOn(ctx context.Context, s *set) (bool, error) {
	v := &w.sweep
	if v.on && v.number != 0 {
		if a := s.byNumber[v.number]; a == nil || a.aim != v.aim {
			v.on = false // it has changed again
		}
	}
	if !v.on {
		var err error
		if *v, err = w.next(ctx, s); err != nil || !v.on {
			return false, err
		}
	}
	r := w.room
	var devices []string
	var more bool
	var next iot.ID
	var err error
	if v.noted {
		if devices, err = r.noted(ctx, v.number, v.after.Device); err != nil {
			return false, err
		}
		if more = len(devices) == sweepPage; more {
			next.Device = devices[len(devices)-1]
		}
	} else {
		aim, none := &twinql.Target{}, false
		if a := s.byNumber[v.number]; a != nil {
			aim, none = &a.Target, a.none || a.deleted || a.broken
		}
		if !none {
			var ids []iot.ID
			if ids, next, more, err = r.twins.Select(ctx, aim, v.after, sweepPage); err != nil {
				return false, err
			}
			for _, id := range ids {
				devices = append(devices, id.Device)
			}
			devices = slices.Compact(devices)
		}
	}
	if err := r.reconcile(ctx, s, devices); err != nil {
		return false, err
	}
	switch {
	case more:
		v.after = next
	case !v.noted:
		v.noted, v.after = true, iot.ID{}
	default:
		err = w.swept(ctx)
		v.on = false
	}
	return true, err
}

const sweepPage = 2 * batchSize

// next finds what is to be swept.
func (w *worker) next(ctx context.Context, s *set) (sweep, error) {
	var full int
	err := w.room.db.Read(ctx, func(tx state.Tx) error {
		return tx.QueryRow(ctx, "SELECT count(*) FROM configuration_place WHERE part = ?", everything).Scan(&full)
	})
	if err != nil {
		return sweep{}, stored(err, "read what is to be evaluated")
	}
	if full > 0 {
		return sweep{on: true}, nil
	}
	for _, a := range s.all {
		if a.done < a.aim || (a.deleted && !time.Now().Before(w.later[a.number])) {
			return sweep{on: true, number: a.number, aim: a.aim}, nil
		}
	}
	return sweep{}, nil
}

// swept notes that a sweep is done. A configuration that was deleted goes when
// no twin has it any more.
func (w *worker) swept(ctx context.Context) error {
	r, v := w.room, &w.sweep
	err := r.db.Write(ctx, func(tx state.Tx) error {
		if v.number == 0 {
			_, err := tx.Exec(ctx, "DELETE FROM configuration_place WHERE part = ?", everything)
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE configuration SET done = ? WHERE number = ? AND done < ?", v.aim, v.number, v.aim); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM configuration WHERE number = ? AND deleted = 1 AND NOT EXISTS (SELECT 1 FROM configuration_target t WHERE t.configuration = configuration.number)", v.number)
		return err
	})
	if err != nil {
		return stored(err, "note that a configuration is applied")
	}
	if w.later == nil {
		w.later = map[int64]time.Time{}
	}
	w.later[v.number] = time.Now().Add(retryEvery)
	if v.number == 0 {
		return nil
	}
	r.results.forget(v.number)
	return r.reload(ctx)
}

// noted gives devices that a configuration is or was for, in the order of
// their ids; number 0 is any configuration.
func (r *Room) noted(ctx context.Context, number int64, after string) ([]string, error) {
	query, args := "SELECT DISTINCT device FROM configuration_target WHERE configuration = ? AND device > ? ORDER BY device LIMIT ?", []any{number, after, sweepPage}
	if number == 0 {
		query, args = "SELECT DISTINCT device FROM configuration_target WHERE device > ? ORDER BY device LIMIT ?", args[1:]
	}
	return r.devices(ctx, query, args...)
}

func (r *Room) devices(ctx context.Context, query string, args ...any) (list []string, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			list = append(list, id)
		}
		return rows.Err()
	})
	return list, stored(err, "read what configurations are for")
}

// tryAgain tries what twins refused, some of it each time.
func (w *worker) tryAgain(ctx context.Context, s *set) error {
	list, err := w.room.devices(ctx, "SELECT DISTINCT device FROM configuration_target WHERE status = 2 AND device > ? ORDER BY device LIMIT ?", w.retry, sweepPage)
	if err != nil {
		return err
	}
	w.retry = ""
	if len(list) == sweepPage {
		w.retry = list[len(list)-1]
	}
	return w.room.reconcile(ctx, s, list)
}
