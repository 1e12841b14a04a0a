package job

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Job is a job as it is stored.
type Job struct {
	ID        string
	Kind      Kind
	Status    Status
	Condition string
	Content   []byte // JSON: updateTwin, cloudToDeviceMethod, or a TransferSpec
	Created   time.Time
	Start     time.Time // when it is to start
	Begun     time.Time // when it did; zero is not yet
	Ended     time.Time // zero is not yet
	MaxTime   time.Duration
	Failure   string // why it has failed
	Message   string // what else is to be said

	// Of a scheduled job numbers of devices, of an import of lines, of an
	// export of identities.
	Total, Succeeded, FailedCount, Canceled int64
	Running                                 int64 // at the moment, in this process
	Progress                                int   // of a transfer, 0 to 100

	seq      int64
	selected bool
	settled  bool
	place    iot.ID
	done     int64 // bytes of an import that are done
	size     int64 // bytes of an import
}

const columns = `seq, id, kind, status, settled, condition, content, created_at, start_at, run_at, ended_at, max_seconds, failure, message,
selected, place_device, place_module, total, succeeded, failed, canceled, place, size`

type scanner interface{ Scan(dest ...any) error }

func scan(row scanner, j *Job) error {
	var created, start, run, ended, seconds int64
	var settled, selected int64
	err := row.Scan(&j.seq, &j.ID, &j.Kind, &j.Status, &settled, &j.Condition, &j.Content, &created, &start, &run, &ended, &seconds,
		&j.Failure, &j.Message, &selected, &j.place.Device, &j.place.Module, &j.Total, &j.Succeeded, &j.FailedCount, &j.Canceled, &j.done, &j.size)
	j.settled, j.selected = settled == 1, selected == 1
	j.Created, j.Start, j.Begun, j.Ended = moment(created), moment(start), moment(run), moment(ended)
	j.MaxTime = time.Duration(seconds) * time.Second
	if j.size > 0 {
		j.Progress = int(100 * j.done / j.size)
	}
	if j.Status == Completed {
		j.Progress = 100
	}
	return err
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// insert stores a new job and gives it its number.
func insert(ctx context.Context, tx state.Tx, j *Job) error {
	if err := tx.QueryRow(ctx, "SELECT COALESCE(max(seq), 0) + 1 FROM job").Scan(&j.seq); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, "INSERT INTO job ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
		j.seq, j.ID, int64(j.Kind), int64(j.Status), flag(j.settled), j.Condition, string(j.Content), nanos(j.Created), nanos(j.Start), nanos(j.Begun), nanos(j.Ended),
		int64(j.MaxTime/time.Second), j.Failure, j.Message, flag(j.selected), j.place.Device, j.place.Module,
		j.Total, j.Succeeded, j.FailedCount, j.Canceled, j.done, j.size)
	if err == nil && n != 1 {
		return iot.Errorf(iot.JobAlreadyExists, "A job with ID '%s' already exists: choose another id; jobs are kept for %d days after their end.", j.ID, int(History/(24*time.Hour)))
	}
	return err
}

func errNoJob(id string) error {
	return iot.Errorf(iot.JobNotFound, "The requested job %.80s was not found.", strings.ToValidUTF8(id, "?"))
}

func getJob(ctx context.Context, tx state.Tx, id string) (j Job, err error) {
	err = scan(tx.QueryRow(ctx, "SELECT "+columns+" FROM job WHERE id = ?", id), &j)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoJob(id)
	}
	return j, err
}

func (r *Room) get(ctx context.Context, id string) (j Job, err error) {
	if checkID(id) != nil {
		return j, errNoJob(id)
	}
	err = r.db.Read(ctx, func(tx state.Tx) error {
		var err error
		j, err = getJob(ctx, tx, id)
		return err
	})
	return j, stored(err, "read a job")
}

// unsettled reads the jobs that have not come to an end.
func (r *Room) unsettled(ctx context.Context) (list []Job, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = nil
		rows, err := tx.Query(ctx, "SELECT "+columns+" FROM job WHERE settled = 0 ORDER BY seq")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var j Job
			if err := scan(rows, &j); err != nil {
				return err
			}
			list = append(list, j)
		}
		return rows.Err()
	})
	return list, err
}

// write repeats a write that the store cannot do at the moment until it has
// done it; when ctx has ended, it tries once. Changes of jobs must not get
// lost while there is a process to make them. What a node wants to write that
// does not run the jobs any more is refused: another one goes on from before.
func (r *Room) write(ctx context.Context, doing string, fn func(ctx context.Context, tx state.Tx) error) error {
	lasting := context.WithoutCancel(ctx)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 15*time.Second) {
		err := r.db.Write(lasting, func(tx state.Tx) error {
			if err := r.seat.Guard(lasting, tx); err != nil {
				return err
			}
			return fn(lasting, tx)
		})
		if err == nil || !transient(err) {
			return stored(err, doing)
		}
		if pause <= 100*time.Millisecond {
			r.logger.Warn("jobs wait for the store", slog.String("doing", doing), slog.Any("error", err))
		}
		if rest(ctx, pause) != nil {
			return stored(err, doing)
		}
	}
}

// chunks are the numbers of rows that go with one statement: most of what a
// row costs is the statement around it, and each size is a statement to keep.
var chunks = [...]int{100, 10, 1}

// statement is one that takes several rows; texts by the index of chunks.
type statement struct {
	width int // values of a row
	texts [len(chunks)]string
}

func newStatement(head, row, tail string) *statement {
	s := &statement{width: strings.Count(row, "?")}
	for i, n := range chunks {
		s.texts[i] = head + row + strings.Repeat(", "+row, n-1) + tail
	}
	return s
}

// exec runs the statement for all rows in args.
func (s *statement) exec(ctx context.Context, tx state.Tx, args []any) error {
	for i, n := range chunks {
		for k := n * s.width; len(args) >= k; args = args[k:] {
			if _, err := tx.Exec(ctx, s.texts[i], args[:k]...); err != nil {
				return err
			}
		}
	}
	return nil
}

// putDevices writes the records of devices; those that have ended stay.
var putDevices = newStatement(
	"INSERT INTO job_device (job, device, module, generation, status, created_at, started_at, ended_at, code, text) VALUES ",
	"(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	` ON CONFLICT (job, device, module) DO UPDATE SET status = excluded.status, started_at = excluded.started_at, ended_at = excluded.ended_at,
code = excluded.code, text = excluded.text WHERE job_device.status < 2`)

// record is what a job has of one device.
type record struct {
	Target
	status  deviceStatus
	created int64 // Unix nanoseconds; 0 is never, likewise the next two
	started int64
	ended   int64
	code    int64
	text    string
}

func (d *record) values(dst []any, seq int64) []any {
	return append(dst, seq, d.ID.Device, d.ID.Module, int64(d.Generation), int64(d.status), d.created, d.started, d.ended, d.code, d.text)
}

const recordColumns = "device, module, generation, status, created_at, started_at, ended_at, code, text"

func (d *record) scan(row scanner, before ...any) error {
	var generation int64
	err := row.Scan(append(before, &d.ID.Device, &d.ID.Module, &generation, &d.status, &d.created, &d.started, &d.ended, &d.code, &d.text)...)
	d.Generation = uint64(generation)
	return err
}

// unfinished reads up to n records of a job that have not ended, those behind
// after, in the order of ids.
func (r *Room) unfinished(ctx context.Context, seq int64, after iot.ID, n int) (list []record, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = list[:0]
		rows, err := tx.Query(ctx, "SELECT "+recordColumns+" FROM job_device WHERE job = ? AND (device, module) > (?, ?) AND status < 2 ORDER BY device, module LIMIT ?",
			seq, after.Device, after.Module, n)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var d record
			if err := d.scan(rows); err != nil {
				return err
			}
			list = append(list, d)
		}
		return rows.Err()
	})
	return list, stored(err, "read the devices of a job")
}

// unfinishedOf reads those records of ids that have not ended.
func (r *Room) unfinishedOf(ctx context.Context, seq int64, ids []iot.ID) (list []record, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = list[:0]
		for _, id := range ids {
			var d record
			err := d.scan(tx.QueryRow(ctx, "SELECT "+recordColumns+" FROM job_device WHERE job = ? AND device = ? AND module = ? AND status < 2", seq, id.Device, id.Module))
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		return nil
	})
	return list, stored(err, "read the devices of a job")
}
