package compattest

import (
	"strings"
	"testing"
	"testing/fstest"
)

// tree is a small module with tests.
func tree() fstest.MapFS {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	return fstest.MapFS{
		"api/a_test.go":                       file("package api\nfunc TestA(t *testing.T) {}\nfunc TestBoth(t *testing.T) {}\nfunc (s) TestMethod() {}\nfunc helper() {}"),
		"door/b_test.go":                      file("package door\nfunc TestBoth(t *testing.T) {}\nfunc TestTwice(t *testing.T) {}"),
		"other/b_test.go":                     file("package other\nfunc TestTwice(t *testing.T) {}"),
		"test/conformance/rows_test.go":       file("package conformance\nfunc TestNode(t *testing.T) { table(t, \"s.js\") }"),
		"test/conformance/node/s.js":          file("run(() => rows({\n  'it\\'s a row, of two': async () => {\n  },\n  \"other\": async () => {},\n  helper: async () => {},\n}));"),
		"test/conformance/node/t.js":          file("rows({\n  'elsewhere': async () => {},\n"),
		"x/testdata/c_test.go":                file("no Go"),
		"test/conformance/node_modules/d.txt": file(""),
	}
}

func TestRender(t *testing.T) {
	found, err := FindTests(tree())
	if err != nil {
		t.Fatal(err)
	}
	p := Page{Title: "T", About: "About.", Columns: []string{"a", "b"}, Rows: []Row{
		{Cells: []string{"1", "2"}, Tests: "TestA|TestBoth|TestNode/it's a row, of two"},
		{Cells: []string{"3", "4"}, Missing: true},
	}}
	text, problems := p.Render("api", found)
	if len(problems) > 0 {
		t.Error(problems)
	}
	for _, want := range []string{
		"# T\n", "| a | b | status | verified by |\n| --- | --- | --- | --- |\n",
		"| 1 | 2 | available | [TestA](../../api/a_test.go), [TestBoth](../../api/a_test.go), [TestNode](../../test/conformance/node/s.js): it's a row, of two |\n",
		"| 3 | 4 | not part of this version | unverified |\n", "2 rows, 1 of them unverified.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestRenderProblems(t *testing.T) {
	found, err := FindTests(tree())
	if err != nil {
		t.Fatal(err)
	}
	for tests, want := range map[string]string{
		"TestB": "no test TestB", "TestTwice": "several", "TestMethod": "no test", "TestNode/no such row": "no row", "TestNode/elsewhere": "no row",
		"TestA/other": "no row", "TestNode/helper": "no row", "TestA|": "no test", "helper": "no test",
	} {
		p := Page{Columns: []string{"a"}, Rows: []Row{{Cells: []string{"1"}, Tests: tests}}}
		if _, problems := p.Render("api", found); len(problems) != 1 || !strings.Contains(problems[0], want) {
			t.Errorf("%s: %q, want %q", tests, problems, want)
		}
	}
	p := Page{Columns: []string{"a"}, Rows: []Row{{Cells: []string{"1", "2"}}}}
	if _, problems := p.Render("api", found); len(problems) != 1 {
		t.Errorf("a row with too many cells: %q", problems)
	}
}
