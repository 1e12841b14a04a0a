package job

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// Page is a part of the result of a query over devices.jobs.
type Page struct {
	Items        []byte // a JSON array of records
	Continuation string // names the next page; empty when there is none
	Notes        []string
}

const (
	maxPageBytes = 8 << 20 // ends a page early; the next one continues
	maxScan      = 20000   // records that are looked at for one page
	scanPage     = 1000    // records that are read at a time
)

// found is a record with its job. It is a document for the query language.
type found struct {
	record
	seq  int64
	id   string
	kind Kind
}

// jobPlace is where the next page of a query begins.
type jobPlace struct {
	seq   int64
	after iot.ID
	given int // rows so far, for TOP
}

// Query gives the page of up to size records that the token names, the first
// one without a token: those of the newest job last, each job's by the ids of
// devices. SQL narrows a condition down to jobs, devices, kinds and states;
// everything else is evaluated here.
func (r *Room) Query(ctx context.Context, text, token string, size int) (Page, error) {
	q, err := twinql.Parse(text)
	var notes []*twinql.Error
	if err == nil {
		notes, err = twinql.Bind(q, text)
	}
	if err != nil {
		return Page{}, &iot.Error{Code: iot.ArgumentInvalid, Message: "the query is not valid " + err.Error(), Err: err}
	}
	if q.From != twinql.Jobs {
		return Page{}, iot.Errorf(iot.ArgumentInvalid, "the query is not about devices.jobs")
	}
	at, err := readPlace(token, text)
	if err != nil {
		return Page{}, err
	}
	page := Page{}
	for _, n := range notes {
		page.Notes = append(page.Notes, n.Error())
	}
	want := max(1, min(size, MaxPage))
	if q.Top > 0 {
		want = max(0, min(want, q.Top-at.given))
	}
	out := []byte{'['}
	count, scanned, more := 0, 0, false
	for want > 0 && !more {
		list, err := r.scanRecords(ctx, q.Where, at)
		if err != nil {
			return Page{}, stored(err, "query the devices of jobs")
		}
		for i := range list {
			f := &list[i]
			if q.Where == nil || twinql.Eval(q.Where, f).IsTrue() {
				if count == want || (count > 0 && len(out) > maxPageBytes) {
					more = true
					break
				}
				if count > 0 {
					out = append(out, ',')
				}
				out = appendRecord(out, f.id, f.kind, &f.record)
				count++
			}
			at.seq, at.after = f.seq, f.ID
		}
		if len(list) < scanPage {
			break
		}
		scanned += len(list)
		more = more || scanned >= maxScan
	}
	at.given += count
	page.Items = append(out, ']')
	if more && (q.Top == 0 || at.given < q.Top) {
		page.Continuation = at.token(text)
	}
	return page, nil
}

func (r *Room) scanRecords(ctx context.Context, where twinql.Expr, at jobPlace) (list []found, err error) {
	filter, args := narrow(where)
	query := "SELECT j.seq, j.id, j.kind, d." + strings.ReplaceAll(recordColumns, ", ", ", d.") + ` FROM job j JOIN job_device d ON d.job = j.seq
WHERE (d.job, d.device, d.module) > (?, ?, ?)` + filter + " ORDER BY d.job, d.device, d.module LIMIT ?"
	args = append(append([]any{at.seq, at.after.Device, at.after.Module}, args...), scanPage)
	err = r.db.Read(ctx, func(tx state.Tx) error {
		list = list[:0]
		rows, err := tx.Query(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var f found
			if err := f.scan(rows, &f.seq, &f.id, &f.kind); err != nil {
				return err
			}
			list = append(list, f)
		}
		return rows.Err()
	})
	return list, err
}

// narrow gives what SQL says of a condition: every term of a conjunction that
// asks whether a column is one of some texts. It selects at least what the
// condition does.
func narrow(e twinql.Expr) (sql string, args []any) {
	terms := []twinql.Expr{e}
	if l, ok := e.(*twinql.Logic); ok && l.Op == twinql.And {
		terms = l.Terms
	}
	for _, t := range terms {
		name, texts, ok := membership(t)
		if !ok {
			continue
		}
		column, values := column(name, texts)
		switch {
		case column == "":
			continue
		case len(values) == 0:
			return " AND FALSE", nil
		}
		sql += " AND " + column + " IN (?" + strings.Repeat(", ?", len(values)-1) + ")"
		args = append(args, values...)
	}
	return sql, args
}

// membership reads "member = 'text'" and "member IN ['text', ...]".
func membership(e twinql.Expr) (name string, texts []string, ok bool) {
	var p *twinql.Path
	var list []twinql.Value
	switch e := e.(type) {
	case *twinql.Binary:
		left, right := e.Left, e.Right
		if _, isPath := left.(*twinql.Path); !isPath {
			left, right = right, left
		}
		v, constant := twinql.Value{}, false
		if p, ok = left.(*twinql.Path); ok {
			v, constant = twinql.Fold(right)
		}
		if e.Op != twinql.Equal || !constant {
			return "", nil, false
		}
		list = []twinql.Value{v}
	case *twinql.In:
		if p, ok = e.Operand.(*twinql.Path); !ok || e.Negated {
			return "", nil, false
		}
		list = e.List
	default:
		return "", nil, false
	}
	if len(p.Steps) != 1 {
		return "", nil, false
	}
	for _, v := range list {
		// Other types are equal to no text, and no column holds a zero.
		if v.Kind == twinql.Text && strings.IndexByte(v.Text, 0) < 0 {
			texts = append(texts, v.Text)
		}
	}
	return p.Steps[0].Name, texts, true
}

// column gives the column of a member and the values that stand for texts
// there; "" when there is none.
func column(name string, texts []string) (column string, values []any) {
	switch name {
	case "jobId":
		column = "j.id"
	case "deviceId":
		column = "d.device"
	case "moduleId":
		column = "d.module"
	case "status":
		for _, t := range texts {
			for i, n := range deviceStatusNames {
				if n == t {
					values = append(values, int64(i))
				}
			}
		}
		return "d.status", values
	case "jobType":
		for _, t := range texts {
			for i, n := range kindNames {
				if n == t {
					values = append(values, int64(i))
				}
			}
		}
		return "j.kind", values
	}
	for _, t := range texts {
		values = append(values, t)
	}
	return column, values
}

// Lookup implements twinql.Source.
func (f *found) Lookup(p *twinql.Path) twinql.Value {
	s := p.Steps
	if len(s) == 1 {
		switch s[0].Name {
		case "deviceId":
			return twinql.TextValue(f.ID.Device)
		case "moduleId":
			if f.ID.IsModule() {
				return twinql.TextValue(f.ID.Module)
			}
			return twinql.Value{}
		case "jobId":
			return twinql.TextValue(f.id)
		case "jobType":
			return twinql.TextValue(f.kind.String())
		case "status":
			return twinql.TextValue(f.status.String())
		case "startTimeUtc":
			return instant(f.started)
		case "endTimeUtc":
			return instant(f.ended)
		case "createdDateTimeUtc":
			return instant(f.created)
		case "lastUpdatedDateTimeUtc":
			return instant(f.updated())
		}
	}
	var v any
	if json.Unmarshal(appendRecord(nil, f.id, f.kind, &f.record), &v) != nil {
		return twinql.Value{} // cannot be: it was just written
	}
	for i := range s {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[s[i].Name]
			if !ok || s[i].Name == "" {
				return twinql.Value{}
			}
			v = next
		case []any:
			if s[i].Name != "" || s[i].Index >= len(at) {
				return twinql.Value{}
			}
			v = at[s[i].Index]
		default:
			return twinql.Value{}
		}
	}
	switch v := v.(type) {
	case nil:
		return twinql.Value{Kind: twinql.Null}
	case bool:
		return twinql.BoolValue(v)
	case float64:
		return twinql.NumberValue(v)
	case string:
		return twinql.TextValue(v)
	case []any:
		return twinql.Value{Kind: twinql.Array}
	}
	return twinql.Value{Kind: twinql.Object}
}

func instant(at int64) twinql.Value {
	if at == 0 {
		return twinql.Value{}
	}
	return twinql.TextValue(moment(at).Format(timeForm))
}

// queryToken is the first byte of a continuation of a query.
const queryToken = 2

func queryTag(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:8]
}

func (p *jobPlace) token(text string) string {
	b := append([]byte{queryToken}, queryTag(text)...)
	b = binary.AppendUvarint(b, uint64(p.seq))
	b = binary.AppendUvarint(b, uint64(p.given))
	b = append(binary.AppendUvarint(b, uint64(len(p.after.Device))), p.after.Device...)
	return base64.RawURLEncoding.EncodeToString(append(b, p.after.Module...))
}

func readPlace(token, text string) (p jobPlace, err error) {
	if token == "" {
		return p, nil
	}
	b, derr := base64.RawURLEncoding.DecodeString(token)
	if derr != nil || len(token) > 1024 || len(b) < 12 || b[0] != queryToken {
		return p, errBadToken()
	}
	if string(b[1:9]) != string(queryTag(text)) {
		return p, iot.Errorf(iot.ArgumentInvalid, "the continuation token belongs to another query: the text of the query must stay the same from page to page")
	}
	b = b[9:]
	var numbers [3]uint64
	for i := range numbers {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > 1<<62 {
			return p, errBadToken()
		}
		numbers[i], b = n, b[k:]
	}
	if numbers[2] > uint64(len(b)) || len(b) > 2*iot.MaxIDLen || strings.IndexByte(string(b), 0) >= 0 {
		return p, errBadToken()
	}
	p.seq, p.given = int64(numbers[0]), int(numbers[1])
	p.after = iot.ID{Device: string(b[:numbers[2]]), Module: string(b[numbers[2]:])}
	return p, nil
}
