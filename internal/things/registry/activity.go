package registry

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Seen is a change of a connection to be stored.
type Seen struct {
	ID         iot.ID
	Generation uint64 // of the identity that had the connection
	Activity
	// Same says that Connected is as it was and only Last is new.
	Same bool
}

// SaveActivity stores changes of connections, oldest first, and writes the
// events of those that change what is stored: all of it or nothing. States and
// events cannot differ, whatever is given and however often, as it is the
// stored state that decides: a change to the state that an identity has already
// makes no event, and changes of identities that are gone, or were made anew,
// are passed over. ETags do not change.
func (r *Registry) SaveActivity(ctx context.Context, list []Seen) error {
	s := sortSeen(list)
	err := r.saveSeen(ctx, s, s.writeExpected)
	if errors.Is(err, errUnexpected) {
		err = r.saveSeen(ctx, s, s.writeChecked)
	}
	return stored(err, "store connection states")
}

// errUnexpected says that what is stored is not what changes say they found.
var errUnexpected = errors.New("registry: other connection states are stored than expected")

func (r *Registry) saveSeen(ctx context.Context, s *seenList, write func(context.Context, state.Tx) error) error {
	s.dialect = r.db.Dialect()
	return r.db.Write(ctx, func(tx state.Tx) error {
		s.restore()
		if err := write(ctx, tx); err != nil || r.quiet {
			return err
		}
		var batch outbox.Batch
		for i := range s.list {
			if e := &s.list[i]; !s.mute[i] {
				r.addConnection(&batch, e.ID, e.Generation, e.Connected, e.Since)
			}
		}
		return r.outbox.Put(ctx, tx, &batch)
	})
}

// seenRun is what happened to one identity: a part of seenList.order.
type seenRun struct {
	from, to int
	gone     bool // the identity is not there: nothing is stored
}

// seenList is a list of changes by identity: neighbours share pages, and a
// write costs by the page.
type seenList struct {
	list    []Seen
	order   []int
	devices []seenRun
	modules []seenRun
	mute    []bool // by position in the list: makes no event
	dialect state.Dialect
}

func sortSeen(list []Seen) *seenList {
	s := &seenList{list: list, order: make([]int, len(list)), mute: make([]bool, len(list))}
	for i := range s.order {
		s.order[i] = i
	}
	slices.SortFunc(s.order, func(a, b int) int {
		x, y := &list[a].ID, &list[b].ID
		if c := strings.Compare(x.Device, y.Device); c != 0 {
			return c
		}
		if c := strings.Compare(x.Module, y.Module); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for from := 0; from < len(list); {
		e, to := s.at(from), from+1
		for to < len(list) && s.at(to).ID == e.ID && s.at(to).Generation == e.Generation {
			to++
		}
		if e.ID.IsModule() {
			s.modules = append(s.modules, seenRun{from: from, to: to})
		} else {
			s.devices = append(s.devices, seenRun{from: from, to: to})
		}
		from = to
	}
	return s
}

func (s *seenList) at(i int) *Seen { return &s.list[s.order[i]] }

// restore forgets what an attempt to store has found.
func (s *seenList) restore() {
	for i := range s.list {
		s.mute[i] = s.list[i].Same
	}
	for _, runs := range [...][]seenRun{s.devices, s.modules} {
		for i := range runs {
			runs[i].gone = false
		}
	}
}

// before is the state that the first change of a run says it found.
func (s *seenList) before(r *seenRun) bool {
	e := s.at(r.from)
	return e.Connected == e.Same
}

// since is the time of the last change of a run, -1 when it has none.
func (s *seenList) since(r *seenRun) int64 {
	for i := r.to - 1; i >= r.from; i-- {
		if e := s.at(i); !e.Same {
			return nanos(e.Since)
		}
	}
	return -1
}

// Statements take many rows at a time, since most of what a row costs is the
// statement around it. The values of the first row carry the types; both
// databases name the columns of VALUES column1 and so on.
var seenSizes = [...]int{64, 8, 1}

func seenTexts(head, first, more, tail string) (texts [len(seenSizes)]string) {
	for i, n := range seenSizes {
		texts[i] = head + first + strings.Repeat(more, n-1) + tail
	}
	return texts
}

var (
	// seenCheck finds the runs that are not as expected: their device is not
	// there, has another state, or is as the run leaves it, so that the run was
	// stored already by a write whose outcome was unknown.
	seenCheck = seenTexts("SELECT v.column1, v.column2 FROM (VALUES ",
		"(CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS SMALLINT), CAST(? AS BIGINT))", ",(?,?,?,?)",
		") AS v LEFT JOIN seen s ON s.device = v.column1 AND s.made = v.column2"+
			" WHERE COALESCE(s.connected, 0) <> v.column3 OR s.connected_at = v.column4"+
			" OR (s.device IS NULL AND NOT EXISTS (SELECT 1 FROM device d WHERE d.id = v.column1 AND d.generation = v.column2))")
	seenWrite = seenTexts("INSERT INTO seen (device, made, connected, connected_at, active_at) VALUES ",
		"(?,?,?,?,?)", ",(?,?,?,?,?)",
		" ON CONFLICT (device) DO UPDATE SET made = excluded.made, connected = excluded.connected,"+
			" connected_at = excluded.connected_at, active_at = excluded.active_at")
)

const (
	seenDevice = "SELECT COALESCE(s.connected, 0), COALESCE(s.connected_at, 0) FROM device d" +
		" LEFT JOIN seen s ON s.device = d.id AND s.made = d.generation WHERE d.id = ? AND d.generation = ?"
	seenModule      = "SELECT connected, connected_at FROM module WHERE device = ? AND id = ? AND generation = ?"
	seenModuleWrite = "UPDATE module SET connected = ?, connected_at = ?, active_at = ? WHERE device = ? AND id = ?"
)

// chunks hands out runs in the sizes of statements.
func chunks(runs []seenRun, each func(size int, part []seenRun) error) error {
	for size, n := range seenSizes {
		for len(runs) >= n {
			if err := each(size, runs[:n]); err != nil {
				return err
			}
			runs = runs[n:]
		}
	}
	return nil
}

// writeChecked compares each run with what is stored before it stores it.
func (s *seenList) writeChecked(ctx context.Context, tx state.Tx) error {
	if err := s.check(ctx, tx); err != nil {
		return err
	}
	return s.write(ctx, tx)
}

// check compares the runs with what is stored.
func (s *seenList) check(ctx context.Context, tx state.Tx) error {
	args := make([]any, 0, 4*seenSizes[0])
	var odd []*seenRun
	err := chunks(s.devices, func(size int, part []seenRun) error {
		args = args[:0]
		for i := range part {
			e := s.at(part[i].from)
			args = append(args, e.ID.Device, int64(e.Generation), flag(s.before(&part[i])), s.since(&part[i]))
		}
		rows, err := tx.Query(ctx, seenCheck[size], args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var device string
			var generation int64
			if err := rows.Scan(&device, &generation); err != nil {
				return err
			}
			for i := range part {
				if e := s.at(part[i].from); e.ID.Device == device && int64(e.Generation) == generation {
					odd = append(odd, &part[i])
				}
			}
		}
		return rows.Err()
	})
	if err != nil {
		return err
	}
	for _, run := range odd {
		e := s.at(run.from)
		if err := s.compare(run, tx.QueryRow(ctx, seenDevice, e.ID.Device, int64(e.Generation))); err != nil {
			return err
		}
	}
	return s.checkModules(ctx, tx)
}

func (s *seenList) checkModules(ctx context.Context, tx state.Tx) error {
	for i := range s.modules {
		e := s.at(s.modules[i].from)
		if err := s.compare(&s.modules[i], tx.QueryRow(ctx, seenModule, e.ID.Device, e.ID.Module, int64(e.Generation))); err != nil {
			return err
		}
	}
	return nil
}

// compare mutes the changes of a run that do not change what is stored.
func (s *seenList) compare(run *seenRun, row *sql.Row) error {
	var connected bool
	var since int64
	err := row.Scan(&connected, &since)
	if errors.Is(err, sql.ErrNoRows) {
		run.gone = true
	} else if err != nil {
		return err
	}
	done := since == s.since(run) && connected == s.at(run.to-1).Connected // stored already
	for i := run.from; i < run.to; i++ {
		now := s.at(i).Connected
		s.mute[s.order[i]] = run.gone || done || now == connected
		connected = now
	}
	return nil
}

// write stores the state that each run leaves.
func (s *seenList) write(ctx context.Context, tx state.Tx) error {
	here := make([]seenRun, 0, len(s.devices))
	for _, run := range s.devices {
		if !run.gone {
			here = append(here, run)
		}
	}
	args := make([]any, 0, 5*seenSizes[0])
	err := chunks(here, func(size int, part []seenRun) error {
		args = args[:0]
		for i := range part {
			e := s.at(part[i].to - 1)
			args = append(args, e.ID.Device, int64(e.Generation), flag(e.Connected), nanos(e.Since), nanos(e.Last))
		}
		_, err := tx.Exec(ctx, seenWrite[size], args...)
		return err
	})
	if err != nil {
		return err
	}
	return s.writeModules(ctx, tx)
}

// writeModules stores the runs of modules that check has found.
func (s *seenList) writeModules(ctx context.Context, tx state.Tx) error {
	for i := range s.modules {
		if s.modules[i].gone {
			continue
		}
		e := s.at(s.modules[i].to - 1)
		if _, err := tx.Exec(ctx, seenModuleWrite, flag(e.Connected), nanos(e.Since), nanos(e.Last), e.ID.Device, e.ID.Module); err != nil {
			return err
		}
	}
	return nil
}

// forgetBatch is the number of states in one write of ForgetConnections.
const forgetBatch = 2000

// ForgetConnections ends the stored connections of every identity, with an
// event for each, at now: at the start of the only node nobody is connected.
func (r *Registry) ForgetConnections(ctx context.Context, now time.Time) error {
	for more := true; more; {
		err := r.db.Write(ctx, func(tx state.Tx) error {
			more = false
			var batch outbox.Batch
			for _, table := range [...]string{"seen", "module"} {
				n, err := r.forget(ctx, tx, table, now, &batch)
				if err != nil {
					return err
				}
				more = more || n == forgetBatch
			}
			return r.outbox.Put(ctx, tx, &batch)
		})
		if err != nil {
			return stored(err, "clear connection states")
		}
	}
	return nil
}

// forget ends up to forgetBatch connections of one table, those with the least ids.
func (r *Registry) forget(ctx context.Context, tx state.Tx, table string, now time.Time, batch *outbox.Batch) (n int, err error) {
	columns, key := "device, '', made", "device"
	if table == "module" {
		columns, key = "device, id, generation", "device, id"
	}
	rows, err := tx.Query(ctx, "SELECT "+columns+" FROM "+table+" WHERE connected = 1 ORDER BY "+key+" LIMIT ?", forgetBatch)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var last iot.ID
	for ; rows.Next(); n++ {
		var generation int64
		if err := rows.Scan(&last.Device, &last.Module, &generation); err != nil {
			return 0, err
		}
		r.addConnection(batch, last, uint64(generation), false, now)
	}
	if err := rows.Err(); err != nil || n == 0 {
		return 0, err
	}
	if err := rows.Close(); err != nil {
		return 0, err
	}
	where, args := "device <= ?", []any{nanos(now), last.Device}
	if table == "module" {
		where, args = "(device, id) <= (?, ?)", append(args, last.Module)
	}
	_, err = tx.Exec(ctx, "UPDATE "+table+" SET connected = 0, connected_at = ? WHERE connected = 1 AND "+where, args...)
	return n, err
}
