package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Check parses every Go file of the module in fsys and answers what breaks the
// rules, one "file:line: text" each, sorted. module is the module's path.
// Directories that the go command does not build (testdata, names that begin
// with "." or "_", nested modules) and node_modules are left out.
func Check(fsys fs.FS, module string) ([]string, error) {
	c := &checker{module: module, docs: map[string]bool{}, first: map[string]string{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skip(fsys, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		return c.file(name, src)
	})
	if err != nil {
		return nil, err
	}
	for pkg, file := range c.first {
		if !c.docs[pkg] {
			c.report(file, 1, "package %s has no package comment: say what it owns", pkg)
		}
	}
	slices.Sort(c.found)
	return c.found, nil
}

func skip(fsys fs.FS, dir string) error {
	base := path.Base(dir)
	if dir == "." {
		return nil
	}
	if base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, dir+"/go.mod"); err == nil {
		return fs.SkipDir
	}
	return nil
}

type checker struct {
	module string
	found  []string
	docs   map[string]bool   // packages that have a package comment
	first  map[string]string // a non-test file of each package
}

func (c *checker) report(file string, line int, format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf("%s:%d: %s", file, line, fmt.Sprintf(format, args...)))
}

func (c *checker) file(name string, src []byte) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	line := func(p token.Pos) int { return fset.Position(p).Line }
	pkg := path.Dir(name)
	inTest := strings.HasSuffix(name, "_test.go") || isTestPackage(pkg)

	if !strings.HasSuffix(name, "_test.go") {
		c.docs[pkg] = c.docs[pkg] || f.Doc != nil
		if _, seen := c.first[pkg]; !seen {
			c.first[pkg] = name
		}
	}
	c.names(name, pkg, f, line(f.Package))
	if n := bytes.Count(src, []byte("\n")); n > maxLines && !ast.IsGenerated(f) {
		c.report(name, maxLines, "%d lines; more than %d is more than one subject", n, maxLines)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			c.report(name, line(fn.Pos()), "init(): wire it in a constructor, so that it can be followed")
		}
	}
	from, placed := roomOf(pkg)
	if !placed {
		c.report(name, line(f.Package), "package %s stands on no floor: place it in internal/archtest/rules.go", pkg)
		return nil
	}
	for _, spec := range f.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		if text := c.forbidden(pkg, from, inTest, p); text != "" {
			c.report(name, line(spec.Pos()), "%s", text)
		}
	}
	return nil
}

func (c *checker) names(file, pkg string, f *ast.File, line int) {
	base := path.Base(pkg)
	for elem := range strings.SplitSeq(pkg, "/") {
		if bannedNames[elem] {
			c.report(file, line, "a package named %q takes in everything: name it after its one purpose", elem)
		}
	}
	name := strings.TrimSuffix(f.Name.Name, "_test")
	if name != base && name != "main" {
		c.report(file, line, "package %s in directory %s: they should agree", f.Name.Name, base)
	}
}

// forbidden answers why a file of package pkg may not import p, or "".
func (c *checker) forbidden(pkg string, from room, inTest bool, p string) string {
	ours, isOurs := strings.CutPrefix(p, c.module+"/")
	switch {
	case p == "C":
		return "cgo: the binary is built without it"
	case !isOurs && !strings.Contains(strings.SplitN(p, "/", 2)[0], "."):
		return "" // standard library
	case !isOurs:
		return thirdParty(pkg, inTest, p)
	}
	to, placed := roomOf(ours)
	switch {
	case !placed:
		return fmt.Sprintf("%s stands on no floor", ours)
	case to.test && !inTest:
		return fmt.Sprintf("%s is for tests only", ours)
	case engineOf(ours) != "" && engineOf(ours) != engineOf(pkg) && !inTest && !within(pkg, namer):
		return fmt.Sprintf("%s is a concrete engine: only %s and tests name one; use the contract %s", ours, namer, to.path)
	case from.path == to.path:
		return ""
	case shared[ours]:
		return fmt.Sprintf("%s is for the engines of %s only", ours, to.path)
	case to.floor > from.floor && (!inTest || !isSuite(ours)):
		return fmt.Sprintf("%s is on a higher floor", ours)
	case to.floor == from.floor && !strings.HasPrefix(pkg, "test/"):
		return fmt.Sprintf("%s is a room on the same floor: what both need belongs below, or a third owns it", ours)
	}
	return ""
}

func thirdParty(pkg string, inTest bool, p string) string {
	dirs, known := homeOf(p)
	if !known {
		return fmt.Sprintf("%s has no home: decide in internal/archtest/rules.go and docs/dependencies.md", p)
	}
	if inTest {
		return ""
	}
	for _, d := range dirs {
		if d == "..." || within(pkg, d) || strings.HasSuffix(d, "/") && strings.HasPrefix(pkg, d) {
			return ""
		}
	}
	if len(dirs) == 0 {
		return fmt.Sprintf("%s is for tests only", p)
	}
	return fmt.Sprintf("%s lives in %s only", p, strings.Join(dirs, ", "))
}

// within reports whether pkg is dir or lies below it.
func within(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}

// isSuite reports whether a package under internal holds tests for others to
// run; tests of lower floors may use it.
func isSuite(pkg string) bool {
	return strings.HasPrefix(pkg, "internal/") && isTestPackage(pkg)
}
