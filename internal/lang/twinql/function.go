package twinql

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"dunlin/internal/lang/diag"
)

// FunctionID names a function for those who translate calls.
type FunctionID uint8

// The functions.
const (
	IsArray FunctionID = iota
	IsBool
	IsDefined
	IsNull
	IsNumber
	IsObject
	IsPrimitive
	IsString
	Abs
	Exp
	Power
	Square
	Ceiling
	Floor
	Sign
	Sqrt
	AsNumber
	Concat
	Length
	Lower
	Upper
	Substring
	IndexOf
	StartsWith
	EndsWith
	Contains
)

// Function is a function of the language. Unless it is one of the type checks
// its result is undefined when an argument is not of the right type.
type Function struct {
	ID     FunctionID
	Name   string
	args   []Types // what each argument may be; the last repeats up to most
	least  int
	most   int
	result Types
	run    func(args []Value) Value
}

// maxArgs is the largest number of arguments of CONCAT.
const maxArgs = 64

func typeCheck(id FunctionID, name string, t Types) Function {
	return Function{id, name, []Types{anything}, 1, 1, oneOf(Bool), func(a []Value) Value {
		return BoolValue(t&oneOf(a[0].Kind) != 0)
	}}
}

func math1(id FunctionID, name string, f func(float64) float64) Function {
	return Function{id, name, []Types{oneOf(Number)}, 1, 1, oneOf(Number, Undefined), func(a []Value) Value {
		return NumberValue(f(a[0].Number))
	}}
}

func text1(id FunctionID, name string, f func(string) string) Function {
	return Function{id, name, []Types{oneOf(Text)}, 1, 1, oneOf(Text, Undefined), func(a []Value) Value {
		return TextValue(f(a[0].Text))
	}}
}

func text2(id FunctionID, name string, f func(s, sub string) bool) Function {
	return Function{id, name, []Types{oneOf(Text)}, 2, 2, oneOf(Bool, Undefined), func(a []Value) Value {
		return BoolValue(f(a[0].Text, a[1].Text))
	}}
}

var functions = [...]Function{
	typeCheck(IsArray, "IS_ARRAY", oneOf(Array)),
	typeCheck(IsBool, "IS_BOOL", oneOf(Bool)),
	typeCheck(IsDefined, "IS_DEFINED", anything&^oneOf(Undefined)),
	typeCheck(IsNull, "IS_NULL", oneOf(Null)),
	typeCheck(IsNumber, "IS_NUMBER", oneOf(Number)),
	typeCheck(IsObject, "IS_OBJECT", oneOf(Object)),
	typeCheck(IsPrimitive, "IS_PRIMITIVE", primitives),
	typeCheck(IsString, "IS_STRING", oneOf(Text)),
	math1(Abs, "ABS", math.Abs),
	math1(Exp, "EXP", math.Exp),
	{Power, "POWER", []Types{oneOf(Number)}, 2, 2, oneOf(Number, Undefined), func(a []Value) Value {
		return NumberValue(math.Pow(a[0].Number, a[1].Number))
	}},
	math1(Square, "SQUARE", func(f float64) float64 { return f * f }),
	math1(Ceiling, "CEILING", math.Ceil),
	math1(Floor, "FLOOR", math.Floor),
	math1(Sign, "SIGN", func(f float64) float64 {
		switch {
		case f > 0:
			return 1
		case f < 0:
			return -1
		}
		return 0
	}),
	math1(Sqrt, "SQRT", math.Sqrt),
	{AsNumber, "AS_NUMBER", []Types{oneOf(Text, Number)}, 1, 1, oneOf(Number, Undefined), asNumber},
	{Concat, "CONCAT", []Types{oneOf(Text)}, 1, maxArgs, oneOf(Text, Undefined), concat},
	{Length, "LENGTH", []Types{oneOf(Text)}, 1, 1, oneOf(Number, Undefined), func(a []Value) Value {
		return NumberValue(float64(utf8.RuneCountInString(a[0].Text)))
	}},
	text1(Lower, "LOWER", strings.ToLower),
	text1(Upper, "UPPER", strings.ToUpper),
	{Substring, "SUBSTRING", []Types{oneOf(Text), oneOf(Number)}, 2, 3, oneOf(Text, Undefined), substring},
	{IndexOf, "INDEX_OF", []Types{oneOf(Text)}, 2, 2, oneOf(Number, Undefined), func(a []Value) Value {
		i := strings.Index(a[0].Text, a[1].Text)
		if i > 0 {
			i = utf8.RuneCountInString(a[0].Text[:i])
		}
		return NumberValue(float64(i))
	}},
	text2(StartsWith, "STARTS_WITH", strings.HasPrefix),
	text2(EndsWith, "ENDS_WITH", strings.HasSuffix),
	text2(Contains, "CONTAINS", strings.Contains),
}

// asNumber reads a number as JSON spells it; other texts are undefined.
func asNumber(a []Value) Value {
	if a[0].Kind == Number {
		return a[0]
	}
	s := strings.TrimSpace(a[0].Text)
	if s == "" || strings.Trim(s, "0123456789+-.eE") != "" {
		return Value{}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return Value{}
	}
	return NumberValue(f)
}

func concat(a []Value) Value {
	var b strings.Builder
	for _, v := range a {
		b.WriteString(v.Text)
	}
	return TextValue(b.String())
}

// substring counts characters from 0. What lies outside of the text is left out.
func substring(a []Value) Value {
	s, start, count := a[0].Text, math.Trunc(a[1].Number), math.Inf(1)
	if len(a) == 3 {
		count = math.Trunc(a[2].Number)
	}
	if start < 0 || count < 0 {
		return Value{}
	}
	from, to, n := len(s), len(s), 0.0
	for i := range s {
		if n == start {
			from = i
		}
		if n == start+count {
			to = i
			break
		}
		n++
	}
	return TextValue(s[from:max(from, to)])
}

func findFunction(name string) *Function {
	for i := range functions {
		if strings.EqualFold(functions[i].Name, name) {
			return &functions[i]
		}
	}
	return nil
}

func functionNames() []string {
	names := make([]string, len(functions))
	for i := range functions {
		names[i] = functions[i].Name
	}
	return names
}

func (f *Function) check(text string, c *Call) error {
	if n := len(c.Args); n < f.least || n > f.most {
		want := fmt.Sprint(f.least)
		if f.most == maxArgs {
			want = fmt.Sprintf("%d to %d", f.least, f.most)
		} else if f.most > f.least {
			want += " or " + fmt.Sprint(f.most)
		}
		return diag.At(text, c.Pos(), "", "%s takes %s arguments, not %d", f.Name, want, n)
	}
	for i, a := range c.Args {
		want := f.arg(i) | oneOf(Undefined)
		if t := typesOf(a); t&want == 0 {
			return diag.At(text, a.Pos(), "", "argument %d of %s must be a %s, not a %s", i+1, f.Name, f.arg(i), t)
		}
	}
	return nil
}

func (f *Function) arg(i int) Types { return f.args[min(i, len(f.args)-1)] }

// Apply calls the function on values of any types.
func (f *Function) Apply(args []Value) Value {
	for i, a := range args {
		if f.arg(i)&oneOf(a.Kind) == 0 {
			return Value{}
		}
	}
	return f.run(args)
}
