package twin

import (
	"context"
	"database/sql"
	"errors"

	"dunlin/internal/engine/state"
)

const columns = "generation, version, etag, model, desired_version, reported_version, tags, desired, reported, desired_meta, reported_meta, sum"

const selectRow = "SELECT " + columns + " FROM twin WHERE device = ? AND module = ?"

// putRow writes a whole row; it changes none when the row is not the one that
// was read: of the generation and version given last.
const putRow = "INSERT INTO twin (device, module, " + columns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (device, module) DO UPDATE SET generation = excluded.generation, version = excluded.version, etag = excluded.etag, model = excluded.model,
desired_version = excluded.desired_version, reported_version = excluded.reported_version, tags = excluded.tags, desired = excluded.desired,
reported = excluded.reported, desired_meta = excluded.desired_meta, reported_meta = excluded.reported_meta, sum = excluded.sum
WHERE twin.generation = ? AND twin.version = ?`

const dropRow = "DELETE FROM twin WHERE device = ? AND module = ? AND generation <= ?"

// errStale reports that a row is not the one that was read: another node has
// changed it meanwhile.
var errStale = errors.New("twin: the row was changed by another node")

type scanner1 interface{ Scan(dest ...any) error }

// scanRow reads a row; ok is false when there is none.
func scanRow(db state.DB, row scanner1, k Key) (rec *record, ok bool, err error) {
	var (
		r                           record
		generation, sum             int64
		desiredMeta, reportedMeta   []byte
		tags, desired, reportedText []byte
	)
	err = row.Scan(&generation, &r.version, &r.etag, &r.model, &r.desiredVersion, &r.reportedVersion,
		&tags, &desired, &reportedText, &desiredMeta, &reportedMeta, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	r.generation = uint64(generation)
	r.tags.text = string(tags)
	r.desired = section{string(desired), string(desiredMeta)}
	r.reported = section{string(reportedText), string(reportedMeta)}
	if have, _ := r.sum(k, nil); have != sum {
		return nil, false, state.DamagedRow(db, "the twin of "+k.ID.String())
	}
	return &r, true, nil
}

// row is one row to be written.
type row struct {
	key  Key
	old  *record // as it was read; nil when there was none
	rec  *record // nil: the row is to go
	gone uint64  // not 0: what is there of up to this generation is to go
	only bool    // only reported properties have changed
	sum  int64
}

// reported says that the row is written by the statements for reports.
func (w *row) reported() bool { return w.rec != nil && w.only }

// put writes the rows of a batch, and the events behind them.
func (w *worker) put(ctx context.Context, tx state.Tx) error {
	if err := w.putRows(ctx, tx); err != nil {
		return err
	}
	return w.room.outbox.Put(ctx, tx, &w.events.batch)
}

func (w *worker) putRows(ctx context.Context, tx state.Tx) error {
	reports := 0
	for i := range w.rows {
		if w.rows[i].reported() {
			reports++
			continue
		}
		if err := putOne(ctx, tx, &w.rows[i]); err != nil {
			return err
		}
	}
	switch {
	case reports == 0:
		return nil
	case w.room.db.Dialect() == state.PostgreSQL:
		return reportArrays(ctx, tx, w.rows, reports)
	}
	return reportValues(ctx, tx, w.rows, reports)
}

func putOne(ctx context.Context, tx state.Tx, w *row) error {
	if w.gone > 0 {
		if _, err := tx.Exec(ctx, dropRow, w.key.ID.Device, w.key.ID.Module, int64(w.gone)); err != nil {
			return err
		}
	}
	if w.rec == nil {
		return nil
	}
	generation, version := int64(-1), int64(-1)
	if w.old != nil {
		generation, version = int64(w.old.generation), w.old.version
	}
	r := w.rec
	n, err := tx.Exec(ctx, putRow, w.key.ID.Device, w.key.ID.Module, int64(r.generation), r.version, r.etag, r.model, r.desiredVersion, r.reportedVersion,
		r.tags.text, r.desired.text, r.reported.text, []byte(r.desired.meta), []byte(r.reported.meta), w.sum, generation, version)
	if err == nil && n != 1 {
		err = errStale
	}
	return err
}
