package script

import (
	_ "embed"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/dop251/goja"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/diag"
)

// Failed is the kind of the errors of scripts, which are *scalar.Error.
const Failed = "UserFunction"

// Instance is a function that can be called. It belongs to one goroutine.
type Instance struct {
	function *Function
	limits   Limits
	vm       *goja.Runtime
	main     goja.Callable
	class    goja.Value // main, of an aggregate
	date     goja.Value
	save     goja.Callable
	load     goja.Callable
	args     []goja.Value
	guard    guard
}

//go:embed prelude.js
var preludeText string

var prelude = sync.OnceValue(func() *goja.Program { return goja.MustCompile("prelude", preludeText, true) })

// New makes an instance. It takes a millisecond and half a megabyte.
func (f *Function) New(l Limits) (*Instance, error) {
	i := &Instance{function: f, limits: l.filled(), vm: goja.New()}
	i.guard.vm, i.guard.limit = i.vm, i.limits.Time
	i.vm.SetMaxCallStackSize(i.limits.Depth)
	i.vm.SetTimeSource(func() time.Time { return time.Unix(0, 0) })
	i.vm.SetRandSource(func() float64 { return 0 })
	setup, err := i.vm.RunProgram(prelude())
	if err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	parts := setup.ToObject(i.vm)
	i.date = parts.Get("date")
	i.save, _ = goja.AssertFunction(parts.Get("save"))
	i.load, _ = goja.AssertFunction(parts.Get("load"))
	err = i.run(func() error {
		if _, err := i.vm.RunProgram(f.program); err != nil {
			return err
		}
		i.class, err = i.vm.RunProgram(f.entry)
		return err
	})
	if err != nil {
		return nil, err
	}
	var ok bool
	if i.main, ok = goja.AssertFunction(i.class); !ok {
		return nil, diag.At("", 0, "name it main", "the script of '%s' has no function to call", diag.Clip(f.name))
	}
	return i, nil
}

// guard interrupts calls that take too long. One timer serves many calls: it
// looks, when it goes off, whether the call that runs began long ago.
type guard struct {
	vm    *goja.Runtime
	limit time.Duration

	mu    sync.Mutex
	began time.Time // zero: nothing runs
	armed bool
	hit   bool
}

var errTime = errors.New("time")

func (g *guard) enter() {
	now := time.Now()
	g.mu.Lock()
	g.began = now
	if !g.armed {
		g.armed = true
		time.AfterFunc(g.limit, g.look)
	}
	g.mu.Unlock()
}

func (g *guard) leave() {
	g.mu.Lock()
	g.began = time.Time{}
	if g.hit {
		g.hit = false
		g.vm.ClearInterrupt()
	}
	g.mu.Unlock()
}

func (g *guard) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.began.IsZero() {
		g.armed = false
		return
	}
	left := g.limit - time.Since(g.began)
	if left <= 0 {
		g.hit = true
		g.vm.Interrupt(errTime)
		left = g.limit
	}
	time.AfterFunc(left, g.look)
}

// run does something with the script, within the limits.
func (i *Instance) run(do func() error) (err error) {
	i.guard.enter()
	defer i.guard.leave()
	// The engine lets panics of Go through; a script must not end the server.
	defer func() {
		if p := recover(); p != nil {
			err = i.fail("", "internal error: %v", p)
		}
	}()
	return i.explain(do())
}

func (i *Instance) fail(where, format string, args ...any) error {
	prefix := "UDF."
	if i.function.kind == Aggregate {
		prefix = "uda."
	}
	return &scalar.Error{Kind: Failed, Message: prefix + i.function.name + where + ": " + fmt.Sprintf(format, args...)}
}

// explain says what an error of the engine means, and where it was.
func (i *Instance) explain(err error) error {
	if err == nil {
		return nil
	}
	var own *scalar.Error
	var late *goja.InterruptedError
	var deep *goja.StackOverflowError
	var thrown *goja.Exception
	switch {
	case errors.As(err, &own):
		return err
	case errors.As(err, &late):
		return i.fail(i.where(late.Stack()), "the call took longer than %v", i.limits.Time)
	case errors.As(err, &deep):
		return i.fail(i.where(deep.Stack()), "more than %d calls stand in each other", i.limits.Depth)
	case errors.As(err, &thrown):
		message := "an error without text"
		if v := thrown.Value(); v != nil {
			message = describe(v)
		}
		return i.fail(i.where(thrown.Stack()), "%s", message)
	}
	return i.fail("", "%v", err)
}

// describe gives the text of what was thrown, without calling into the script.
func describe(v goja.Value) string {
	const most = 300
	var s string
	if o, ok := v.(*goja.Object); ok {
		s = o.ClassName()
		if o.ClassName() == "Error" {
			if name := o.Get("name"); name != nil {
				if _, ok := name.(*goja.Object); !ok {
					s = name.String()
				}
			}
			if m := o.Get("message"); m != nil {
				if _, ok := m.(*goja.Object); !ok {
					s += ": " + m.String()
				}
			}
		}
	} else {
		s = v.String()
	}
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// where is the innermost place in the script.
func (i *Instance) where(stack []goja.StackFrame) string {
	for _, f := range stack {
		if f.SrcName() != i.function.name {
			continue
		}
		if p := f.Position(); p.Line > 0 {
			return fmt.Sprintf(" (line %d, column %d)", p.Line, p.Column)
		}
	}
	return ""
}

// Call calls a scalar function. An error is a *scalar.Error.
func (i *Instance) Call(args []value.Value) (result value.Value, err error) {
	err = i.run(func() error {
		i.args = i.args[:0]
		for _, a := range args {
			i.args = append(i.args, i.toScript(a))
		}
		out, err := i.main(goja.Undefined(), i.args...)
		if err != nil {
			return err
		}
		result, err = i.fromScript(out)
		return err
	})
	return result, err
}

// toScript makes the value of a script.
func (i *Instance) toScript(v value.Value) goja.Value {
	switch v.Kind() {
	case value.Null:
	case value.Bigint:
		return i.vm.ToValue(v.Int())
	case value.Float:
		return i.vm.ToValue(v.Float())
	case value.Bit:
		return i.vm.ToValue(v.Bool())
	case value.Text:
		return i.vm.ToValue(v.Text())
	case value.Datetime:
		return i.toDate(v.Ticks())
	case value.Record:
		t := v.Tree()
		o := i.vm.NewObject()
		for n, x := range t.Values {
			// Not Set, which would take "__proto__" for more than a name.
			o.DefineDataProperty(t.Names[n], i.toScript(x), goja.FLAG_TRUE, goja.FLAG_TRUE, goja.FLAG_TRUE) //nolint:errcheck // a new object takes all names
		}
		return o
	case value.Array:
		list := v.Tree().Values
		items := make([]any, len(list))
		for n, x := range list {
			items[n] = i.toScript(x)
		}
		return i.vm.NewArray(items...)
	}
	return goja.Null()
}

// unixTicks is where JavaScript counts milliseconds from.
var unixTicks = value.TicksOf(time.Unix(0, 0))

func (i *Instance) toDate(ticks int64) goja.Value {
	ms := ticks - unixTicks
	if ms < 0 {
		ms -= value.Millisecond - 1 // round down
	}
	d, err := i.vm.New(i.date, i.vm.ToValue(ms/value.Millisecond))
	if err != nil {
		panic(err) // of a number there is always a date
	}
	return d
}

// maxDepth is how deep records and arrays of a result may stand in each other.
const maxDepth = 200

// fromScript makes the value of a result.
func (i *Instance) fromScript(v goja.Value) (value.Value, error) {
	room := i.limits.Result
	return i.convert(v, 0, &room)
}

func (i *Instance) take(room *int, bytes int) error {
	if *room -= bytes; *room < 0 {
		return i.fail("", "the result is larger than %d bytes", i.limits.Result)
	}
	return nil
}

func (i *Instance) convert(v goja.Value, depth int, room *int) (value.Value, error) {
	if err := i.take(room, 16); err != nil {
		return value.Value{}, err
	}
	if v == nil || goja.IsNull(v) || goja.IsUndefined(v) {
		return value.Value{}, nil
	}
	if o, ok := v.(*goja.Object); ok {
		return i.convertObject(o, depth, room)
	}
	if s, ok := v.(goja.String); ok {
		if err := i.take(room, s.Length()); err != nil {
			return value.Value{}, err
		}
		return value.String(s.String()), nil
	}
	switch x := v.Export().(type) {
	case int64:
		return value.Int(x), nil
	case float64:
		if x == math.Trunc(x) && x >= -(1<<63) && x < 1<<63 {
			return value.Int(int64(x)), nil
		}
		return value.Number(x), nil
	case bool:
		return value.Bool(x), nil
	}
	return value.Value{}, i.fail("", "the result is a symbol, which is no value of a query")
}

func (i *Instance) convertObject(o *goja.Object, depth int, room *int) (value.Value, error) {
	if depth >= maxDepth {
		return value.Value{}, i.fail("", "records and arrays of the result stand in each other more than %d deep", maxDepth)
	}
	switch class := o.ClassName(); class {
	case "Date":
		t, ok := o.Export().(time.Time)
		if y := t.Year(); !ok || y < 1 || y > 9999 {
			return value.Value{}, i.fail("", "the result is a date that is no datetime")
		}
		return value.Time(value.TicksOf(t)), nil
	case "Number", "Boolean":
		return i.convert(i.vm.ToValue(o.Export()), depth, room)
	case "String":
		return i.convert(o.ToString(), depth, room)
	case "Array":
		n := int(o.Get("length").ToInteger())
		if err := i.take(room, n*16); err != nil {
			return value.Value{}, err
		}
		list := make([]value.Value, n)
		for at := range list {
			x, err := i.convert(o.Get(fmt.Sprint(at)), depth+1, room)
			if err != nil {
				return value.Value{}, err
			}
			list[at] = x
		}
		return value.ArrayOf(list), nil
	case "Object":
		if o.ExportType().Kind() != reflect.Map {
			return value.Value{}, i.fail("", "the result is no plain object, which is no value of a query")
		}
		t := new(value.Tree)
		for _, name := range o.Keys() {
			if err := i.take(room, len(name)); err != nil {
				return value.Value{}, err
			}
			x, err := i.convert(o.Get(name), depth+1, room)
			if err != nil {
				return value.Value{}, err
			}
			t.Names, t.Values = append(t.Names, name), append(t.Values, x)
		}
		return value.RecordOf(t), nil
	default:
		return value.Value{}, i.fail("", "the result is of class %s, which is no value of a query", class)
	}
}
