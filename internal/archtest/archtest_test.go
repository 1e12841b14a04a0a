package archtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// TestHouse holds the tree of this module to the rules.
func TestHouse(t *testing.T) {
	t.Parallel()
	found, err := Check(os.DirFS("../.."), "dunlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// TestPlanted shows that each rule can fail: every archive in testdata is a
// small module, and its file "want" lists what Check must find in it.
func TestPlanted(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no planted modules: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for _, f := range a.Files {
				fsys[f.Name] = &fstest.MapFile{Data: f.Data}
			}
			want := strings.FieldsFunc(string(fsys["want"].Data), func(r rune) bool { return r == '\n' })
			got, err := Check(fsys, "dunlin")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestDependenciesAreDocumented: every module that may be imported stands in
// docs/dependencies.md.
func TestDependenciesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	for module := range homes {
		if !strings.Contains(string(text), "`"+module+"`") && !strings.Contains(string(text), "`"+module+"/") {
			t.Errorf("docs/dependencies.md does not tell of %s", module)
		}
	}
}
