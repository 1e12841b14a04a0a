// Package scalar is what stream queries do with single values: conversions,
// comparison, arithmetic and the built-in functions. It is the one place that
// decides what an operation means; faster forms for whole columns elsewhere
// must agree with it.
package scalar

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"dunlin/internal/insights/stream/value"
)

// Error is what stops a job: an operation that the values of an event do not
// allow. The same event would stop it again.
type Error struct {
	Kind    string // of the documentation, such as "InvalidCast"
	Message string
}

func (e *Error) Error() string { return e.Message }

// The kinds of errors.
const (
	InvalidCast     = "InvalidCast"
	InvalidArgument = "InvalidArgument"
	Overflow        = "Overflow"
)

func fail(kind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func cannot(v value.Value, to string) error {
	return fail(InvalidCast, "Cannot cast value '%s' of type '%s' to type '%s'.", clip(Show(v)), v.Kind(), to)
}

func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// Show gives a value as text for people.
func Show(v value.Value) string {
	if v.Kind() == value.Text {
		return v.Text()
	}
	return string(value.AppendJSON(nil, v))
}

// ToText is the conversion to nvarchar(max), which every value has.
func ToText(v value.Value) string {
	switch v.Kind() {
	case value.Null:
		return ""
	case value.Text:
		return v.Text()
	case value.Bigint:
		return strconv.FormatInt(v.Int(), 10)
	case value.Float:
		return floatText(v.Float())
	case value.Bit:
		if v.Bool() {
			return "1"
		}
		return "0"
	case value.Datetime:
		return string(value.AppendTime(nil, v.Ticks()))
	case value.Record, value.Array:
	}
	return string(value.AppendJSON(nil, v))
}

func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 0):
		if f > 0 {
			return "Infinity"
		}
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'G', -1, 64)
}

// ToFloat is the implicit conversion to a number; null stays null.
func ToFloat(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Null, value.Float:
		return v, nil
	case value.Bigint:
		return value.Number(float64(v.Int())), nil
	case value.Bit:
		if v.Bool() {
			return value.Number(1), nil
		}
		return value.Number(0), nil
	case value.Text:
		if f, ok := parseFloat(v.Text()); ok {
			return value.Number(f), nil
		}
	case value.Datetime, value.Record, value.Array:
	}
	return value.Value{}, cannot(v, "float")
}

// ToNumber is ToFloat that leaves a bigint, and makes one of a bit and of the
// text of a whole number.
func ToNumber(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Bigint:
		return v, nil
	case value.Bit:
		if v.Bool() {
			return value.Int(1), nil
		}
		return value.Int(0), nil
	case value.Text:
		if i, ok := parseBigint(v.Text()); ok {
			return value.Int(i), nil
		}
	case value.Null, value.Float, value.Datetime, value.Record, value.Array:
	}
	return ToFloat(v)
}

// ToBigint is the conversion to bigint; a float is cut.
func ToBigint(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Null, value.Bigint:
		return v, nil
	case value.Bit:
		return ToNumber(v)
	case value.Float:
		if f := math.Trunc(v.Float()); f >= -(1<<63) && f < 1<<63 {
			return value.Int(int64(f)), nil
		}
	case value.Text:
		if i, ok := parseBigint(v.Text()); ok {
			return value.Int(i), nil
		}
	case value.Datetime, value.Record, value.Array:
	}
	return value.Value{}, cannot(v, "bigint")
}

// ToTime is the conversion to datetime.
func ToTime(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Null, value.Datetime:
		return v, nil
	case value.Text:
		if t, ok := value.ParseTime(strings.TrimSpace(v.Text())); ok {
			return value.Time(t), nil
		}
	case value.Bigint, value.Float, value.Bit, value.Record, value.Array:
	}
	return value.Value{}, cannot(v, "datetime")
}

// ToBit is the conversion to bit.
func ToBit(v value.Value) (value.Value, error) {
	switch v.Kind() {
	case value.Null, value.Bit:
		return v, nil
	case value.Bigint:
		return value.Bool(v.Int() != 0), nil
	case value.Float:
		return value.Bool(v.Float() != 0), nil
	case value.Text:
		switch s := strings.TrimSpace(v.Text()); {
		case s == "1", strings.EqualFold(s, "true"):
			return value.Bool(true), nil
		case s == "0", strings.EqualFold(s, "false"):
			return value.Bool(false), nil
		}
	case value.Datetime, value.Record, value.Array:
	}
	return value.Value{}, cannot(v, "bit")
}

// Cast converts to a kind; null stays null.
func Cast(v value.Value, to value.Kind) (value.Value, error) {
	if v.IsNull() || v.Kind() == to {
		return v, nil
	}
	switch to {
	case value.Text:
		return value.String(ToText(v)), nil
	case value.Bigint:
		return ToBigint(v)
	case value.Float:
		f, err := ToFloat(v)
		if err == nil && (math.IsNaN(f.Float()) || math.IsInf(f.Float(), 0)) {
			return value.Value{}, cannot(v, "float")
		}
		return f, err
	case value.Datetime:
		return ToTime(v)
	case value.Bit:
		return ToBit(v)
	case value.Record, value.Array, value.Null:
	}
	return value.Value{}, cannot(v, to.String())
}

func parseBigint(s string) (int64, bool) {
	i, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	return i, err == nil
}

// parseFloat reads a decimal number; hexadecimal forms and underscores, which
// the library would take, are none.
func parseFloat(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if strings.ContainsAny(s, "xXpP_") {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

// Compare orders two values: negative, zero or positive. ok is false when one
// of them is null, or not a number: no comparison with them is true. Values of
// different kinds are converted to the one that goes before.
func Compare(a, b value.Value) (order int, ok bool, err error) {
	x, y := a.Kind(), b.Kind()
	switch {
	case x == value.Null || y == value.Null:
		return 0, false, nil
	case x == y:
		return same(a, b)
	case x == value.Record, y == value.Record, x == value.Array, y == value.Array:
		return 0, false, fail(InvalidArgument, "A value of type '%s' cannot be compared with one of type '%s'.", x, y)
	case x == value.Datetime || y == value.Datetime:
		if a, err = ToTime(a); err == nil {
			b, err = ToTime(b)
		}
	case x.Numeric() && y.Numeric():
		order, ok = numbers(a, b)
		return order, ok, nil
	default:
		if a, err = ToNumber(a); err == nil {
			b, err = ToNumber(b)
		}
		if err == nil {
			order, ok = numbers(a, b)
			return order, ok, nil
		}
	}
	if err != nil {
		return 0, false, err
	}
	return same(a, b)
}

func same(a, b value.Value) (order int, ok bool, err error) {
	switch a.Kind() {
	case value.Text:
		return strings.Compare(a.Text(), b.Text()), true, nil
	case value.Bigint, value.Float:
		order, ok = numbers(a, b)
		return order, ok, nil
	case value.Datetime:
		return order64(a.Ticks(), b.Ticks()), true, nil
	case value.Bit:
		x, y := 0, 0
		if a.Bool() {
			x = 1
		}
		if b.Bool() {
			y = 1
		}
		return x - y, true, nil
	case value.Record, value.Array, value.Null:
	}
	return 0, false, fail(InvalidArgument, "Values of type '%s' cannot be compared.", a.Kind())
}

func order64(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// numbers compares by value, also where a bigint is beyond what a float can
// hold exactly.
func numbers(a, b value.Value) (order int, ok bool) {
	switch {
	case a.Kind() == value.Bigint && b.Kind() == value.Bigint:
		return order64(a.Int(), b.Int()), true
	case a.Kind() == value.Bigint:
		order, ok = IntFloat(a.Int(), b.Float())
		return order, ok
	case b.Kind() == value.Bigint:
		order, ok = IntFloat(b.Int(), a.Float())
		return -order, ok
	}
	switch x, y := a.Float(), b.Float(); {
	case x < y:
		return -1, true
	case x > y:
		return 1, true
	case x == y:
		return 0, true
	}
	return 0, false
}

// IntFloat compares a bigint with a float by value; ok is false for NaN.
func IntFloat(i int64, f float64) (order int, ok bool) {
	switch {
	case f != f:
		return 0, false
	case f >= 1<<63:
		return -1, true
	case f < -(1 << 63):
		return 1, true
	}
	whole := math.Trunc(f)
	if o := order64(i, int64(whole)); o != 0 {
		return o, true
	}
	switch {
	case f > whole:
		return -1, true
	case f < whole:
		return 1, true
	}
	return 0, true
}

// Op is an arithmetic operator.
type Op byte

// The operators, by their signs.
const (
	Add    Op = '+'
	Sub    Op = '-'
	Mul    Op = '*'
	Div    Op = '/'
	Mod    Op = '%'
	BitAnd Op = '&'
	BitOr  Op = '|'
	BitXor Op = '^'
)

// Arithmetic does a op b. With null it is null, and so is a division by zero.
// Two texts are joined by +.
func Arithmetic(op Op, a, b value.Value) (value.Value, error) {
	if a.IsNull() || b.IsNull() {
		return value.Value{}, nil
	}
	if op == BitAnd || op == BitOr || op == BitXor {
		return bitwise(op, a, b)
	}
	if op == Add && a.Kind() == value.Text && b.Kind() == value.Text {
		return value.String(a.Text() + b.Text()), nil
	}
	a, err := ToNumber(a)
	if err != nil {
		return a, err
	}
	if b, err = ToNumber(b); err != nil {
		return b, err
	}
	if a.Kind() == value.Bigint && b.Kind() == value.Bigint {
		return integers(op, a.Int(), b.Int())
	}
	x, y := a.AsFloat(), b.AsFloat()
	switch op {
	case Add:
		return value.Number(x + y), nil
	case Sub:
		return value.Number(x - y), nil
	case Mul:
		return value.Number(x * y), nil
	case Div:
		if y == 0 {
			return value.Value{}, nil
		}
		return value.Number(x / y), nil
	default: // Mod: those on bits are done
		if y == 0 {
			return value.Value{}, nil
		}
		return value.Number(math.Mod(x, y)), nil
	}
}

func integers(op Op, x, y int64) (value.Value, error) {
	r, ok := int64(0), true
	switch op {
	case Add:
		r = x + y
		ok = (r > x) == (y > 0)
	case Sub:
		r = x - y
		ok = (r < x) == (y > 0)
	case Mul:
		r, ok = multiply(x, y)
	case Div, Mod:
		if y == 0 {
			return value.Value{}, nil
		}
		if x == math.MinInt64 && y == -1 {
			r, ok = 0, op == Mod
			break
		}
		if op == Div {
			r = x / y
		} else {
			r = x % y
		}
	default: // those on bits are done
	}
	if !ok {
		return value.Value{}, fail(Overflow, "Arithmetic overflow: %d %c %d is no bigint.", x, op, y)
	}
	return value.Int(r), nil
}

func multiply(x, y int64) (int64, bool) {
	negative := (x < 0) != (y < 0)
	hi, lo := bits.Mul64(magnitude(x), magnitude(y))
	switch {
	case hi != 0, lo > 1<<63, lo == 1<<63 && !negative:
		return 0, false
	case negative:
		return -int64(lo), true
	}
	return int64(lo), true
}

func magnitude(x int64) uint64 {
	if x < 0 {
		return -uint64(x)
	}
	return uint64(x)
}

// bitwise works on bits when both are bit, else on bigint; a float takes the
// type of the other.
func bitwise(op Op, a, b value.Value) (value.Value, error) {
	both := a.Kind() == value.Bit && b.Kind() == value.Bit ||
		a.Kind() == value.Bit && b.Kind() == value.Float || a.Kind() == value.Float && b.Kind() == value.Bit
	convert := ToBigint
	if both {
		convert = ToBit
	}
	a, err := convert(a)
	if err != nil {
		return a, err
	}
	if b, err = convert(b); err != nil {
		return b, err
	}
	if both {
		x, y := a.Bool(), b.Bool()
		switch op {
		case BitAnd:
			return value.Bool(x && y), nil
		case BitOr:
			return value.Bool(x || y), nil
		default:
			return value.Bool(x != y), nil
		}
	}
	x, y := a.Int(), b.Int()
	switch op {
	case BitAnd:
		return value.Int(x & y), nil
	case BitOr:
		return value.Int(x | y), nil
	default:
		return value.Int(x ^ y), nil
	}
}

// Negate is unary minus.
func Negate(v value.Value) (value.Value, error) {
	v, err := ToNumber(v)
	switch {
	case err != nil || v.IsNull():
		return v, err
	case v.Kind() == value.Float:
		return value.Number(-v.Float()), nil
	case v.Int() == math.MinInt64:
		return v, fail(Overflow, "Arithmetic overflow: -(%d) is no bigint.", v.Int())
	}
	return value.Int(-v.Int()), nil
}

// Complement is unary ~.
func Complement(v value.Value) (value.Value, error) {
	if v.Kind() == value.Bit {
		return value.Bool(!v.Bool()), nil
	}
	v, err := ToBigint(v)
	if err != nil || v.IsNull() {
		return v, err
	}
	return value.Int(^v.Int()), nil
}
