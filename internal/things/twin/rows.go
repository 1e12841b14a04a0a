package twin

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

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

// Reported properties change much more often than anything else, so they are
// written for many twins with one statement: most of what a row costs is the
// statement around it. The first row of values carries the types.
const (
	reportHead = ` twin SET version = v.column5, reported_version = v.column6, reported = v.column7, reported_meta = v.column8, sum = v.column9
FROM (VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), `
	reportSQLite   = "CAST(? AS TEXT), CAST(? AS BLOB), CAST(? AS BIGINT))"
	reportPostgres = "CAST(? AS JSON), CAST(? AS BYTEA), CAST(? AS BIGINT))"
	reportRow      = ",(?,?,?,?,?,?,?,?,?)"
	reportTail     = ") AS v WHERE twin.device = v.column1 AND twin.module = v.column2 AND twin.generation = v.column3 AND twin.version = v.column4"
	reportColumns  = 9
)

// reportSizes are the numbers of rows for which there is a statement.
var reportSizes = [...]int{64, 8, 1}

type statements struct{ report [len(reportSizes)]string }

func newStatements(d state.Dialect) (s statements) {
	// OR FAIL spares SQLite the journal that it keeps to undo a single
	// statement: when this one fails the whole write is rolled back.
	update, types := "UPDATE OR FAIL", reportSQLite
	if d == state.PostgreSQL {
		update, types = "UPDATE", reportPostgres
	}
	for i, n := range reportSizes {
		s.report[i] = update + reportHead + types + strings.Repeat(reportRow, n-1) + reportTail
	}
	return s
}

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
	gone uint64  // with a nil rec: up to this generation
	only bool    // only reported properties have changed
	sum  int64
}

// write stores rows in one transaction, or none of them.
func (r *Room) write(ctx context.Context, rows []row) error {
	// Neighbours share pages, and a write costs by the page.
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.key.ID.Device, b.key.ID.Device) })
	return r.db.Write(ctx, func(tx state.Tx) error {
		// Events of these changes belong here, into the same transaction.
		args := make([]any, 0, min(len(rows), reportSizes[0])*reportColumns)
		rest := 0
		for i := range rows {
			if rows[i].rec != nil && rows[i].only {
				rest++
			}
		}
		size := r.fitting(rest)
		for i := range rows {
			w := &rows[i]
			if w.rec == nil || !w.only {
				if err := putOne(ctx, tx, w); err != nil {
					return err
				}
				continue
			}
			args = append(args, w.key.ID.Device, w.key.ID.Module, int64(w.rec.generation), w.old.version, w.rec.version, w.rec.reportedVersion,
				w.rec.reported.text, []byte(w.rec.reported.meta), w.sum)
			if len(args) < reportSizes[size]*reportColumns {
				continue
			}
			n, err := tx.Exec(ctx, r.statements.report[size], args...)
			if err != nil {
				return err
			}
			if int(n) != reportSizes[size] {
				return errStale
			}
			rest -= reportSizes[size]
			args, size = args[:0], r.fitting(rest)
		}
		return nil
	})
}

// fitting is the index of the largest statement for up to n rows.
func (r *Room) fitting(n int) int {
	for i, size := range reportSizes {
		if size <= n {
			return i
		}
	}
	return len(reportSizes) - 1
}

func putOne(ctx context.Context, tx state.Tx, w *row) error {
	if w.rec == nil {
		_, err := tx.Exec(ctx, dropRow, w.key.ID.Device, w.key.ID.Module, int64(w.gone))
		return err
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
