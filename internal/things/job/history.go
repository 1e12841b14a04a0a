package job

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"time"

	"dunlin/internal/engine/state"
)

// forgetEvery is how often jobs are looked for that ended too long ago.
const forgetEvery = time.Hour

// forgetPage is the number of records that are deleted at a time.
const forgetPage = 5000

// keepHistory removes jobs that ended too long ago, with their records.
func (r *Room) keepHistory(ctx context.Context) {
	t := time.NewTicker(forgetEvery)
	defer t.Stop()
	for {
		if err := r.forget(ctx, time.Now().Add(-History)); err != nil && ctx.Err() == nil {
			r.logger.Error("old jobs not removed, will be tried again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// forget removes the jobs that ended before a time. The records go first, a
// page at a time, so that other writes come in between; the job goes last.
func (r *Room) forget(ctx context.Context, before time.Time) error {
	for {
		more := false
		err := r.db.Write(ctx, func(tx state.Tx) error {
			more = false
			var seq int64
			err := tx.QueryRow(ctx, "SELECT seq FROM job WHERE settled = 1 AND ended_at < ? ORDER BY seq LIMIT 1", before.UnixNano()).Scan(&seq)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			if err != nil {
				return err
			}
			more = true
			var device string
			err = tx.QueryRow(ctx, "SELECT device FROM job_device WHERE job = ? ORDER BY device, module LIMIT 1 OFFSET ?", seq, forgetPage).Scan(&device)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				if _, err := tx.Exec(ctx, "DELETE FROM job_device WHERE job = ?", seq); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, "DELETE FROM job_line WHERE job = ?", seq); err != nil {
					return err
				}
				_, err = tx.Exec(ctx, "DELETE FROM job WHERE seq = ?", seq)
				return err
			case err != nil:
				return err
			}
			_, err = tx.Exec(ctx, "DELETE FROM job_device WHERE job = ? AND device <= ?", seq, device)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}
