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

// QueryDeps is what queries need.
type QueryDeps struct {
	// DB holds the tables of the registry and of twins; both rooms must have
	// been opened.
	DB     state.DB
	Limits Limits
	Logger *slog.Logger
	// Live answers what is known of a connection at the moment; it is put over
	// what is stored in the rows that are given out. It may be nil.
	Live func(id iot.ID) (connected bool, since, lastActivity time.Time, known bool)
	// Parallel is how many queries run at a time, so that they leave readers
	// of the store to others; 0 means 2.
	Parallel int
	// Longest is how long one call may take; 0 means 30 s.
	Longest time.Duration
}

// Queries answers the query language over identities and their twins. It reads
// the tables of the registry along with its own and writes neither: a query
// joins them, and a copy of one in the other would have to be kept true.
type Queries struct {
	deps QueryDeps
	turn chan struct{}
}

// NewQueries makes it.
func NewQueries(d QueryDeps) *Queries {
	if d.Parallel <= 0 {
		d.Parallel = 2
	}
	if d.Longest <= 0 {
		d.Longest = 30 * time.Second
	}
	return &Queries{deps: d, turn: make(chan struct{}, d.Parallel)}
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
}

// left is how many rows TOP still allows, of n.
func (p *plan) left(n int) int {
	if p.query.Top > 0 {
		return max(0, min(n, p.query.Top-p.place.given))
	}
	return n
}

// Run gives the page of up to size items that the continuation token names,
// the first one without a token. Texts are at most 8192 characters. Errors
// carry an iot.Code and say where a text is wrong.
func (q *Queries) Run(ctx context.Context, text, token string, size int) (Page, error) {
	parsed, err := twinql.Parse(text)
	if err != nil {
		return Page{}, badQuery(err)
	}
	notes, err := twinql.Bind(parsed, text)
	if err != nil {
		return Page{}, badQuery(err)
	}
	p := &plan{text: text, query: parsed, size: max(1, min(size, MaxPage))}
	if p.place, err = readToken(token, text); err != nil {
		return Page{}, err
	}
	p.compiler = twinsql.Compiler{Dialect: q.deps.DB.Dialect(), From: parsed.From}
	page := Page{Kind: KindTwin, Items: []byte("[]")}
	for _, n := range notes {
		page.Notes = append(page.Notes, n.Error())
	}
	switch {
	case parsed.From == twinql.Jobs:
		page.Kind = KindJob
		return page, nil // there are no jobs yet
	case !parsed.Star:
		page.Kind = KindRaw
	}
	p.filter = p.compiler.Filter(parsed.Where)
	run := q.rows
	if grouped(parsed) {
		run = q.groups
	}
	within, cancel := context.WithTimeout(ctx, q.deps.Longest)
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

func (q *Queries) failed(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "interrupted"), strings.Contains(err.Error(), "57014"):
		return &iot.Error{
			Code: iot.GatewayTimeout, Err: err,
			Message: fmt.Sprintf("the query took longer than %s: narrow it down, such as by deviceId or an indexed tag", q.deps.Longest),
		}
	}
	return stored(err)
}

// tables names what is read, and its key. Inside out, the rows of twins come
// first and identities without one are left out.
func (p *plan) tables(joined, inside bool) (from string) {
	module := p.query.From == twinql.Modules
	switch {
	case !joined && module:
		return "module d"
	case !joined:
		return "device d"
	case inside && module:
		return "twin t JOIN module d ON d.device = t.device AND d.id = t.module AND d.generation = t.generation"
	case inside:
		return "twin t JOIN device d ON d.id = t.device AND d.generation = t.generation AND t.module = ''"
	case module:
		return "module d LEFT JOIN twin t ON t.device = d.device AND t.module = d.id AND t.generation = d.generation"
	}
	return "device d LEFT JOIN twin t ON t.device = d.id AND t.module = '' AND t.generation = d.generation"
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
	if p.filter.Twin {
		return "t.device", "t.device > ?", []any{p.place.after.Device}
	}
	return "d.id", "d.id > ?", []any{p.place.after.Device}
}
