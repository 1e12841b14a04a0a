package twinql_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/internal/lang/twinql"
)

var rewrite = flag.Bool("rewrite", false, "write what the code answers into the scripts")

// TestScripts runs testdata/*.txt: blocks of an input line and what comes of
// it, "= text" as the printer writes it or "! error". Lines with # are remarks.
// The first word of an input says what it is: query, cond, bind, or eval with
// a document before the condition.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { script(t, file) })
	}
}

func script(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		out = append(out, line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		var want []string
		for i+1 < len(lines) && lines[i+1] != "" && strings.IndexByte("=!~", lines[i+1][0]) >= 0 {
			i++
			want = append(want, lines[i])
		}
		got := answer(t, line)
		if g, w := strings.Join(got, "\n"), strings.Join(want, "\n"); g != w && !*rewrite {
			t.Errorf("%s\n%s\ngives\n%s\nand not\n%s", file, line, g, w)
		}
		out = append(out, got...)
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func answer(t *testing.T, line string) []string {
	t.Helper()
	kind, input, _ := strings.Cut(line, " ")
	fail := func(err error) []string { return []string{"! " + err.Error()} }
	switch kind {
	case "query":
		q, err := twinql.Parse(input)
		if err != nil {
			return fail(err)
		}
		roundTrip(t, q)
		return []string{"= " + q.String()}
	case "cond":
		e, err := twinql.ParseCondition(input)
		if err != nil {
			return fail(err)
		}
		return []string{"= " + twinql.Print(e)}
	case "bind":
		q, err := twinql.Parse(input)
		if err != nil {
			return fail(err)
		}
		notes, err := twinql.Bind(q, input)
		if err != nil {
			return fail(err)
		}
		roundTrip(t, q)
		out := []string{"= " + q.String()}
		for _, n := range notes {
			out = append(out, "~ "+n.Error())
		}
		return out
	}
	if kind == "eval" {
		return evaluate(t, input)
	}
	t.Fatalf("what is %q?", kind)
	return nil
}

// evaluate answers "document :: expression".
func evaluate(t *testing.T, input string) []string {
	t.Helper()
	text, cond, _ := strings.Cut(input, " :: ")
	var doc plain
	if err := json.Unmarshal([]byte(text), &doc.root); err != nil {
		t.Fatal(err, input)
	}
	// Any expression can be compared, so that values can be shown too.
	e, err := twinql.ParseCondition(cond)
	if err != nil {
		return []string{"! " + err.Error()}
	}
	v := twinql.Eval(e, doc)
	if v.Kind > twinql.Text {
		return []string{"= an " + v.Kind.String()}
	}
	return []string{"= " + twinql.Print(&twinql.Literal{Value: v})}
}

// plain is a decoded document.
type plain struct{ root any }

func (d plain) Lookup(p *twinql.Path) twinql.Value {
	v := d.root
	for _, s := range p.Steps {
		switch at := v.(type) {
		case map[string]any:
			m, ok := at[s.Name]
			if !ok {
				return twinql.Value{}
			}
			v = m
		case []any:
			if s.Name != "" || s.Index >= len(at) {
				return twinql.Value{}
			}
			v = at[s.Index]
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
