// Package script runs the JavaScript functions of users in stream queries:
// functions of values, called UDF.name, and aggregates, called uda.name.
//
// A function computes and does nothing else. It has no files, network or
// timers; the clock and random numbers are refused, and dates are in UTC, so
// that a query gives the same results again. Each call is limited in time, in
// the depth of calls and in the size of texts, arrays and results; what goes
// beyond a limit, like any error of a script, stops the job.
//
// What a function keeps in variables outside of it is not its state: it is
// lost whenever the job starts again. The state of an aggregate is what its
// methods keep in this.
package script

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/dlclark/regexp2/v2"
	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/parser"

	"dunlin/internal/lang/diag"
)

// Kind is what a script is for.
type Kind uint8

// The kinds of scripts.
const (
	Scalar    Kind = iota // UDF.name
	Aggregate             // uda.name
)

// Limits hold for each call. Zero means the default.
type Limits struct {
	Time   time.Duration // 100 ms; at most a second
	Depth  int           // calls within calls; 500
	Result int           // bytes of a result or state, roughly; 1 MB
}

const (
	maxTime   = time.Second
	maxSource = 64 << 10 // bytes of a script
	maxNested = 500      // brackets in brackets
)

func (l Limits) filled() Limits {
	if l.Time <= 0 {
		l.Time = 100 * time.Millisecond
	}
	l.Time = min(l.Time, maxTime)
	if l.Depth <= 0 {
		l.Depth = 500
	}
	if l.Result <= 0 {
		l.Result = 1 << 20
	}
	return l
}

// Function is a script that was compiled. It may be used by many goroutines.
type Function struct {
	name    string
	kind    Kind
	program *goja.Program
	entry   *goja.Program // gives the function itself
}

// Name is the name by which queries call the function.
func (f *Function) Name() string { return f.name }

// Kind tells what the function is for.
func (f *Function) Kind() Kind { return f.kind }

// boundPatterns gives patterns that need backtracking an end: the engine of
// the scripts cannot interrupt them. It is the only user of that library.
var boundPatterns = sync.OnceFunc(func() { regexp2.DefaultMatchTimeout = maxTime })

// Compile reads a script. name is the one that queries use. The function that
// they call is main, or the one that has their name, or the only one there is;
// of an aggregate it is the constructor. An error is a *diag.Error with the
// place in the script.
func Compile(name string, kind Kind, source string) (*Function, error) {
	boundPatterns()
	if len(source) > maxSource {
		return nil, diag.At(source, 0, "", "the script of '%s' has %d bytes, at most %d are allowed", diag.Clip(name), len(source), maxSource)
	}
	if at := tooNested(source); at >= 0 {
		return nil, diag.At(source, at, "", "more than %d brackets stand in each other", maxNested)
	}
	tree, err := parser.ParseFile(nil, name, source, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, place(source, err)
	}
	if at := bigNumber(tree); at >= 0 {
		return nil, diag.At(source, at, "write it without the n", "BigInt is not available in queries")
	}
	program, err := goja.CompileAST(tree, false)
	if err != nil {
		return nil, place(source, err)
	}
	entry, err := entryOf(name, tree)
	if err != nil {
		return nil, diag.At(source, 0, "name it main", "%s", err.Error())
	}
	f := &Function{name: name, kind: kind, program: program, entry: entry}
	// What is wrong at its beginning is known before the job starts.
	i, err := f.New(Limits{Time: maxTime})
	if err != nil {
		return nil, err
	}
	if kind == Aggregate {
		if _, err := i.NewState(); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// entryOf makes the program that gives the function to be called.
func entryOf(name string, tree *ast.Program) (*goja.Program, error) {
	var functions []string
	for _, s := range tree.Body {
		if d, ok := s.(*ast.FunctionDeclaration); ok && d.Function.Name != nil {
			functions = append(functions, string(d.Function.Name.Name))
		}
	}
	names := []string{"main"}
	for _, f := range functions {
		if strings.EqualFold(f, name) {
			names = append(names, f)
		}
	}
	if len(functions) == 1 {
		names = append(names, functions[0])
	}
	if identifier(name) {
		names = append(names, name)
	}
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "typeof %s === 'function' ? %s : ", n, n)
	}
	b.WriteString("undefined")
	p, err := goja.Compile(name, b.String(), false)
	if err != nil {
		return nil, fmt.Errorf("'%s' is no name of a function", diag.Clip(name))
	}
	return p, nil
}

func identifier(s string) bool {
	for i, c := range []byte(s) {
		if c != '_' && c != '$' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && !reserved[s]
}

// reserved words stand for themselves.
var reserved = map[string]bool{
	"break": true, "case": true, "catch": true, "class": true, "const": true, "continue": true, "debugger": true, "default": true,
	"delete": true, "do": true, "else": true, "enum": true, "export": true, "extends": true, "false": true, "finally": true, "for": true,
	"function": true, "if": true, "import": true, "in": true, "instanceof": true, "new": true, "null": true, "return": true, "super": true,
	"switch": true, "this": true, "throw": true, "true": true, "try": true, "typeof": true, "var": true, "void": true, "while": true, "with": true,
}

// place makes the error of a parser one with a place in the script.
func place(source string, err error) error {
	var list parser.ErrorList
	if errors.As(err, &list) && len(list) > 0 {
		return atLine(source, list[0].Position.Line, list[0].Position.Column, list[0].Message)
	}
	var syntax *goja.CompilerSyntaxError
	if errors.As(err, &syntax) && syntax.File != nil {
		p := syntax.File.Position(syntax.Offset)
		return atLine(source, p.Line, p.Column, syntax.Message)
	}
	return diag.At(source, 0, "", "%s", err.Error())
}

func atLine(source string, line, column int, message string) error {
	at := 0
	for range line - 1 {
		n := strings.IndexByte(source[at:], '\n')
		if n < 0 {
			break
		}
		at += n + 1
	}
	return diag.At(source, at+column-1, "", "%s", message)
}

// tooNested finds where too many brackets are open; -1 when nowhere.
func tooNested(source string) int {
	depth := 0
	for i, c := range []byte(source) {
		switch c {
		case '(', '[', '{':
			if depth++; depth > maxNested {
				return i
			}
		case ')', ']', '}':
			depth = max(0, depth-1)
		}
	}
	return -1
}

// bigNumber finds a literal such as 1n, whose arithmetic nothing bounds; -1
// when there is none.
func bigNumber(tree *ast.Program) int {
	found := -1
	number := reflect.TypeFor[*ast.NumberLiteral]()
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		if found >= 0 {
			return
		}
		switch v.Kind() {
		case reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Pointer:
			if v.IsNil() || v.Type().Elem().Kind() != reflect.Struct || !strings.HasSuffix(v.Type().Elem().PkgPath(), "/goja/ast") {
				return
			}
			if v.Type() == number && v.CanInterface() {
				if n := v.Interface().(*ast.NumberLiteral); isBig(n) {
					found = int(n.Idx) - 1
				}
				return
			}
			walk(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				// Lists of declarations repeat what stands in the body.
				if v.Type().Field(i).IsExported() && v.Type().Field(i).Name != "DeclarationList" {
					walk(v.Field(i))
				}
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		default:
		}
	}
	walk(reflect.ValueOf(tree))
	return found
}

func isBig(n *ast.NumberLiteral) bool {
	_, ok := n.Value.(*big.Int)
	return ok
}
