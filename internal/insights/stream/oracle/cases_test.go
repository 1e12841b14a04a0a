package oracle_test

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/oracle"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// TestCases holds the oracle to the cases that the engine is held to: those of
// the language come from its definition, not from either of both.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("../run/testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no files of cases", err)
	}
	ran := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for n := 1; lines.Scan(); n++ {
			line := strings.TrimSpace(lines.Text())
			if line == "" || strings.HasPrefix(line, "//") {
				continue
			}
			err := caseLine(line)
			if errors.Is(err, oracle.ErrUnsupported) {
				continue
			}
			if err != nil {
				t.Errorf("%s line %d: %v", filepath.Base(name), n, err)
			}
			ran++
		}
		if lines.Err() != nil {
			t.Error(lines.Err())
		}
	}
	t.Logf("%d cases", ran)
	if ran < 20 {
		t.Errorf("only %d cases were of any use", ran)
	}
}

// caseLine runs one case; those that expect a part of the rows only, or user
// functions or less precision, are left out as unsupported.
func caseLine(line string) error {
	v, err := value.FromJSON(line)
	if err != nil {
		return err
	}
	get := func(path ...string) value.Value {
		v := v
		for _, p := range path {
			v = scalar.Member(v, p)
		}
		return v
	}
	if m := get("match"); m.Kind() == value.Text && m.Text() != "exact" || !get("functions").IsNull() || !get("tolerance").IsNull() || !get("settings", "compatibility_level").IsNull() {
		return oracle.ErrUnsupported
	}
	policy := clock.Default()
	for name, to := range map[string]*int64{"late_arrival_s": &policy.Late, "out_of_order_s": &policy.OutOfOrder, "early_arrival_s": &policy.Early} {
		if n := get("settings", name); n.Kind().Numeric() {
			*to = int64(n.AsFloat() * value.Second)
		}
	}
	if get("settings").Kind() == value.Record && get("settings").Tree().Has("early_arrival_s") && get("settings", "early_arrival_s").IsNull() {
		policy.Early = -1
	}
	policy.Drop = strings.EqualFold(scalar.ToText(get("settings", "policy")), "drop")
	catalog := asa.Catalog{Streams: []string{}, References: []string{}}
	reference := map[string][]oracle.Version{}
	if r := get("reference"); r.Kind() == value.Record {
		for i, name := range r.Tree().Names {
			catalog.References = append(catalog.References, name)
			reference[strings.ToLower(name)] = []oracle.Version{{Rows: r.Tree().Values[i].Tree().Values}}
		}
	}
	var events []oracle.Event
	inputs := get("inputs").Tree()
	for i, name := range inputs.Names {
		catalog.Streams = append(catalog.Streams, name)
		for _, e := range inputs.Values[i].Tree().Values {
			at := scalar.Member(e, "arrival")
			if at.IsNull() {
				at = scalar.Member(e, "time")
			}
			t, err := scalar.ToTime(at)
			if err != nil {
				return err
			}
			events = append(events, oracle.Event{
				Input: name, JSON: scalar.Show(scalar.Member(e, "payload")), Arrival: t.Ticks(), Metadata: scalar.Member(e, "metadata"),
			})
		}
	}
	slices.SortStableFunc(events, func(a, b oracle.Event) int { return cmp.Compare(a.Arrival, b.Arrival) })
	query := get("query").Text()
	rows, phase, err := evaluate(query, catalog, policy, events, reference)
	if errors.Is(err, oracle.ErrUnsupported) {
		return err
	}
	if want := get("expected", "error", "phase"); want.Kind() == value.Text {
		if want.Text() == "compile" && phase == "" {
			return oracle.ErrUnsupported // it is refused where plans are wired
		}
		if want.Text() != phase {
			return fmt.Errorf("%s: error at '%s' is expected, not at '%s': %w", get("name").Text(), want.Text(), phase, orNothing(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", get("name").Text(), err)
	}
	return expect(get("name").Text(), rows, get("expected"))
}

// evaluate tells the phase in which the query fails.
func evaluate(query string, c asa.Catalog, p clock.Policy, events []oracle.Event, reference map[string][]oracle.Version) (rows []oracle.Row, phase string, err error) {
	script, _, err := asa.Parse(query)
	if err != nil {
		return nil, "compile", err
	}
	plan, _, err := asa.Bind(script, query, c)
	if err != nil {
		return nil, "compile", err
	}
	if rows, err = oracle.Run(plan, p, events, reference); err != nil {
		return nil, "runtime", err
	}
	return rows, "", nil
}

func expect(name string, rows []oracle.Row, expected value.Value) error {
	left := map[string][]value.Value{}
	for _, r := range rows {
		left[strings.ToLower(r.Output)] = append(left[strings.ToLower(r.Output)], r.Value)
	}
	t := expected.Tree()
	for i, output := range t.Names {
		have := left[strings.ToLower(output)]
		for _, w := range t.Values[i].Tree().Values {
			n := slices.IndexFunc(have, func(h value.Value) bool { return same(written(h), written(w)) })
			if n < 0 {
				return fmt.Errorf("%s: output '%s' lacks %s, has %v", name, output, scalar.Show(w), shows(have))
			}
			have = slices.Delete(have, n, n+1)
		}
		left[strings.ToLower(output)] = have
	}
	for output, have := range left {
		if len(have) > 0 {
			return fmt.Errorf("%s: output '%s' has besides %v", name, output, shows(have))
		}
	}
	return nil
}

func shows(rows []value.Value) (texts []string) {
	for _, r := range rows {
		texts = append(texts, scalar.Show(r))
	}
	return texts
}

// written gives a value as it stands in a case, where an instant is a text in
// one form or another.
func written(v value.Value) value.Value {
	switch v.Kind() {
	case value.Text, value.Datetime:
		if t, err := scalar.ToTime(v); err == nil {
			return value.Time(t.Ticks())
		}
	case value.Array:
		var list []value.Value
		for _, x := range v.Tree().Values {
			list = append(list, written(x))
		}
		return value.ArrayOf(list)
	case value.Record:
		from, to := v.Tree(), new(value.Tree)
		for i, n := range from.Names {
			to.Put(n, written(from.Values[i]))
		}
		return value.RecordOf(to)
	case value.Null, value.Bigint, value.Float, value.Bit:
	}
	return v
}
