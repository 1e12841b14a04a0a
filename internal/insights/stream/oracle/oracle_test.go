package oracle_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/exec"
	"dunlin/internal/insights/stream/oracle"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// The engine and the oracle must agree on random scripts and events. Each test
// makes scripts of one theme; -rapid.checks asks for more of them than the
// usual number, which is for a few seconds. A failure prints the script, the
// events and what the oracle says as a case for the files of package run, where
// batches do not matter.

func TestSelect(t *testing.T) { agree(t, theme{}, 0) }

func TestWindows(t *testing.T) { agree(t, theme{windows: true}, 0) }

func TestJoins(t *testing.T) { agree(t, theme{joins: true}, 0) }

func TestAnalytics(t *testing.T) { agree(t, theme{analytics: true}, 0) }

func TestAll(t *testing.T) { agree(t, theme{windows: true, joins: true, analytics: true}, 0) }

func TestSubstreams(t *testing.T) {
	agree(t, theme{windows: true, analytics: true, substreams: true}, 0)
}

// usualChecks is the number of scripts of a theme in a usual run.
const usualChecks = 300

// agree compares on scripts of a theme. No more than mayMiss of a hundred
// scripts may use what the engine does not have yet.
func agree(t *testing.T, th theme, mayMiss int) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", fmt.Sprint(usualChecks)); err != nil {
			t.Fatal(err)
		}
		defer flag.Set("rapid.checks", f.DefValue)
	}
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		t.Fatal(err)
	}
	var tally struct{ all, refused, missing, failing, rows int }
	why := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := &writer{T: t, theme: th}
		tr := &trial{query: w.script(), policy: w.policy(), events: w.events(), table: w.versions()}
		for range tr.events {
			tr.pace = append(tr.pace, pick(w, on, on, flush, rest))
		}
		tally.all++
		switch rows, err := tr.compare(); {
		case errors.Is(err, errRefused):
			tally.refused++
			why[err.Error()]++
		case errors.Is(err, errMissing):
			tally.missing++
			why[err.Error()]++
		case err != nil:
			t.Fatalf("%v\n%s\n%s", err, tr.query, tr.line())
		case rows < 0:
			tally.failing++
		default:
			tally.rows += rows
		}
	})
	t.Logf("%d scripts, %d refused, %d with features that the engine does not have, %d fail at run time in both, %d rows", tally.all, tally.refused, tally.missing, tally.failing, tally.rows)
	for text, n := range why {
		t.Logf("%d times %s", n, text)
	}
	const mayRefuse = 15
	if tally.refused*100 > tally.all*mayRefuse {
		t.Errorf("%d of %d scripts have types that do not fit", tally.refused, tally.all)
	}
	if tally.missing*100 > tally.all*mayMiss {
		t.Errorf("%d of %d scripts were not compared", tally.missing, tally.all)
	}
}

// trial is a script with events.
type trial struct {
	query  string
	policy clock.Policy
	events []oracle.Event
	pace   []pace // behind each event
	table  []oracle.Version
	want   []oracle.Row
	failed bool
}

var (
	errMissing = errors.New("not in the engine")
	errRefused = errors.New("refused by the binder")
)

var catalog = asa.Catalog{Streams: []string{"i", "j"}, References: []string{"ref"}}

// compare gives the number of rows, -1 when both fail.
func (tr *trial) compare() (rows int, err error) {
	script, _, err := asa.Parse(tr.query)
	if err != nil {
		return 0, fmt.Errorf("the generator writes what cannot be read: %w", err)
	}
	plan, _, err := asa.Bind(script, tr.query, catalog)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errRefused, err)
	}
	want, failure := oracle.Run(plan, tr.policy, tr.events, map[string][]oracle.Version{"ref": tr.table})
	if errors.Is(failure, oracle.ErrUnsupported) {
		return 0, failure
	}
	tr.want, tr.failed = want, failure != nil
	have, err := tr.engine(plan)
	var runtime *scalar.Error
	switch {
	case errors.Is(err, errMissing):
		return 0, err
	case (err != nil) != (failure != nil):
		return 0, fmt.Errorf("only one of both fails: the engine with %w, the oracle with %w", orNothing(err), orNothing(failure))
	case err != nil && !errors.As(err, &runtime):
		return 0, fmt.Errorf("the engine fails with something else: %w", err)
	}
	if err != nil {
		return -1, nil //nolint:nilerr // both fail, as they should
	}
	if err := inOrder(plan, have); err != nil && !strings.Contains(tr.query, " OVER k") && !strings.Contains(tr.query, " OVER a.k") {
		return 0, err
	}
	return len(want), difference(have, want)
}

// engine runs the plan: events go in by the batches of the trial, and sometimes
// it is said that nothing has come since the last, which must not matter.
func (tr *trial) engine(p *asa.Plan) (rows []oracle.Row, err error) {
	var table []exec.Version
	for _, v := range tr.table {
		table = append(table, exec.Version{From: v.From, Rows: v.Rows})
	}
	job, err := exec.New(p, exec.Options{Policy: tr.policy, Reference: map[string][]exec.Version{"ref": table}, Output: func(output string, names []string, b *batch.Batch) error {
		for i, t := range b.Time {
			v := b.Cols[0].At(i)
			if names != nil {
				tree := new(value.Tree)
				for c, n := range names {
					tree.Put(n, b.Cols[c].At(i))
				}
				v = value.RecordOf(tree)
			}
			rows = append(rows, oracle.Row{Output: output, Time: t, Value: v})
		}
		return nil
	}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	for i, e := range tr.events {
		in := job.Input(e.Input)
		if in == nil {
			continue
		}
		_ = in.Event(e.JSON, e.Arrival, e.Metadata) // what cannot be read is left out
		switch tr.pace[i] {
		case on:
		case flush:
			err = in.Flush()
		case rest:
			for _, in := range job.Inputs() {
				if err = in.Flush(); err == nil {
					err = in.Quiet(e.Arrival)
				}
				if err != nil {
					break
				}
			}
		}
		if err != nil {
			return rows, err
		}
	}
	return rows, job.End()
}

// pace is what happens behind an event.
type pace int

const (
	on    pace = iota // the next comes in the same batch
	flush             // the batch ends
	rest              // nothing comes for a while, on any input
)

// inOrder checks that rows of an output which a single SELECT gives come in the
// order of time.
func inOrder(p *asa.Plan, rows []oracle.Row) error {
	last := map[string]int64{}
	for _, o := range p.Outputs {
		if len(o.From) == 1 {
			last[o.Name] = 0
		}
	}
	for _, r := range rows {
		before, ok := last[r.Output]
		if ok && r.Time < before {
			return fmt.Errorf("the engine gives a row of %s behind one of a later time", show(r))
		}
		if ok {
			last[r.Output] = r.Time
		}
	}
	return nil
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("nothing")
	}
	return err
}

// difference compares rows as multisets.
func difference(have, want []oracle.Row) error {
	have = slices.Clone(have)
	for _, w := range want {
		i := slices.IndexFunc(have, func(h oracle.Row) bool {
			return h.Time == w.Time && strings.EqualFold(h.Output, w.Output) && same(h.Value, w.Value)
		})
		if i < 0 {
			return fmt.Errorf("the engine lacks %s, and has besides:%s", show(w), showAll(have))
		}
		have = slices.Delete(have, i, i+1)
	}
	if len(have) > 0 {
		return fmt.Errorf("the engine has besides:%s", showAll(have))
	}
	return nil
}

func show(r oracle.Row) string {
	return r.Output + " at " + string(value.AppendTime(nil, r.Time)) + " " + scalar.Show(r.Value)
}

func showAll(rows []oracle.Row) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString("\n  " + show(r))
	}
	return b.String()
}

// same compares values: numbers up to rounding, arrays without their order, as
// that of Collect is open, and members that are missing as null.
func same(a, b value.Value) bool {
	switch {
	case a.Kind().Numeric() && b.Kind().Numeric():
		x, y := a.AsFloat(), b.AsFloat()
		return x == y || math.Abs(x-y) <= 1e-9*max(1, math.Abs(x), math.Abs(y)) || x != x && y != y
	case a.Kind() != b.Kind():
		return false
	case a.Kind() == value.Array:
		left := slices.Clone(a.Tree().Values)
		for _, w := range b.Tree().Values {
			i := slices.IndexFunc(left, func(h value.Value) bool { return same(h, w) })
			if i < 0 {
				return false
			}
			left = slices.Delete(left, i, i+1)
		}
		return len(left) == 0
	case a.Kind() == value.Record:
		return covers(a, b) && covers(b, a)
	}
	return string(value.AppendJSON(nil, a)) == string(value.AppendJSON(nil, b))
}

func covers(a, b value.Value) bool {
	t := b.Tree()
	for i, n := range t.Names {
		if !t.Values[i].IsNull() && !same(exactly(a, n), t.Values[i]) {
			return false
		}
	}
	return true
}

func exactly(v value.Value, name string) value.Value {
	t := v.Tree()
	if i := slices.Index(t.Names, name); i >= 0 {
		return t.Values[i]
	}
	return value.Value{}
}

func (w *writer) policy() clock.Policy {
	p := clock.Default()
	p.OutOfOrder = pick[int64](w, 0, 2, 10) * value.Second
	p.Late = pick[int64](w, 5, 0, 60, -1) * value.Second
	p.Early = pick[int64](w, 300, 1, -1) * value.Second
	p.Drop = w.chance(40)
	if p.Late < 0 {
		p.Late = -1
	}
	if p.Early < 0 {
		p.Early = -1
	}
	return p
}

// epoch is when events begin to arrive.
const epoch = 63839664000 * value.Second // 2024-01-01

// events makes events of both inputs, in the order of their arrival; what
// arrives at the same time is in the order of the inputs.
func (w *writer) events() (all []oracle.Event) {
	for _, input := range []string{"i", "j"} {
		at := int64(epoch)
		for range w.int(0, 5) + w.int(0, 20) {
			at += int64(pick(w, 0, 1, 1, 2, 3, 8)) * value.Second / 2
			all = append(all, oracle.Event{Input: input, JSON: w.payload(at), Arrival: at})
		}
	}
	slices.SortStableFunc(all, func(a, b oracle.Event) int { return cmp.Compare(a.Arrival, b.Arrival) })
	return all
}

// versions makes the reference data: one version is there from the beginning.
func (w *writer) versions() (list []oracle.Version) {
	from := int64(epoch - value.Hour)
	for range w.int(1, 3) {
		v := oracle.Version{From: from}
		for range w.int(0, 5) {
			t := new(value.Tree)
			t.Put("k", pick(w, value.String("a"), value.String("b"), value.String("A"), value.Value{}))
			t.Put("n", pick(w, value.Int(1), value.Number(2), value.Int(3), value.Number(0.5), value.Value{}))
			t.Put("m", pick(w, value.Int(1), value.String("a"), value.Bool(true), value.Value{}))
			v.Rows = append(v.Rows, value.RecordOf(t))
		}
		list = append(list, v)
		from = max(from, epoch) + int64(w.int(1, 6))*value.Second/2
	}
	return list
}

// payload makes an event that arrives at a time.
func (w *writer) payload(at int64) string {
	if w.chance(2) {
		return pick(w, "[]", "7", `{"n":99999999999999999999}`, `{"k":`, "")
	}
	et := at - int64(pick(w, 0, 0, 0, 1, 2, 4, 7, 10, 30, -1, -2, -4))*value.Second/2
	if w.chance(15) {
		et += int64(pick(w, 1, -1)) // a tick off what others are at
	}
	var members []string
	member := func(name string, values ...string) {
		if w.chance(15) {
			return
		}
		members = append(members, `"`+name+`":`+pick(w, values...))
	}
	if w.chance(1) {
		member("t", `"soon"`, "5", "null", `"2024-01-01"`)
	} else {
		members = append(members, `"t":"`+string(value.AppendTime(nil, et))+`"`)
	}
	member("k", `"a"`, `"b"`, `"a"`, `"b"`, `"A"`, "null")
	member("n", "1", "2", "3", "0", "-2", "17", "null")
	member("x", "0.5", "1.25", "2.0", "-3.75", "0.0", "100.5", "null")
	member("s", `""`, `"a"`, `"ab"`, `"B"`, `" b "`, `"12"`, "null")
	member("b", "true", "false", "null")
	scalars := []string{"1", "0.5", `"a"`, `"12"`, "true", "null", `"2024-01-01T00:00:03Z"`, "-2"}
	member("m", append(scalars, `{"a":1}`, `[1,2]`)...)
	member("l", "[]", "[1]", `[1,"a",null]`, `[{"a":1},{"a":2}]`, "null", `[[1,2],3]`)
	member("r", `{"a":1}`, `{"a":"x","c":{"d":2.5}}`, `{"A":2,"c":[]}`, "null", "{}", `{"c":{"D":null}}`)
	return "{" + strings.Join(members, ",") + "}"
}

// line writes the trial as a case.
func (tr *trial) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"name":"","query":%s`, quote(strings.ReplaceAll(tr.query, "\n", " ")))
	p := tr.policy
	fmt.Fprintf(&b, `,"settings":{"late_arrival_s":%s,"out_of_order_s":%s,"early_arrival_s":%s,"policy":%s}`,
		seconds(p.Late), seconds(p.OutOfOrder), seconds(p.Early), map[bool]string{true: `"Drop"`, false: `"Adjust"`}[p.Drop])
	b.WriteString(`,"inputs":{`)
	for n, input := range []string{"i", "j"} {
		if n > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "%q:[", input)
		first := true
		for _, e := range tr.events {
			if e.Input != input {
				continue
			}
			if !first {
				b.WriteString(",")
			}
			first = false
			fmt.Fprintf(&b, `{"arrival":"%s","payload":%s}`, value.AppendTime(nil, e.Arrival), e.JSON)
		}
		b.WriteString("]")
	}
	fmt.Fprintf(&b, `},"reference":{"ref":%s},"expected":{`, scalar.Show(value.ArrayOf(tr.table[0].Rows)))
	if tr.failed {
		return b.String() + `"error":{"phase":"runtime"}}}`
	}
	var outputs []string
	for _, r := range tr.want {
		if !slices.Contains(outputs, r.Output) {
			outputs = append(outputs, r.Output)
		}
	}
	for n, o := range outputs {
		if n > 0 {
			b.WriteString(",")
		}
		var rows []string
		for _, r := range tr.want {
			if r.Output == o {
				rows = append(rows, scalar.Show(r.Value))
			}
		}
		fmt.Fprintf(&b, "%q:[%s]", o, strings.Join(rows, ","))
	}
	return b.String() + "}}"
}

func seconds(ticks int64) string {
	if ticks < 0 {
		return "-1"
	}
	return fmt.Sprint(float64(ticks) / value.Second)
}

func quote(s string) string { return string(value.AppendJSON(nil, value.String(s))) }
