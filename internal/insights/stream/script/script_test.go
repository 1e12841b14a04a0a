package script_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/script"
	"dunlin/internal/insights/stream/value"
)

func instance(t testing.TB, kind script.Kind, source string) *script.Instance {
	t.Helper()
	return within(t, 0, kind, source)
}

// within gives an instance whose calls may take so long; 0 is the default.
func within(t testing.TB, limit time.Duration, kind script.Kind, source string) *script.Instance {
	t.Helper()
	f, err := script.Compile("f", kind, source)
	if err != nil {
		t.Fatal(err)
	}
	i, err := f.New(script.Limits{Time: limit})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func at(t testing.TB, s string) int64 {
	t.Helper()
	ticks, ok := value.ParseTime(s)
	if !ok {
		t.Fatal(s)
	}
	return ticks
}

// TestConversions has the tables of section 16, both ways.
func TestConversions(t *testing.T) {
	day := value.Time(at(t, "2024-02-29T01:02:03.0049999Z"))
	for _, c := range []struct {
		source string
		arg    value.Value
		want   string // kind and JSON; empty: an error
	}{
		{"function main(x) { return typeof x + ' ' + x; }", value.Int(5), `nvarchar(max) "number 5"`},
		{"function main(x) { return typeof x + ' ' + x; }", value.Number(2.5), `nvarchar(max) "number 2.5"`},
		{"function main(x) { return typeof x + ' ' + x; }", value.Bool(true), `nvarchar(max) "boolean true"`},
		{"function main(x) { return typeof x + ' ' + x; }", value.String("ä😀"), `nvarchar(max) "string ä😀"`},
		{"function main(x) { return String(x); }", value.Value{}, `nvarchar(max) "null"`},
		{"function main(x) { return x instanceof Date ? x.getTime() : -1; }", day, "bigint 1709168523004"},
		{"function main(x) { return Array.isArray(x) && x.length; }", value.RawArray("[1,2,[3]]"), "bigint 3"},
		{"function main(x) { return x.a + x.b.c[1]; }", value.RawRecord(`{"a":1,"b":{"c":[1,2.5]}}`), "float 3.5"},
		{"function main(x) { return Object.keys(x).join(); }", value.RawRecord(`{"__proto__":1,"constructor":2}`), `nvarchar(max) "__proto__,constructor"`},
		{"function main(x) { return JSON.stringify(x); }", value.RawRecord(`{"a":[1,null,{"b":"x"}]}`), `nvarchar(max) "{\"a\":[1,null,{\"b\":\"x\"}]}"`},
		{"function main(x) { return x; }", value.Int(1<<53 + 1), "bigint 9007199254740992"},

		{"function main() { return 3; }", value.Value{}, "bigint 3"},
		{"function main() { return 3.0; }", value.Value{}, "bigint 3"},
		{"function main() { return 3.5; }", value.Value{}, "float 3.5"},
		{"function main() { return 1e300; }", value.Value{}, "float 1e+300"},
		{"function main() { return NaN; }", value.Value{}, `float "NaN"`},
		{"function main() { return -1/0; }", value.Value{}, `float "-Infinity"`},
		{"function main() { return true; }", value.Value{}, "bit true"},
		{"function main() { return 'x'; }", value.Value{}, `nvarchar(max) "x"`},
		{"function main() { return null; }", value.Value{}, "null null"},
		{"function main() { }", value.Value{}, "null null"},
		{"function main() { return new Date(Date.UTC(2024, 1, 29, 1, 2, 3, 4)); }", value.Value{}, `datetime "2024-02-29T01:02:03.0040000Z"`},
		{"function main(x) { return x; }", day, `datetime "2024-02-29T01:02:03.0040000Z"`},
		{"function main() { return {a: 1, b: undefined, c: [1, 'x', {}]}; }", value.Value{}, `record {"a":1,"b":null,"c":[1,"x",{}]}`},
		{"function main() { return [1,,2]; }", value.Value{}, "array [1,null,2]"},
		{"function main() { return new Number(4); }", value.Value{}, "bigint 4"},
		{"function main() { return new String('s'); }", value.Value{}, `nvarchar(max) "s"`},
		{"function main() { return main; }", value.Value{}, ""},
		{"function main() { return /x/; }", value.Value{}, ""},
		{"function main() { return new Error('x'); }", value.Value{}, ""},
		{"function main() { return new Map(); }", value.Value{}, ""},
		{"function main() { return Symbol('x'); }", value.Value{}, ""},
		{"function main() { return {a: main}; }", value.Value{}, ""},
		{"function main() { return new Date(NaN); }", value.Value{}, ""},
		{"function main() { return new Date(Date.UTC(12000, 1, 1)); }", value.Value{}, ""},
		{"function main() { let a = []; a[0] = a; return a; }", value.Value{}, ""},

		// Which function is called.
		{"function F(x) { return g(x) } function g(x) { return x * 2; }", value.Int(2), "bigint 4"},
		{"// Convert Hex value to integer.\nfunction hex2Int(hexValue) { return parseInt(hexValue, 16); }", value.String("ff"), "bigint 255"},
		{"const main = x => x + 1;", value.Int(2), "bigint 3"},
		{"var f = function (x) { return x + 2; };", value.Int(2), "bigint 4"},
		// What is undeclared is global, as in the service.
		{"function main(x) { for (i = 0; i < 3; i++) x += i; return x; }", value.Int(2), "bigint 5"},
		// No time zone, no clock.
		{"function main() { var d = new Date(2024, 5, 1, 10); return d.getHours() + ' ' + d.getTimezoneOffset() + ' ' + d.toISOString(); }", value.Value{}, `nvarchar(max) "10 0 2024-06-01T10:00:00.000Z"`},
		{"function main() { return new Date('2024-06-01 10:00:00').getTime() === Date.UTC(2024, 5, 1, 10) && new Date('2024-06-01T10:00:00+02:00').getUTCHours() }", value.Value{}, "bigint 8"},
		{"function main() { return Date.parse('2024-06-01T00:00') + 0 * (new Date(0) instanceof Date) }", value.Value{}, "bigint 1717200000000"},
		// Wrapped functions still do their work.
		{"function main() { return [3,1,2].sort().concat([4],5).map(x => x * 2).filter(x => x > 2).join('-') + [...[1,2]].length + Math.max.apply(null, [1, 9]) + 'ab'.repeat(2) + 'x'.padStart(3) + Array.from('hi').length; }", value.Value{}, `nvarchar(max) "4-6-8-1029abab  x2"`},
		{"function main() { let s = 0; for (const x of [1,2,3]) s += x; for (const [k, v] of Object.entries({a: 4})) s += v; return s; }", value.Value{}, "bigint 10"},
	} {
		v, err := instance(t, script.Scalar, c.source).Call([]value.Value{c.arg})
		got := v.Kind().String() + " " + string(value.AppendJSON(nil, v))
		var own *scalar.Error
		if err != nil {
			got = ""
			if !errors.As(err, &own) || own.Kind != script.Failed {
				t.Errorf("%s: %T", c.source, err)
			}
		}
		if got != c.want {
			t.Errorf("%s of %s: %s (%v), want %s", c.source, scalar.Show(c.arg), got, err, c.want)
		}
	}
}

// TestErrors: errors say where they are.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ source, compile, run string }{
		{"function main(x) {\n  return x.a.b;\n}", "", "UDF.f (line 2, column 14): TypeError: Cannot read property 'b' of undefined"},
		{"function main(x) {\n  throw 'no';\n}", "", "UDF.f (line 2, column 3): no"},
		{"function main(x) {\n  throw {toString() { for (;;); }};\n}", "", "UDF.f (line 2, column 3): Object"},
		{"function main(x) {\n  return h(x);\n}\nfunction h(x) {\n  throw new RangeError('far');\n}", "", "UDF.f (line 5, column 9): RangeError: far"},
		{"function main(x) {\n  return [1].map(y => y.z.z);\n}", "", "UDF.f (line 2, column 27): TypeError: Cannot read property 'z' of undefined"},
		{"function main(x) {\n  return x +;\n}", "at line 2, column 13: Unexpected token ;", ""},
		{"let x = 1; let x = 2; function main() {}", "at character 16: Identifier 'x' has already been declared", ""},
		{"var x = 1;", "no function to call", ""},
		{"throw new Error('early')", "UDF.f (line 1, column 7): Error: early", ""},
		{"function main() { return 12n; }", "at character 26: BigInt is not available in queries", ""},
		{"for (;;);", "took longer than", ""},
		{strings.Repeat("(", 600) + strings.Repeat(")", 600), "more than 500 brackets", ""},
		{strings.Repeat(" ", 70000), "at most 65536", ""},
		{strings.Repeat("!", 60000) + "1", "no function to call", ""},

		{"function main() { return Date.now(); }", "", "the clock is not available"},
		{"function main() { return new Date(); }", "", "the clock is not available"},
		{"function main() { return Date(); }", "", "the clock is not available"},
		{"function main() { return new (new Date(0).constructor)(); }", "", "the clock is not available"},
		{"function main() { return Math.random(); }", "", "random numbers are not available"},
		{"function main() { return eval('1'); }", "", "code from texts"},
		{"function main() { return main.constructor('return 1')(); }", "", "code from texts"},
		{"function main() { return (async () => 1).constructor('return 1')(); }", "", "code from texts"},
		{"function main() { return require('fs'); }", "", "require is not defined"},
		{"function main() { setTimeout(main, 1); }", "", "setTimeout is not defined"},
		{"function main() { return BigInt(5); }", "", "BigInt is not defined"},
	} {
		f, err := script.Compile("f", script.Scalar, c.source)
		if c.compile != "" {
			if err == nil || !strings.Contains(err.Error(), c.compile) {
				t.Errorf("%.60q: %v, want %s", c.source, err, c.compile)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.60q: %v", c.source, err)
			continue
		}
		i, err := f.New(script.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = i.Call([]value.Value{value.RawRecord("{}")}); err == nil || !strings.Contains(err.Error(), c.run) {
			t.Errorf("%.60q: %v, want %s", c.source, err, c.run)
		}
	}
}

// TestLimits: nothing that a function does takes long or much.
func TestLimits(t *testing.T) {
	for source, want := range map[string]string{
		"for (;;);": "took longer than 100ms",
		"try { for (;;); } catch (e) { } finally { for (;;); }":      "took longer than 100ms",
		"for (;;) { try { main(); } catch (e) { } }":                 "calls stand in each other",
		"[1,2,3].forEach(() => { for (;;); })":                       "took longer than 100ms",
		"function* g() { for (;;) yield 1; } return [...g()]":        "took longer than 100ms",
		"function* g() { for (;;) yield 1; } return Array.from(g())": "took longer than 100ms",
		"return /^(?=a)(a+)+$/.test('a'.repeat(60) + 'b')":           "took longer than 100ms",
		"return main()":        "calls stand in each other",
		"return [2].map(main)": "stand in each other",
		"const o = {toString() { return '' + o; }}; return '' + o":                     "calls stand in each other",
		"let a = []; for (let i = 0; i < 1000; i++) a = [a]; return String(a)":         "RangeError",
		"let a = {}; for (let i = 0; i < 1000; i++) a = {a}; return JSON.stringify(a)": "RangeError",
		"return 'x'.repeat(1e9)":                                        "RangeError: a text of more than",
		"return 'x'.padEnd(1e9)":                                        "RangeError: a text of more than",
		"let s = 'x'; for (;;) s += s":                                  "",
		"let a = [1]; for (;;) a = a.concat(a)":                         "",
		"return new Array(4294967295).fill(0)":                          "RangeError: an array of more than",
		"let a = []; a.length = 4294967295; return [...a]":              "RangeError: an array of more than",
		"let a = []; a[4294967290] = 1; return a.join()":                "RangeError: an array of more than",
		"return Array.from({length: 1e12})":                             "RangeError: an array of more than",
		"return Array.prototype.indexOf.call({length: 1e15}, 1)":        "RangeError: an array of more than",
		"return Math.max.apply(null, {length: 1e12})":                   "RangeError: more than 65536 arguments",
		"let a = []; a.length = 4294967295; return JSON.stringify({a})": "RangeError: an array of more than",
		"let a = []; a.length = 4294967295; return a":                   "the result is larger than",
		"return new Array(70000).fill(1)":                               "the result is larger than",
		"return 'x'.repeat(2000000)":                                    "the result is larger than",
		"return new Uint8Array(1e10)":                                   "Uint8Array is not defined",
	} {
		i := instance(t, script.Scalar, "function main(x) { if (x === 1) return 7; "+source+" }")
		began := time.Now()
		v, err := i.Call([]value.Value{{}})
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: took %v", source, took)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.80s (%v), want %s", source, scalar.Show(v), err, want)
			continue
		}
		// The instance is as good as before.
		if v, err := i.Call([]value.Value{value.Int(1)}); err != nil || v.Int() != 7 {
			t.Errorf("%s: then %v %v", source, v, err)
		}
	}
}

// TestInstancesAreApart: what one instance does, another does not see.
func TestInstancesAreApart(t *testing.T) {
	f, err := script.Compile("f", script.Scalar, "var n = 0; function main() { Array.prototype.x = ++n; return n; }")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		i, err := f.New(script.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := i.Call(nil); err != nil || v.Int() != 1 {
			t.Error(v, err)
		}
	}
}

const sum = `function main() {
    this.init = function () { this.state = 0; }
    this.accumulate = function (value, timestamp) { this.state += value; }
    this.deaccumulate = function (value, timestamp) { this.state -= value; }
    this.deaccumulateState = function (otherState) { this.state -= otherState.state; }
    this.computeResult = function () { return this.state; }
}`

// TestAggregate has the samples of the documentation.
func TestAggregate(t *testing.T) {
	i := instance(t, script.Aggregate, sum)
	var states [2]*script.State
	for n := range states {
		s, err := i.NewState()
		if err != nil {
			t.Fatal(err)
		}
		states[n] = s
		for v := range int64(4) {
			if err := s.Accumulate(value.Int(v+int64(n)), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if ok, err := states[1].Deaccumulate(value.Int(4), 0); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := states[0].DeaccumulateState(states[1]); !ok || err != nil {
		t.Error(ok, err)
	}
	for n, want := range []int64{0, 6} {
		if v, err := states[n].Result(); err != nil || v.Int() != want {
			t.Errorf("state %d: %v %v, want %d", n, v.Int(), err, want)
		}
	}

	// The time-weighted average, whose result is a global variable.
	i = instance(t, script.Aggregate, `function main() {
        this.init = function () { this.totalValue = 0.0; this.totalWeight = 0.0; }
        this.accumulate = function (value, timestamp) { this.totalValue += value.level * value.weight; this.totalWeight += value.weight; }
        this.computeResult = function () {
            if (this.totalValue == 0) { result = 0; } else { result = this.totalValue/this.totalWeight; }
            return result;
        }
    }`)
	s, err := i.NewState()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{`{"level":80,"weight":22.0}`, `{"level":81,"weight":37.8}`} {
		if err := s.Accumulate(value.RawRecord(row), 0); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.Result(); err != nil || v.Float() < 80.632 || v.Float() > 80.633 {
		t.Error(v.Float(), err)
	}
	if ok, err := s.Deaccumulate(value.Int(4), 0); ok || err != nil {
		t.Error("there is no deaccumulate", ok, err)
	}
	if ok, err := s.DeaccumulateState(s); ok || err != nil {
		t.Error("there is no deaccumulateState", ok, err)
	}
	if _, err := script.Compile("f", script.Aggregate, "function main() { this.init = function () {} }"); err == nil || !strings.Contains(err.Error(), "this.accumulate") {
		t.Error(err)
	}
}

// TestStateIsKept: what is saved and restored goes on as if nothing had been.
func TestStateIsKept(t *testing.T) {
	// Tests share the machine, and how long it takes is not what is tested.
	i := within(t, time.Second, script.Aggregate, `class Main {
        init() { this.n = 0; this.old = 1; }
        accumulate(v, t) {
            delete this.old;
            this.n += v;
            this.last = t; this.list = [1, [undefined, null, NaN, Infinity, -0, 'x']];
            this.map = new Map([['k', {a: new Date(5)}], [2, new Set([1, 'two'])]]);
            this.odd = {$date: 5}; this.empty = {}; this['$x'] = {'$y': 1};
        }
        computeResult() {
            return [this.n, this.last, this.last instanceof Date, Object.is(this.list[1][4], -0), Number.isNaN(this.list[1][2]), this.list[1][3], 0 in this.list[1], this.list[1][0] === undefined,
                this.map.get('k').a.getTime(), this.map.get(2).has('two'), JSON.stringify(this.odd), JSON.stringify(this.empty), 'old' in this, this.$x.$y];
        }
    }
    const main = Main;`)
	s, err := i.NewState()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Accumulate(value.Number(1.5), at(t, "2024-01-02T03:04:05Z")); err != nil {
		t.Fatal(err)
	}
	json, err := s.Save()
	if err != nil {
		t.Fatal(err)
	}
	again, err := i.Restore(json)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[1.5,"2024-01-02T03:04:05.0000000Z",true,true,true,"Infinity",true,true,5,true,"{\"$date\":5}","{}",false,1]`
	for _, s := range []*script.State{s, again} {
		if v, err := s.Result(); err != nil || scalar.Show(v) != want {
			t.Errorf("%s %v, want %s (%s)", scalar.Show(v), err, want, json)
		}
	}
	twice, err := again.Save()
	if err != nil || string(twice) != string(json) {
		t.Errorf("saved again: %s %v, want %s", twice, err, json)
	}
	for source, want := range map[string]string{
		"this.f = {g() {}}":            "this.f.g is a function",
		"this.f = /x/":                 "this.f is an object of a class",
		"this.f = [class {}]":          "this.f[0] is a function",
		"this.f = this":                "",
		"this.f = 'x'.repeat(2000000)": "the state is larger",
	} {
		i := instance(t, script.Aggregate, "function main() { this.init = function () { "+source+" }; this.accumulate = this.computeResult = function () {} }")
		s, err := i.NewState()
		if err != nil {
			t.Fatal(err)
		}
		if json, err := s.Save(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.80s %v, want %s", source, json, err, want)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{sum, "function main(x) { return x; }", "const main = x => x + 1n;", "let x = `${(((1)))}`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		c, err := script.Compile("f", script.Scalar, source)
		if err != nil {
			return
		}
		i, err := c.New(script.Limits{Time: 20 * time.Millisecond})
		if err == nil {
			i.Call([]value.Value{value.Int(3)})
		}
	})
}

func BenchmarkCall(b *testing.B) {
	record := value.RecordOf(&value.Tree{Names: []string{"temperature", "id"}, Values: []value.Value{value.Number(20.5), value.String("dev1")}})
	for _, c := range []struct {
		name, source string
		arg          value.Value
	}{
		{"number", "function main(x) { return x * 1.8 + 32; }", value.Number(20.5)},
		{"text", "function main(x) { return x + '!'; }", value.String("device17")},
		{"record", "function main(x) { return {f: x.temperature * 1.8 + 32, id: x.id}; }", record},
		{"loop100", "function main(x) { var s = 0; for (var i = 0; i < 100; i++) s += i * x; return s; }", value.Number(2)},
		{"array", "function main(x) { return [1,2,3].map(y => y * x).join(); }", value.Number(2)},
	} {
		b.Run(c.name, func(b *testing.B) {
			i := instance(b, script.Scalar, c.source)
			args := []value.Value{c.arg}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.Call(args); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("accumulate", func(b *testing.B) {
		s, err := instance(b, script.Aggregate, sum).NewState()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := s.Accumulate(value.Number(1.5), 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new", func(b *testing.B) {
		f, err := script.Compile("f", script.Scalar, "function main(x) { return x; }")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.New(script.Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
