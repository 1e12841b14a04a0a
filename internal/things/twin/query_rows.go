package twin

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/lang/twinql"
)

const (
	deviceColumns = "d.id, '', d.generation, d.etag, d.status, d.status_reason, d.status_at, d.auth, d.thumb1, d.thumb2, d.edge, d.scope, d.parents, COALESCE(s.connected, 0), COALESCE(s.active_at, 0)"
	moduleColumns = "d.device, d.id, d.generation, d.etag, 0, NULL, 0, d.auth, d.thumb1, d.thumb2, 0, '', '', d.connected, d.active_at"
)

// twinColumns are those of scanRow.
var twinColumns = "t." + strings.ReplaceAll(columns, ", ", ", t.")

// authNames are in the order of the numbers that the registry stores.
var authNames = [...]string{"sas", "selfSigned", "certificateAuthority", "none"}

// found is an identity with its twin, read in one row. It is a document for
// the query language.
type found struct {
	identity Identity
	doc      Doc
	head     string // the document without properties; empty until it is needed
	whole    string // the whole document, likewise
	err      error  // of writing either
	damaged  bool   // nothing but the id is known
}

// rows gives a page of documents or members of them.
func (q *queries) rows(ctx context.Context, p *plan, page *Page) error {
	want := p.left(p.size)
	out := []byte{'['}
	count, scanned := 0, 0
	more, ended := false, want == 0
	for !more && !ended { // also when the page is full: is there one more?
		batch := want - count + 1
		if !p.filter.Exact {
			batch = maxPageScan
		}
		at, size := p.place, len(out)
		counted := count
		err := q.db.Read(ctx, func(tx state.Tx) error {
			p.place, out, count, ended, more = at, out[:size], counted, false, false
			n := 0
			err := q.scan(ctx, tx, p, batch, func(f *found) (bool, error) {
				n++
				if p.selects(f) {
					if count == want || (count > 0 && len(out) > maxPageBytes) {
						more = true
						return false, nil
					}
					if count > 0 {
						out = append(out, ',')
					}
					var err error
					if out, err = p.appendItem(out, f); err != nil {
						return false, err
					}
					count++
				}
				p.place.after = f.doc.key.ID
				return true, nil
			})
			ended = n < batch
			return err
		})
		if err != nil {
			return err
		}
		// A page that was hard to fill ends early, and perhaps empty.
		scanned += batch
		more = more || (!ended && scanned >= maxScan)
	}
	p.place.given += count
	page.Items = append(out, ']')
	if more && p.left(1) > 0 {
		page.Continuation = p.place.token(p.text)
	}
	return nil
}

func (p *plan) selects(f *found) bool {
	return !f.damaged && (p.filter.Exact || twinql.Eval(p.query.Where, f).IsTrue())
}

// maxPageScan is how many rows are read at a time to be evaluated.
const maxPageScan = 500

// scan reads up to n rows after the place of the plan, in the order of ids. A
// row that is damaged is logged and comes as such.
func (q *queries) scan(ctx context.Context, tx state.Tx, p *plan, n int, each func(f *found) (bool, error)) error {
	query, args := p.rowsSQL(n)
	rows, err := tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	keep := q.configurations != nil && p.wantsConfigurations()
	var kept []*found
	for rows.Next() {
		f := &found{}
		if err := q.read(rows, f); err != nil {
			if !errors.Is(err, state.ErrDamaged) {
				return err
			}
			q.logger.Error("damaged row left out of a query", slog.Any("error", err))
			f.damaged = true
		}
		if keep {
			kept = append(kept, f) // their configurations are read with another statement
			continue
		}
		if more, err := each(f); err != nil || !more {
			return err
		}
	}
	if err := rows.Err(); err != nil || !keep {
		return err
	}
	if err := rows.Close(); err != nil {
		return err
	}
	if err := q.configure(ctx, tx, kept); err != nil {
		return err
	}
	for _, f := range kept {
		if more, err := each(f); err != nil || !more {
			return err
		}
	}
	return nil
}

func (p *plan) rowsSQL(n int) (query string, args []any) {
	columns := deviceColumns
	if p.query.From == twinql.Modules {
		columns = moduleColumns
	}
	waiting := "0"
	if p.wants("cloudToDeviceMessageCount") {
		waiting = p.compiler.Messages()
	}
	key, after, args := p.key()
	query = "SELECT " + columns + ", " + waiting + ", " + twinColumns + " FROM " + p.tables(true, true) +
		" WHERE " + after + " AND " + p.filter.SQL + " ORDER BY " + key + " LIMIT ?"
	return query, append(append(args, p.filter.Args...), n)
}

// read takes in one row.
func (q *queries) read(row scanner1, f *found) error {
	i := &f.identity
	var (
		generation, status, statusAt, auth, edge, connected, active int64
		thumb1, thumb2                                              sql.NullString
		parents                                                     string
	)
	r := fresh(0)
	t := twinRow{row: row}
	err := t.scan(&r, []any{
		&i.ID.Device, &i.ID.Module, &generation, &i.ETag, &status, &i.StatusReason, &statusAt, &auth, &thumb1, &thumb2,
		&edge, &i.Scope, &parents, &connected, &active, &i.Messages,
	})
	if err != nil {
		return err
	}
	r.generation = uint64(generation)
	f.doc = Doc{key: Key{i.ID, r.generation}, rec: r, lim: q.limits}
	if t.sum.Valid {
		if have, _ := r.sum(f.doc.key, nil); have != t.sum.Int64 {
			return state.DamagedRow(q.db, "the twin of "+i.ID.String())
		}
	}
	i.Disabled, i.Edge, i.Connected = status == 1, edge == 1, connected == 1
	i.StatusSince, i.LastActivity = unix(statusAt), unix(active)
	i.PrimaryThumbprint, i.SecondaryThumbprint = thumb1.String, thumb2.String
	i.AuthType = authNames[max(0, min(int(auth), len(authNames)-1))]
	i.ParentScopes = strings.Fields(parents)
	return nil
}

func unix(nanos int64) time.Time {
	if nanos == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanos)
}

// twinRow scans the columns of a twin that may have none.
type twinRow struct {
	row scanner1
	sum sql.NullInt64
}

func (t *twinRow) scan(r *record, before []any) error {
	var (
		generation, version, etag, desiredVersion, reportedVersion sql.NullInt64
		model                                                      sql.NullString
		tags, desired, reported, desiredMeta, reportedMeta         []byte
	)
	err := t.row.Scan(append(before, &generation, &version, &etag, &model, &desiredVersion, &reportedVersion,
		&tags, &desired, &reported, &desiredMeta, &reportedMeta, &t.sum)...)
	if err != nil || !t.sum.Valid {
		return err
	}
	r.version, r.etag, r.model = version.Int64, etag.Int64, model.String
	r.desiredVersion, r.reportedVersion = desiredVersion.Int64, reportedVersion.Int64
	r.tags.text = string(tags)
	r.desired = section{string(desired), string(desiredMeta)}
	r.reported = section{string(reported), string(reportedMeta)}
	return nil
}

// appendItem writes a row of the result, with the connection as it is now.
func (p *plan) appendItem(out []byte, f *found) ([]byte, error) {
	if p.live != nil {
		if connected, _, last, known := p.live(f.doc.key.ID); known {
			f.identity.Connected, f.identity.LastActivity = connected, last
			f.head, f.whole = "", ""
		}
	}
	if p.query.Star {
		return f.doc.Append(out, &f.identity)
	}
	out = append(out, '{')
	comma := false
	for i := range p.query.Columns {
		c := &p.query.Columns[i]
		path, ok := c.Expr.(*twinql.Path)
		if !ok {
			continue
		}
		raw := f.raw(path)
		if raw == "" {
			continue
		}
		if comma {
			out = append(out, ',')
		}
		comma = true
		out = append(appendKey(out, c.Name()), raw...)
	}
	return append(out, '}'), f.err
}

// Lookup implements twinql.Source.
func (f *found) Lookup(p *twinql.Path) twinql.Value { return jsonValue(f.raw(p)) }

// raw gives the JSON text of a member, "" when there is none. What is stored
// as JSON is not written again to find it.
func (f *found) raw(p *twinql.Path) string {
	s := p.Steps
	switch s[0].Name {
	case "tags":
		return jsonAt(f.doc.rec.tags.text, s[1:])
	case "properties":
		if len(s) < 3 {
			break
		}
		var text string
		var version int64
		switch s[1].Name {
		case "desired":
			text, version = f.doc.rec.desired.text, f.doc.rec.desiredVersion
		case "reported":
			text, version = f.doc.rec.reported.text, f.doc.rec.reportedVersion
		default:
			return ""
		}
		switch s[2].Name {
		case "$version":
			return jsonAt(strconv.FormatInt(version, 10), s[3:])
		case "$metadata":
		default:
			return jsonAt(text, s[2:])
		}
	default:
		if f.head == "" {
			bare := f.doc
			none := fresh(0)
			bare.rec.tags, bare.rec.desired, bare.rec.reported = none.tags, none.desired, none.reported
			f.head = f.write(&bare)
		}
		return jsonAt(f.head, s)
	}
	if f.whole == "" {
		f.whole = f.write(&f.doc)
	}
	return jsonAt(f.whole, s)
}

func (f *found) write(d *Doc) string {
	b, err := d.Append(nil, &f.identity)
	if err != nil {
		f.err = err
	}
	return string(b)
}

var _ twinql.Source = (*found)(nil)
