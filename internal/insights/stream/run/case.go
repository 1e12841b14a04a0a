package run

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/exec"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// Case is a query with events and what must come of them.
type Case struct {
	Name      string
	script    Script
	events    []Event
	expected  value.Value // outputs and their rows
	phase     string      // of the error that is expected; empty: none
	match     string      // exact, prefix, contains
	ordered   bool
	tolerance float64
	broken    error // of its functions: the query cannot run
}

// ReadCase reads a case: a JSON object with the members name, query, inputs,
// reference, expected, settings, functions, match, ordered and tolerance.
// Others are for people.
func ReadCase(json string) (*Case, error) {
	v, err := value.FromJSON(json)
	if err != nil {
		return nil, err
	}
	if v.Kind() != value.Record {
		return nil, errors.New("a case is a JSON object")
	}
	get := func(name string) value.Value { return scalar.Member(v, name) }
	c := &Case{Name: scalar.ToText(get("name")), match: "exact", tolerance: 1e-9}
	c.script.Query = scalar.ToText(get("query"))
	if c.script.Query == "" {
		return nil, errors.New("the case has no query")
	}
	if m := scalar.ToText(get("match")); m != "" {
		c.match = m
	}
	if !slices.Contains([]string{"exact", "prefix", "contains"}, c.match) {
		return nil, fmt.Errorf("match: exact, prefix or contains, not '%s'", c.match)
	}
	c.ordered = get("ordered").Kind() == value.Bit && get("ordered").Bool()
	if t := get("tolerance"); t.Kind().Numeric() {
		c.tolerance = t.AsFloat()
	}
	if err := c.settings(get("settings")); err != nil {
		return nil, err
	}
	if err := c.inputs(get("inputs"), get("reference")); err != nil {
		return nil, err
	}
	if err := c.functions(get("functions")); err != nil {
		return nil, err
	}
	c.expected = get("expected")
	if e := scalar.Member(c.expected, "error"); e.Kind() == value.Record {
		c.phase = scalar.ToText(scalar.Member(e, "phase"))
		if c.phase == "" {
			c.phase = "compile"
		}
	}
	return c, nil
}

func (c *Case) settings(s value.Value) error {
	p := clock.Default()
	seconds := func(name string, to *int64) {
		if v := scalar.Member(s, name); v.Kind().Numeric() {
			*to = int64(v.AsFloat() * value.Second)
			if v.AsFloat() < 0 {
				*to = -1
			}
		}
	}
	seconds("late_arrival_s", &p.Late)
	seconds("out_of_order_s", &p.OutOfOrder)
	seconds("early_arrival_s", &p.Early)
	if s.Kind() == value.Record && s.Tree().Has("early_arrival_s") && scalar.Member(s, "early_arrival_s").IsNull() {
		p.Early = -1
	}
	switch policy := scalar.ToText(scalar.Member(s, "policy")); strings.ToLower(policy) {
	case "", "adjust":
	case "drop":
		p.Drop = true
	default:
		return fmt.Errorf("policy: Adjust or Drop, not '%s'", policy)
	}
	c.script.Policy = p
	switch level := scalar.ToText(scalar.Member(s, "compatibility_level")); level {
	case "", "1.2":
	case "1.1":
		c.script.Catalog.Level = 11
	case "1", "1.0":
		c.script.Catalog.Level = 10
	default:
		return fmt.Errorf("compatibility_level: 1.0, 1.1 or 1.2, not '%s'", level)
	}
	return nil
}

func (c *Case) inputs(inputs, reference value.Value) error {
	cat := &c.script.Catalog
	cat.Streams, cat.References = []string{}, []string{}
	if reference.Kind() == value.Record {
		c.script.Reference = map[string][]exec.Version{}
		t := reference.Tree()
		for i, name := range t.Names {
			if t.Values[i].Kind() != value.Array {
				return fmt.Errorf("reference: '%s' is no array of rows", name)
			}
			cat.References = append(cat.References, name)
			c.script.Reference[name] = []exec.Version{{From: math.MinInt64, Rows: t.Values[i].Tree().Values}}
		}
	}
	if inputs.Kind() != value.Record {
		return errors.New("inputs: an object with an array of events for each input")
	}
	t := inputs.Tree()
	for i, name := range t.Names {
		cat.Streams = append(cat.Streams, name)
		if t.Values[i].Kind() != value.Array {
			return fmt.Errorf("inputs: '%s' is no array of events", name)
		}
		for n, e := range t.Values[i].Tree().Values {
			ev, err := readEvent(name, e)
			if err != nil {
				return fmt.Errorf("inputs: event %d of '%s': %w", n+1, name, err)
			}
			c.events = append(c.events, ev)
		}
	}
	return nil
}

func readEvent(input string, v value.Value) (Event, error) {
	ev := Event{Input: input, Metadata: scalar.Member(v, "metadata")}
	payload := scalar.Member(v, "payload")
	at := scalar.Member(v, "arrival")
	if at.IsNull() {
		at = scalar.Member(v, "time")
	}
	t, err := scalar.ToTime(at)
	if err != nil || t.IsNull() {
		return ev, errors.New("it needs a time, in ISO 8601")
	}
	ev.Arrival = t.Ticks()
	ev.JSON = string(value.AppendJSON(nil, payload))
	return ev, nil
}

// The phases in which a query can fail.
const (
	phaseCompile = "compile"
	phaseRun     = "runtime"
)

// Verify runs the case; an error says why it does not pass.
func (c *Case) Verify() error {
	rows := map[string][]value.Value{}
	var outputs []string
	emit := func(r Row) error {
		key := strings.ToLower(r.Output)
		if _, ok := rows[key]; !ok {
			outputs = append(outputs, r.Output)
		}
		rows[key] = append(rows[key], r.Value)
		return nil
	}
	err := c.broken
	if err == nil {
		_, err = All(c.script, slices.Clone(c.events), emit)
	}
	if c.phase != "" {
		return c.failed(err)
	}
	if err != nil {
		return fmt.Errorf("the query failed: %w", err)
	}
	if c.expected.Kind() != value.Record {
		return errors.New("the case has nothing that is expected")
	}
	t := c.expected.Tree()
	for i, name := range t.Names {
		if t.Values[i].Kind() != value.Array {
			return fmt.Errorf("expected: '%s' is no array of rows", name)
		}
		if err := c.compare(rows[strings.ToLower(name)], t.Values[i].Tree().Values); err != nil {
			return fmt.Errorf("output '%s': %w", name, err)
		}
	}
	for _, o := range outputs {
		if !slices.ContainsFunc(t.Names, func(n string) bool { return strings.EqualFold(n, o) }) && c.match == "exact" {
			return fmt.Errorf("output '%s': %d rows, none are expected", o, len(rows[strings.ToLower(o)]))
		}
	}
	return nil
}

func (c *Case) failed(err error) error {
	var compile *CompileError
	switch {
	case err == nil:
		return fmt.Errorf("an error at %s is expected, but the query ran", c.phase)
	case errors.As(err, &compile) != strings.HasPrefix(strings.ToLower(c.phase), phaseCompile):
		return fmt.Errorf("an error at %s is expected, not: %w", c.phase, err)
	}
	return nil
}

func (c *Case) compare(have, want []value.Value) error {
	if c.match == "exact" && len(have) != len(want) || len(have) < len(want) {
		return fmt.Errorf("%d rows, %d are expected: have %s, want %s", len(have), len(want), rowsText(have), rowsText(want))
	}
	if c.match == "prefix" {
		have = have[:len(want)]
	}
	if c.ordered || c.match == "prefix" {
		for i := range want {
			if !c.same(have[i], want[i]) {
				return fmt.Errorf("row %d is %s, want %s", i+1, scalar.Show(have[i]), scalar.Show(want[i]))
			}
		}
		return nil
	}
	if missing := c.unmatched(have, want); missing >= 0 {
		return fmt.Errorf("there is no row %s: have %s", scalar.Show(want[missing]), rowsText(have))
	}
	return nil
}

// unmatched finds an element of want that has no partner of its own in have;
// -1 when all have one.
func (c *Case) unmatched(have, want []value.Value) int {
	taken := make([]bool, len(have))
	for i, w := range want {
		found := false
		for j, h := range have {
			if !taken[j] && c.same(h, w) {
				taken[j], found = true, true
				break
			}
		}
		if !found {
			return i
		}
	}
	return -1
}

func rowsText(rows []value.Value) string {
	const most = 20
	var parts []string
	for _, r := range rows[:min(len(rows), most)] {
		parts = append(parts, scalar.Show(r))
	}
	if len(rows) > most {
		parts = append(parts, fmt.Sprintf("and %d more", len(rows)-most))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

// same compares a value that came out with one that is expected: numbers as
// numbers, times as instants, a member that is missing as null, and arrays
// also when they are in another order, as nothing says in which order events
// are collected.
func (c *Case) same(have, want value.Value) bool {
	switch want.Kind() {
	case value.Null:
		return have.IsNull()
	case value.Bigint, value.Float:
		if have.Kind() == value.Bit {
			return want.AsFloat() == 1 && have.Bool() || want.AsFloat() == 0 && !have.Bool()
		}
		return have.Kind().Numeric() && c.near(have.AsFloat(), want.AsFloat())
	case value.Bit:
		if have.Kind().Numeric() {
			return have.AsFloat() == 1 && want.Bool() || have.AsFloat() == 0 && !want.Bool()
		}
		return have.Kind() == value.Bit && have.Bool() == want.Bool()
	case value.Text:
		return sameText(have, want)
	case value.Array:
		return have.Kind() == value.Array && c.sameArray(have.Tree().Values, want.Tree().Values)
	case value.Record:
		return have.Kind() == value.Record && c.sameRecord(have, want)
	case value.Datetime:
	}
	return false
}

func (c *Case) near(a, b float64) bool {
	return a == b || math.Abs(a-b) <= c.tolerance*math.Max(1, math.Max(math.Abs(a), math.Abs(b)))
}

func sameText(have, want value.Value) bool {
	if have.Kind() == value.Text && have.Text() == want.Text() {
		return true
	}
	if have.Kind() != value.Text && have.Kind() != value.Datetime {
		return false
	}
	a, err1 := scalar.ToTime(have)
	b, err2 := scalar.ToTime(want)
	return err1 == nil && err2 == nil && a.Ticks() == b.Ticks()
}

func (c *Case) sameArray(have, want []value.Value) bool {
	return len(have) == len(want) && c.unmatched(have, want) < 0
}

func (c *Case) sameRecord(have, want value.Value) bool {
	h, w := have.Tree(), want.Tree()
	for i, n := range w.Names {
		if !c.same(scalar.Member(have, n), w.Values[i]) {
			return false
		}
	}
	for i, n := range h.Names {
		if !h.Values[i].IsNull() && scalar.Member(want, n).IsNull() {
			return false
		}
	}
	return true
}
