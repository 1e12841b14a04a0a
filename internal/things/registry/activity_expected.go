package registry

import (
	"context"

	"dunlin/internal/engine/state"
)

// What a run does to a state that is as it expects; each has a statement of its
// own, which changes no other rows.
const (
	seenBegins  = iota // was not connected, is
	seenVisits         // was not and is not: it came and went
	seenEnds           // was and is not
	seenRenews         // was and is, by another connection
	seenRemains        // was and is: only the last activity is new
	seenKinds
)

func (s *seenList) kind(r *seenRun) int {
	after := s.at(r.to - 1).Connected
	switch before := s.before(r); {
	case s.since(r) < 0:
		return seenRemains
	case before && after:
		return seenRenews
	case before:
		return seenEnds
	case after:
		return seenBegins
	}
	return seenVisits
}

// seenNew and seenOld say for which rows a statement holds. A row with the time that is
// to be stored was stored already, by a write whose outcome was unknown. The
// plus keeps SQLite from going along the index of the connected.
const (
	seenNew = " WHERE EXISTS (SELECT 1 FROM device d WHERE d.id = v.column1 AND d.generation = v.column2)" +
		" ON CONFLICT (device) DO UPDATE SET connected = excluded.connected, connected_at = excluded.connected_at, active_at = excluded.active_at" +
		" WHERE seen.made = excluded.made AND seen.connected = 0 AND seen.connected_at <> excluded.connected_at"
	seenOld = " WHERE seen.device = v.column1 AND seen.made = v.column2 AND +seen.connected = 1"
)

// seenExpected are the statements, by dialect, kind and size. OR FAIL spares
// SQLite the journal that it keeps to undo a single statement, a copy of every
// page: when one fails the whole write is rolled back.
var seenExpected = [...][seenKinds][len(seenSizes)]string{
	state.SQLite:     expectedTexts("INSERT OR FAIL INTO seen", "UPDATE OR FAIL seen"),
	state.PostgreSQL: expectedTexts("INSERT INTO seen", "UPDATE seen"),
}

func expectedTexts(insert, update string) (texts [seenKinds][len(seenSizes)]string) {
	const (
		first = "(CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS BIGINT))"
		more  = ",(?,?,?,?)"
	)
	begin := func(connected string) string {
		return insert + " (device, made, connected, connected_at, active_at) SELECT v.column1, v.column2, " + connected +
			", v.column3, v.column4 FROM (VALUES "
	}
	end := func(set string) string { return update + " SET " + set + " FROM (VALUES " }
	texts[seenBegins] = seenTexts(begin("1"), first, more, ") AS v"+seenNew)
	texts[seenVisits] = seenTexts(begin("0"), first, more, ") AS v"+seenNew)
	const times = "connected_at = v.column3, active_at = v.column4"
	const fresh = " AND seen.connected_at <> v.column3"
	texts[seenEnds] = seenTexts(end("connected = 0, "+times), first, more, ") AS v"+seenOld+fresh)
	texts[seenRenews] = seenTexts(end(times), first, more, ") AS v"+seenOld+fresh)
	texts[seenRemains] = seenTexts(end("active_at = v.column4"), first, more, ") AS v"+seenOld)
	return texts
}

// writeExpected stores the runs without looking first. It answers
// errUnexpected when a state was not as expected; then all has to be undone.
func (s *seenList) writeExpected(ctx context.Context, tx state.Tx) error {
	if err := s.checkModules(ctx, tx); err != nil {
		return err
	}
	var kinds [seenKinds][]seenRun
	for i := range s.devices {
		k := s.kind(&s.devices[i])
		kinds[k] = append(kinds[k], s.devices[i])
	}
	args := make([]any, 0, 4*seenSizes[0])
	for kind, runs := range kinds {
		err := chunks(runs, func(size int, part []seenRun) error {
			args = args[:0]
			for i := range part {
				e := s.at(part[i].to - 1)
				args = append(args, e.ID.Device, int64(e.Generation), nanos(e.Since), nanos(e.Last))
			}
			n, err := tx.Exec(ctx, seenExpected[s.dialect][kind][size], args...)
			if err == nil && n != int64(len(part)) {
				return errUnexpected
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return s.writeModules(ctx, tx)
}
