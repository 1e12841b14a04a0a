package compattest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Tests are the tests of a tree.
type Tests struct {
	files map[string][]string            // of each function, where it is
	rows  map[string]map[string][]string // of each function, the rows of its scripts and which they are in
}

// scripts is where the scripts of conformance tests are, which name the rows.
const scripts = "test/conformance/node"

// FindTests looks for test functions in all files of a module, and for the
// rows of the scripts that they run.
func FindTests(fsys fs.FS) (*Tests, error) {
	found := &Tests{files: map[string][]string{}, rows: map[string]map[string][]string{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := path.Base(name); name != "." && (base == "testdata" || base == "node_modules" || base[0] == '.') {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return found.add(fsys, name, src)
	})
	return found, err
}

func (f *Tests) add(fsys fs.FS, name string, src []byte) error {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !isTest(fn.Name.Name) {
			continue
		}
		f.files[fn.Name.Name] = append(f.files[fn.Name.Name], name)
		rows := map[string][]string{}
		ast.Inspect(fn, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(lit.Value)
			if err != nil || !strings.HasSuffix(text, ".js") {
				return true
			}
			script := scripts + "/" + text
			if src, err := fs.ReadFile(fsys, script); err == nil {
				for _, row := range scriptRows(src) {
					rows[row] = append(rows[row], script)
				}
			}
			return true
		})
		if len(rows) > 0 {
			f.rows[fn.Name.Name] = rows
		}
	}
	return nil
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")
}

// rowKey is a row of a script: a member whose value is an async function.
var rowKey = regexp.MustCompile(`(?m)^\s+('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"): async `)

func scriptRows(src []byte) []string {
	var rows []string
	for _, m := range rowKey.FindAllSubmatch(src, -1) {
		key := string(m[1][1 : len(m[1])-1])
		rows = append(rows, strings.NewReplacer(`\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(key))
	}
	return rows
}

// file finds the file of a test, seen from the table in dir.
func (f *Tests) file(dir, name string) (string, error) {
	test, row, isRow := strings.Cut(name, "/")
	files := f.files[test]
	if isRow {
		in := f.rows[test][row]
		if len(in) == 0 {
			return "", fmt.Errorf("there is no row %q in the scripts of %s", row, test)
		}
		return in[0], nil
	}
	if i := slices.IndexFunc(files, func(file string) bool { return path.Dir(file) == dir }); i >= 0 {
		return files[i], nil
	}
	switch len(files) {
	case 0:
		return "", fmt.Errorf("there is no test %s", test)
	case 1:
		return files[0], nil
	}
	return "", fmt.Errorf("%s is the name of several tests: %s", test, strings.Join(files, ", "))
}
