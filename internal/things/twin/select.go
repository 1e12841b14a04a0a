package twin

import (
	"context"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin/twinsql"
)

// Select gives up to n devices or modules that a target selects, those after
// the id after, in the order of ids; more reports whether there may be others
// behind last. A walk from page to page meets each of them once, whatever is
// written meanwhile: what comes to be selected behind the place that was
// reached is met, what is made or changed before it is not. A page may be
// empty and not the last one, as it looks at a bounded number of twins.
func (r *Room) Select(ctx context.Context, t *twinql.Target, after iot.ID, n int) (keys []Key, last iot.ID, more bool, err error) {
	q := r.queries
	p := &plan{query: &twinql.Query{From: t.From, Where: t.Where}, size: n}
	p.compiler = twinsql.Compiler{Dialect: q.db.Dialect(), From: t.From, Indexed: q.indexes.of, Configured: q.configurations != nil, Queued: q.queued}
	p.filter = p.compiler.Filter(t.Where)
	limit := n
	if !p.filter.Exact {
		limit = max(n, maxPageScan)
	}
	err = q.db.Read(ctx, func(tx state.Tx) error {
		p.place.after = after
		keys, last, more = make([]Key, 0, n), after, false
		rows := 0
		return q.scan(ctx, tx, p, limit, func(f *found) (bool, error) {
			if len(keys) == n {
				more = true
				return false, nil
			}
			rows++
			last, more = f.doc.key.ID, rows == limit
			if p.selects(f) {
				keys = append(keys, f.doc.key)
			}
			return true, nil
		})
	})
	if err != nil {
		return nil, after, false, stored(err)
	}
	return keys, last, more, nil
}
