package twin

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"strings"
	"sync"

	"dunlin/internal/engine/state"
)

// SQLite answers a query on one thread. A grouped query that must look at every
// row is therefore read in parts, two at a time: groups of parts add up. Parts
// are read one after the other and see what was stored at their own time, so
// that a result is that of one moment only for things that nobody changes
// meanwhile, as it is for one that is read page by page.

// splitParts is how many parts there are: more than are read at a time, as some
// may have fewer rows than others.
const splitParts = 8

// splitFrom is the number of rows from which on parts pay.
const splitFrom = 20_000

// part is a range of the rows of a table: those with a rowid from low to high.
type part struct {
	alias     string
	low, high int64
}

// within is the query over a part of its rows.
func (s *groupSQL) within(p part) *groupSQL {
	of := *s
	of.filter += " AND " + p.alias + ".rowid BETWEEN ? AND ?"
	of.args = append(slices.Clip(s.args), p.low, p.high)
	return &of
}

// groupInSQL lets the database answer.
func (q *queries) groupInSQL(ctx context.Context, s *groupSQL, empty func() *table) (t *table, err error) {
	parts, err := q.split(ctx, s)
	if err != nil || len(parts) == 0 {
		if err == nil {
			t, err = q.groupPart(ctx, s, empty)
		}
		return t, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var (
		mu    sync.Mutex
		first error
		wait  sync.WaitGroup
	)
	t = empty()
	work := func() {
		for {
			mu.Lock()
			if len(parts) == 0 || first != nil {
				mu.Unlock()
				return
			}
			next := s.within(parts[0])
			parts = parts[1:]
			mu.Unlock()
			of, err := q.groupPart(ctx, next, empty)
			mu.Lock()
			switch {
			case err == nil:
				t.join(of)
			case first == nil:
				first = err
				stop()
			}
			mu.Unlock()
		}
	}
	// The other reader is one that another query could have: it counts as one.
	select {
	case q.turn <- struct{}{}:
		wait.Go(func() {
			defer func() { <-q.turn }()
			work()
		})
	default:
	}
	work()
	wait.Wait()
	return t, first
}

// groupPart answers the whole of a query.
func (q *queries) groupPart(ctx context.Context, s *groupSQL, empty func() *table) (t *table, err error) {
	err = q.db.Read(ctx, func(tx state.Tx) error {
		t = empty()
		return s.run(ctx, tx, t.add)
	})
	return t, err
}

// split gives the parts of a query that reads through all of a large table;
// none when it does not, or when the database divides the work by itself.
func (q *queries) split(ctx context.Context, s *groupSQL) (parts []part, err error) {
	if q.db.Dialect() != state.SQLite {
		return nil, nil
	}
	err = q.db.Read(ctx, func(tx state.Tx) error {
		parts = nil
		// This comes first also because SQLite explains a query by the indexes
		// that it knew of when it last read something.
		spans := map[string]part{}
		for alias, name := range s.tables {
			var low, high sql.NullInt64
			if err := tx.QueryRow(ctx, "SELECT (SELECT min(rowid) FROM "+name+"), (SELECT max(rowid) FROM "+name+")").Scan(&low, &high); err != nil {
				return err
			}
			if high.Int64-low.Int64 >= max(q.splitFrom, splitParts) {
				spans[alias] = part{alias, low.Int64, high.Int64}
			}
		}
		if len(spans) == 0 {
			return nil
		}
		alias, err := scanned(ctx, tx, s)
		if p, ok := spans[alias]; ok {
			parts = partsOf(alias, p.low, (p.high-p.low)/splitParts)
		}
		return err
	})
	return parts, err
}

// partsOf gives parts of step rows, the first and the last of which have no end,
// for rows that come in meanwhile.
func partsOf(alias string, low, step int64) []part {
	parts := make([]part, splitParts)
	for i := range parts {
		parts[i] = part{alias, low + int64(i)*step, low + int64(i+1)*step - 1}
	}
	parts[0].low, parts[splitParts-1].high = math.MinInt64, math.MaxInt64
	return parts
}

// scanned tells which table, by its alias, a query reads through from the
// beginning to the end; "" when it has something better. It reads what SQLite
// says of its plan, of which it knows the one line that matters.
func scanned(ctx context.Context, tx state.Tx, s *groupSQL) (alias string, err error) {
	rows, err := tx.Query(ctx, "EXPLAIN QUERY PLAN "+s.text(), s.args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, cost int64
		var detail string
		if err := rows.Scan(&id, &parent, &cost, &detail); err != nil {
			return "", err
		}
		if name, ok := strings.CutPrefix(detail, "SCAN "); ok && parent == 0 && s.tables[name] != "" {
			return name, nil // the outer table comes first
		}
	}
	return "", rows.Err()
}

// join takes in the groups of another table with the same bounds.
func (t *table) join(o *table) {
	for _, g := range o.groups {
		t.add(g.keys, g.rows, g.measures)
	}
}
