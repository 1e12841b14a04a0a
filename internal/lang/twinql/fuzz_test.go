package twinql_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"dunlin/internal/lang/twinql"
)

// roundTrip checks that the printed query is the same query.
func roundTrip(t *testing.T, q *twinql.Query) {
	t.Helper()
	text := q.String()
	if utf8.RuneCountInString(text) > twinql.MaxLength {
		return // brackets may make it longer than what was read
	}
	again, err := twinql.Parse(text)
	if err != nil {
		t.Fatalf("what was printed cannot be read: %v\n%s", err, text)
	}
	if again.String() != text {
		t.Fatalf("printed  %s\nand then %s", text, again)
	}
	if !twinql.SameQuery(q, again) {
		t.Fatalf("%s is read as another query than it was printed from", text)
	}
}

func seeds(f *testing.F, kinds ...string) {
	f.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			for _, kind := range kinds {
				if input, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), kind+" "); ok {
					f.Add(input)
				}
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds(f, "query", "bind")
	f.Fuzz(func(t *testing.T, text string) {
		q, err := twinql.Parse(text)
		checkError(t, text, err)
		if err != nil {
			return
		}
		roundTrip(t, q)
		q, _ = twinql.Parse(text)
		if _, err := twinql.Bind(q, text); err != nil {
			checkError(t, text, err)
			return
		}
		roundTrip(t, q)
	})
}

func FuzzCondition(f *testing.F) {
	seeds(f, "cond")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := twinql.ParseCondition(text)
		checkError(t, text, err)
		if err != nil {
			return
		}
		roundTrip(t, &twinql.Query{Star: true, Where: e})
		if k := twinql.Eval(e, nowhere{}).Kind; k > twinql.Text {
			t.Fatalf("%s gives a %s", text, k)
		}
	})
}

type nowhere struct{}

func (nowhere) Lookup(*twinql.Path) twinql.Value { return twinql.Value{} }

func checkError(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var e *twinql.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *twinql.Error", err)
	}
	if e.Message == "" || e.Offset < 0 || e.Offset > len(text) || e.Column < 1 || len(e.Message) > 400 || !utf8.ValidString(e.Error()) {
		t.Fatalf("bad error %+v", e)
	}
}
