package twin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin/twinsql"
)

// Live answers what is known of a connection at the moment.
type Live func(id iot.ID) (connected bool, since, lastActivity time.Time, known bool)

// queries answers the query language over identities and their twins. It reads
// the tables of the registry along with those of twins and writes neither: a
// query joins them, and a copy of one in the other would have to be kept true.
type queries struct {
	db             state.DB
	limits         *Limits
	logger         *slog.Logger
	turn           chan struct{}
	longest        time.Duration // of one call
	splitFrom      int64         // rows of a table that is read in parts
	indexes        indexes
	configurations Configurations // nil: there are none
	queued         bool
}

// parallelQueries is how many run at a time: readers of the store are few, and
// connecting devices need them too.
const parallelQueries = 2

func newQueries(db state.DB, limits *Limits, logger *slog.Logger, declared indexes) *queries {
	return &queries{db: db, limits: limits, logger: logger, indexes: declared, turn: make(chan struct{}, parallelQueries), longest: 30 * time.Second, splitFrom: splitFrom}
}

// Bounds of a page.
const (
	DefaultPage = 100
	MaxPage     = 1000
	// maxPageBytes ends a page early; the next one continues.
	maxPageBytes = 8 << 20
	// maxScan ends a page early when so many rows were read that SQL alone
	// could not tell apart.
	maxScan = 20000
)

// Page is a part of a result.
type Page struct {
	Items        []byte // a JSON array
	Kind         string // what the items are: Twin, DeviceJob or Raw
	Continuation string // names the next page; empty when there is none
	Notes        []string
}

// Kinds of items.
const (
	KindTwin = "Twin"
	KindJob  = "DeviceJob"
	KindRaw  = "Raw"
)

// plan is a query that is ready to run.
type plan struct {
	text     string
	query    *twinql.Query
	compiler twinsql.Compiler
	filter   twinsql.Filter
	place    place
	size     int // rows of the page at most
	live     Live
	notes    []string
}

// left is how many rows TOP still allows, of n.
func (p *plan) left(n int) int {
	if p.query.Top > 0 {
		return max(0, min(n, p.query.Top-p.place.given))
	}
	return n
}

// Query gives the page of up to size items that the continuation token names,
// the first one without a token. Texts are at most 8192 characters. Errors
// carry an iot.Code and say where a text is wrong. What live knows is put over
// what is stored in the rows that are given out; conditions are about what is
// stored, which follows within seconds. live may be nil.
func (r *Room) Query(ctx context.Context, text, token string, size int, live Live) (Page, error) {
	q := r.queries
	p, err := q.plan(text, token, size)
	if err != nil {
		return Page{}, err
	}
	p.live = live
	page := Page{Kind: KindTwin, Items: []byte("[]"), Notes: p.notes}
	run := q.rows
	switch {
	case p.query.From == twinql.Jobs:
		page.Kind = KindJob
		return page, nil // there are no jobs yet
	case grouped(p.query):
		page.Kind, run = KindRaw, q.groups
	case !p.query.Star:
		page.Kind = KindRaw
	}
	within, cancel := context.WithTimeout(ctx, q.longest)
	defer cancel()
	select {
	case q.turn <- struct{}{}:
		defer func() { <-q.turn }()
	case <-within.Done():
		return Page{}, q.failed(ctx, within.Err())
	}
	if err := run(within, p, &page); err != nil {
		return Page{}, q.failed(ctx, err)
	}
	return page, nil
}

// plan reads a query and the place of a page in its result.
func (q *queries) plan(text, token string, size int) (*plan, error) {
	parsed, err := twinql.Parse(text)
	if err != nil {
		return nil, badQuery(err)
	}
	notes, err := twinql.Bind(parsed, text)
	if err != nil {
		return nil, badQuery(err)
	}
	p := &plan{text: text, query: parsed, size: max(1, min(size, MaxPage))}
	for _, n := range notes {
		p.notes = append(p.notes, n.Error())
	}
	if p.place, err = readToken(token, text); err != nil {
		return nil, err
	}
	p.compiler = twinsql.Compiler{Dialect: q.db.Dialect(), From: parsed.From, Indexed: q.indexes.of, Configured: q.configurations != nil, Queued: q.queued}
	p.filter = p.compiler.Filter(parsed.Where)
	return p, nil
}

func grouped(q *twinql.Query) bool {
	if q.GroupBy != nil {
		return true
	}
	for i := range q.Columns {
		if _, ok := q.Columns[i].Expr.(*twinql.Aggregate); ok {
			return true
		}
	}
	return false
}

func badQuery(err error) error {
	return &iot.Error{Code: iot.ArgumentInvalid, Message: "the query is not valid " + err.Error(), Err: err}
}

func (q *queries) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "interrupted"), strings.Contains(err.Error(), "57014"):
		return &iot.Error{
			Code: iot.GatewayTimeout, Err: err,
			Message: fmt.Sprintf("the query took longer than %s: narrow it down, such as by deviceId or an indexed tag", q.longest),
		}
	}
	return stored(err)
}

// tables names what is read: identities with their twins and, of devices, the
// connection states that the registry keeps apart. Where a row of one of these
// is needed anyhow it comes first, and identities without one are left out.
func (p *plan) tables(twins, seen bool) (from string) {
	module := p.query.From == twinql.Modules
	switch {
	case module && p.filter.Twin:
		return "twin t JOIN module d ON d.device = t.device AND d.id = t.module AND d.generation = t.generation"
	case module && twins:
		return "module d LEFT JOIN twin t ON t.device = d.device AND t.module = d.id AND t.generation = d.generation"
	case module:
		return "module d"
	}
	switch {
	case p.filter.Twin:
		from = "twin t JOIN device d ON d.id = t.device AND d.generation = t.generation AND t.module = ''"
	case p.filter.Seen:
		from = "seen s JOIN device d ON d.id = s.device"
	default:
		from = "device d"
	}
	if twins && !p.filter.Twin {
		from += " LEFT JOIN twin t ON t.device = d.id AND t.module = '' AND t.generation = d.generation"
	}
	if seen && (p.filter.Twin || !p.filter.Seen) {
		from += " LEFT JOIN seen s ON s.device = d.id"
	}
	return from
}

// key names the columns that rows are ordered by.
func (p *plan) key() (columns, place string, args []any) {
	table := "d."
	if p.filter.Twin {
		table = "t."
	}
	if p.query.From == twinql.Modules {
		second := "id"
		if p.filter.Twin {
			second = "module"
		}
		return table + "device, " + table + second, "(" + table + "device, " + table + second + ") > (?, ?)", []any{p.place.after.Device, p.place.after.Module}
	}
	column := "d.id"
	switch {
	case p.filter.Twin:
		column = "t.device"
	case p.filter.Seen:
		column = "s.device"
	}
	return column, column + " > ?", []any{p.place.after.Device}
}
