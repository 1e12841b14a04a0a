package scalar

import (
	"math"

	"dunlin/internal/insights/stream/value"
)

// Func is a built-in function. args has as many values as the function was
// bound with; a unit of time is a text with its full name.
type Func func(args []value.Value) (value.Value, error)

// Lookup finds a scalar function by the name that asa.FunctionOf gives it; nil
// when there is none.
func Lookup(name string) Func { return functions[name] }

var functions = map[string]Func{
	"ABS":     numeric1(math.Abs, abs),
	"CEILING": numeric1(math.Ceil, same1),
	"FLOOR":   numeric1(math.Floor, same1),
	"SIGN":    numeric1(sign, func(i int64) (int64, bool) { return int64(sign(float64(i))), true }),
	"EXP":     float1(math.Exp),
	"SQRT":    float1(math.Sqrt),
	"SQUARE":  float1(func(x float64) float64 { return x * x }),
	"POWER":   power,
	"ROUND":   round,

	"CHARINDEX":  charIndex,
	"CONCAT":     concat,
	"CONCAT_WS":  concatWith,
	"LEN":        length,
	"LOWER":      text1(lower),
	"UPPER":      text1(upper),
	"REVERSE":    text1(reverse),
	"LTRIM":      text1(trimLeft),
	"RTRIM":      text1(trimRight),
	"TRIM":       text1(trim),
	"SPACE":      space,
	"NCHAR":      nchar,
	"UNICODE":    unicodeOf,
	"LEFT":       left,
	"RIGHT":      right,
	"PATINDEX":   patIndex,
	"REGEXMATCH": regexMatch,
	"REPLACE":    replace,
	"REPLICATE":  replicate,
	"STUFF":      stuff,
	"SUBSTRING":  substring,
	"TRANSLATE":  translate,
	"JSON_PARSE": jsonParse,

	"DATEADD":           dateAdd,
	"DATEDIFF":          dateDiff,
	"DATENAME":          dateName,
	"DATEPART":          datePart,
	"DAY":               partOf("day"),
	"MONTH":             partOf("month"),
	"YEAR":              partOf("year"),
	"DATETIMEFROMPARTS": fromParts,

	"GetArrayElement":        arrayElement,
	"GetArrayLength":         arrayLength,
	"GetRecordPropertyValue": propertyValue,
	"GetType":                typeName,
	"COALESCE":               coalesce,
	"NULLIF":                 nullIf,

	"CreatePoint":      createPoint,
	"CreateLineString": createLineString,
	"CreatePolygon":    createPolygon,
	"ST_DISTANCE":      relation(stDistance),
	"ST_WITHIN":        relation(stWithin),
	"ST_OVERLAPS":      relation(stOverlaps),
	"ST_INTERSECTS":    relation(stIntersects),
}

// numeric1 makes a function of one number that keeps bigint and float.
func numeric1(f func(float64) float64, i func(int64) (int64, bool)) Func {
	return func(args []value.Value) (value.Value, error) {
		v, err := ToNumber(args[0])
		switch {
		case err != nil || v.IsNull():
			return v, err
		case v.Kind() == value.Float:
			return value.Number(f(v.Float())), nil
		}
		n, ok := i(v.Int())
		if !ok {
			return value.Value{}, fail(Overflow, "The result for %d is no bigint.", v.Int())
		}
		return value.Int(n), nil
	}
}

func same1(i int64) (int64, bool) { return i, true }

func abs(i int64) (int64, bool) {
	if i < 0 {
		return -i, i != math.MinInt64
	}
	return i, true
}

func sign(x float64) float64 {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return x
}

// float1 makes a function of one number that gives a float; what is not a
// number is null.
func float1(f func(float64) float64) Func {
	return func(args []value.Value) (value.Value, error) {
		v, err := ToFloat(args[0])
		if err != nil || v.IsNull() {
			return v, err
		}
		r := f(v.Float())
		if math.IsNaN(r) {
			return value.Value{}, nil
		}
		return value.Number(r), nil
	}
}

// power gives the type of its first argument.
func power(args []value.Value) (value.Value, error) {
	x, err := ToNumber(args[0])
	if err != nil || x.IsNull() {
		return x, err
	}
	y, err := ToFloat(args[1])
	if err != nil || y.IsNull() {
		return y, err
	}
	r := math.Pow(x.AsFloat(), y.Float())
	if math.IsNaN(r) {
		return value.Value{}, nil
	}
	if x.Kind() == value.Float {
		return value.Number(r), nil
	}
	if n := y.Float(); n >= 0 && n == math.Trunc(n) {
		if i, ok := integerPower(x.Int(), n); ok {
			return value.Int(i), nil
		}
		return value.Value{}, fail(Overflow, "POWER(%d, %v) is no bigint.", x.Int(), n)
	}
	return ToBigint(value.Number(r))
}

func integerPower(x int64, n float64) (int64, bool) {
	switch {
	case x == 0 && n > 0, x == 1:
		return x, true
	case x == -1:
		if math.Mod(n, 2) == 0 {
			return 1, true
		}
		return -1, true
	case n >= 64:
		return 0, false
	}
	r, ok := int64(1), true
	for i := 0; i < int(n) && ok; i++ {
		r, ok = multiply(r, x)
	}
	return r, ok
}

// round rounds to n digits behind the point, or before it when n is negative;
// halves go away from zero. A bigint stays one.
func round(args []value.Value) (value.Value, error) {
	x, err := ToNumber(args[0])
	if err != nil || x.IsNull() {
		return x, err
	}
	nv, err := ToBigint(args[1])
	if err != nil || nv.IsNull() {
		return nv, err
	}
	n := nv.Int()
	if x.Kind() == value.Float {
		return value.Number(roundFloat(x.Float(), n)), nil
	}
	if n >= 0 {
		return x, nil
	}
	if n < -18 {
		return value.Int(0), nil
	}
	unit := int64(1)
	for ; n < 0; n++ {
		unit *= 10
	}
	rest := x.Int() % unit
	r := x.Int() - rest
	half := magnitude(rest) >= uint64(unit)/2
	switch {
	case half && rest > 0 && r > math.MaxInt64-unit, half && rest < 0 && r < math.MinInt64+unit:
		return value.Value{}, fail(Overflow, "ROUND of %d is no bigint.", x.Int())
	case half && rest > 0:
		r += unit
	case half && rest < 0:
		r -= unit
	}
	return value.Int(r), nil
}

// roundFloat rounds the decimal number that f stands for: 2.675 to two digits
// is 2.68, although the float is a little less.
func roundFloat(f float64, n int64) float64 {
	if n > 15 || math.IsNaN(f) || math.IsInf(f, 0) {
		return f
	}
	if n < -308 {
		return 0
	}
	p := math.Pow(10, math.Abs(float64(n)))
	scaled := f * p
	if n < 0 {
		scaled = f / p
	}
	if math.IsInf(scaled, 0) {
		return f
	}
	whole, fraction := math.Modf(scaled)
	// What is half up to the precision of a float is half.
	if math.Abs(fraction) >= 0.5-1e-15*math.Max(1, math.Abs(whole)) {
		whole += math.Copysign(1, f)
	}
	if n < 0 {
		return whole * p
	}
	return whole / p
}

func arrayElement(args []value.Value) (value.Value, error) {
	a, err := as(args[0], value.Array)
	if err != nil || a.IsNull() {
		return value.Value{}, err
	}
	i, err := ToBigint(args[1])
	if err != nil || i.IsNull() {
		return value.Value{}, err
	}
	list := a.Tree().Values
	if n := i.Int(); n >= 0 && n < int64(len(list)) {
		return list[n], nil
	}
	return value.Value{}, nil
}

func arrayLength(args []value.Value) (value.Value, error) {
	a, err := as(args[0], value.Array)
	if err != nil || a.IsNull() {
		return value.Value{}, err
	}
	return value.Int(int64(len(a.Tree().Values))), nil
}

// as takes a value of one kind only, or null.
func as(v value.Value, kind value.Kind) (value.Value, error) {
	if v.IsNull() || v.Kind() == kind {
		return v, nil
	}
	return value.Value{}, cannot(v, kind.String())
}

func propertyValue(args []value.Value) (value.Value, error) {
	r, err := as(args[0], value.Record)
	if err != nil || r.IsNull() || args[1].IsNull() {
		return value.Value{}, err
	}
	return Member(r, ToText(args[1])), nil
}

// Member gives a member of a record: the one of that name, else the first whose
// name differs in case only, else null. Of what is no record it is null.
func Member(v value.Value, name string) value.Value {
	if v.Kind() != value.Record {
		return value.Value{}
	}
	t := v.Tree()
	for i, n := range t.Names {
		if n == name {
			return t.Values[i]
		}
	}
	for i, n := range t.Names {
		if equalFold(n, name) {
			return t.Values[i]
		}
	}
	return value.Value{}
}

// typeName answers null for null: nothing has no type.
func typeName(args []value.Value) (value.Value, error) {
	if args[0].IsNull() {
		return value.Value{}, nil
	}
	return value.String(args[0].Kind().String()), nil
}

func coalesce(args []value.Value) (value.Value, error) {
	for _, v := range args {
		if !v.IsNull() {
			return v, nil
		}
	}
	return value.Value{}, nil
}

func nullIf(args []value.Value) (value.Value, error) {
	order, ok, err := Compare(args[0], args[1])
	if err != nil || ok && order == 0 {
		return value.Value{}, err
	}
	return args[0], nil
}
