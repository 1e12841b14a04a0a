// Package compattest makes the pages of docs/compat from the tables of
// operations in the code, and holds them to two promises: a page says what its
// table says, and every row names tests that are there. The tests of a surface
// call it with their table; `make compat` writes the pages.
package compattest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Page is one page, a table.
type Page struct {
	File    string // in docs/compat
	Title   string
	About   string   // a paragraph or more of Markdown
	Columns []string // of Row.Cells; status and tests follow
	Rows    []Row
}

// Row is one operation.
type Row struct {
	Cells   []string // Markdown
	Missing bool     // known, but not part of this build
	// Tests names what verifies the row: functions, or with a slash a subtest
	// of one that is a row of a conformance script, with "|" between them.
	// Empty means that nothing does.
	Tests string
}

var update = flag.Bool("update", false, "write the pages of docs/compat")

// Check fails t when a row of the page names a test that is not in the tree, or
// when the page in docs/compat is not this one. A name that several packages
// have means that of dir, the directory of the table below the module root.
func Check(t *testing.T, dir string, p *Page) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	found, err := FindTests(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	text, problems := p.Render(dir, found)
	for _, problem := range problems {
		t.Error(problem)
	}
	name := filepath.Join(root, "docs", "compat", p.File)
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != text {
		t.Errorf("docs/compat/%s is not what the table says: run `make compat`", p.File)
	}
}

// Render gives the text of the page, and what is wrong with its rows.
func (p *Page) Render(dir string, found *Tests) (text string, problems []string) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made by `make compat` from the table in %s: change that. -->\n\n%s\n\n", p.Title, dir, p.About)
	line := func(cells []string) { b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	head := append(append([]string{}, p.Columns...), "status", "verified by")
	line(head)
	for i := range head {
		head[i] = "---"
	}
	line(head)
	unverified := 0
	for _, r := range p.Rows {
		status := "available"
		if r.Missing {
			status = "not part of this version"
		}
		if len(r.Cells) != len(p.Columns) {
			problems = append(problems, fmt.Sprintf("the row %q has %d cells, not %d", r.Cells, len(r.Cells), len(p.Columns)))
		}
		verified := "unverified"
		if r.Tests == "" {
			unverified++
		} else {
			var links []string
			for name := range strings.SplitSeq(r.Tests, "|") {
				file, err := found.file(dir, name)
				if err != nil {
					problems = append(problems, fmt.Sprintf("the row %q: %v", r.Cells, err))
					continue
				}
				test, row, ok := strings.Cut(name, "/")
				if ok {
					row = ": " + row
				}
				links = append(links, "["+test+"](../../"+file+")"+row)
			}
			verified = strings.Join(links, ", ")
		}
		line(append(append([]string{}, r.Cells...), status, verified))
	}
	fmt.Fprintf(&b, "\n%d rows, %d of them unverified.\n", len(p.Rows), unverified)
	return b.String(), problems
}
