package twin

import (
	"context"
	"strings"

	"dunlin/internal/engine/state"
)

// Reported properties change much more often than anything else, so they are
// written for many twins with one statement: most of what a row costs is the
// statement around it. Each row must still be the one that was read.

// For SQLite the rows are values of the statement, the first of which carry the
// types. OR FAIL spares it the journal that it keeps to undo a single
// statement: when this one fails the whole write is rolled back.
const (
	reportHead = `UPDATE OR FAIL twin SET version = v.column5, reported_version = v.column6, reported = v.column7, reported_meta = v.column8, sum = v.column9
FROM (VALUES (CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT), CAST(? AS BLOB), CAST(? AS BIGINT))`
	reportRow     = ",(?,?,?,?,?,?,?,?,?)"
	reportTail    = ") AS v WHERE twin.device = v.column1 AND twin.module = v.column2 AND twin.generation = v.column3 AND twin.version = v.column4"
	reportColumns = 9
)

// reportSizes are the numbers of rows for which there is a statement.
var reportSizes = [...]int{64, 8, 1}

var reportTexts = func() (s [len(reportSizes)]string) {
	for i, n := range reportSizes {
		s[i] = reportHead + strings.Repeat(reportRow, n-1) + reportTail
	}
	return s
}()

// fitting is the index of the largest statement for up to n rows.
func fitting(n int) int {
	for i, size := range reportSizes {
		if size <= n {
			return i
		}
	}
	return len(reportSizes) - 1
}

func reportValues(ctx context.Context, tx state.Tx, rows []row, reports int) error {
	args := make([]any, 0, min(reports, reportSizes[0])*reportColumns)
	size := fitting(reports)
	for i := range rows {
		w := &rows[i]
		if !w.reported() {
			continue
		}
		args = append(args, w.key.ID.Device, w.key.ID.Module, int64(w.rec.generation), w.old.version, w.rec.version, w.rec.reportedVersion,
			w.rec.reported.text, []byte(w.rec.reported.meta), w.sum)
		if len(args) < reportSizes[size]*reportColumns {
			continue
		}
		n, err := tx.Exec(ctx, reportTexts[size], args...)
		if err != nil {
			return err
		}
		if int(n) != reportSizes[size] {
			return errStale
		}
		reports -= reportSizes[size]
		args, size = args[:0], fitting(reports)
	}
	return nil
}

// PostgreSQL takes columns as arrays, which cost it less than thousands of
// placeholders.
const reportUnnest = `UPDATE twin SET version = v.version, reported_version = v.reported_version, reported = CAST(v.reported AS JSON), reported_meta = v.reported_meta, sum = v.sum
FROM unnest(CAST(? AS TEXT[]), CAST(? AS TEXT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS BIGINT[]), CAST(? AS TEXT[]), CAST(? AS BYTEA[]), CAST(? AS BIGINT[]))
AS v(device, module, generation, old, version, reported_version, reported, reported_meta, sum)
WHERE twin.device = v.device AND twin.module = v.module AND twin.generation = v.generation AND twin.version = v.old`

func reportArrays(ctx context.Context, tx state.Tx, rows []row, reports int) error {
	numbers := make([]int64, 5*reports)
	column := func(i int) []int64 { return numbers[i*reports : i*reports : (i+1)*reports] }
	generation, old, version, reportedVersion, sum := column(0), column(1), column(2), column(3), column(4)
	device, module, reported := make([]string, 0, reports), make([]string, 0, reports), make([]string, 0, reports)
	meta := make([][]byte, 0, reports)
	for i := range rows {
		w := &rows[i]
		if !w.reported() {
			continue
		}
		device, module = append(device, w.key.ID.Device), append(module, w.key.ID.Module)
		generation, old = append(generation, int64(w.rec.generation)), append(old, w.old.version)
		version, reportedVersion = append(version, w.rec.version), append(reportedVersion, w.rec.reportedVersion)
		reported, meta = append(reported, w.rec.reported.text), append(meta, []byte(w.rec.reported.meta))
		sum = append(sum, w.sum)
	}
	n, err := tx.Exec(ctx, reportUnnest, device, module, generation, old, version, reportedVersion, reported, meta, sum)
	if err == nil && int(n) != reports {
		err = errStale
	}
	return err
}
