package scalar

import (
	"math"
	"strconv"
	"time"

	"dunlin/internal/insights/stream/value"
)

// ticksOf gives the length of the units that have one.
var ticksOf = map[string]int64{
	"week": 7 * value.Day, "day": value.Day, "dayofyear": value.Day, "weekday": value.Day, "hour": value.Hour, "minute": value.Minute,
	"second": value.Second, "millisecond": value.Millisecond, "microsecond": value.Microsecond,
}

func dateAdd(args []value.Value) (value.Value, error) {
	n, err := ToFloat(args[1])
	if err != nil || n.IsNull() {
		return value.Value{}, err
	}
	at, err := ToTime(args[2])
	if err != nil || at.IsNull() {
		return value.Value{}, err
	}
	unit := args[0].Text()
	count := math.Trunc(n.Float())
	ticks, ok := addUnits(at.Ticks(), unit, count)
	if !ok {
		return value.Value{}, fail(Overflow, "DATEADD(%s, %v, '%s') is no datetime.", unit, count, ToText(at))
	}
	return value.Time(ticks), nil
}

func addUnits(at int64, unit string, count float64) (ticks int64, ok bool) {
	var months float64
	switch unit {
	case "year":
		months = 12 * count
	case "quarter":
		months = 3 * count
	case "month":
		months = count
	default:
		length := ticksOf[unit]
		if math.IsNaN(count) || math.Abs(count) > float64(value.MaxTicks/length) {
			return 0, false
		}
		ticks = at + int64(count)*length
		return ticks, ticks >= value.MinTicks && ticks <= value.MaxTicks
	}
	if math.IsNaN(months) || math.Abs(months) > 12*10000 {
		return 0, false
	}
	t := value.GoTime(at)
	year, month, day := t.Date()
	m := year*12 + int(month) - 1 + int(months)
	year, month = m/12, time.Month(m%12+1)
	if m < 12 || year > 9999 {
		return 0, false
	}
	// The 31st of a shorter month is its last day.
	last := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	date := time.Date(year, month, min(day, last), 0, 0, 0, 0, time.UTC)
	return value.TicksOf(date) + at%value.Day, true
}

// dateDiff counts the boundaries of the unit between two instants.
func dateDiff(args []value.Value) (value.Value, error) {
	a, err := ToTime(args[1])
	if err != nil || a.IsNull() {
		return value.Value{}, err
	}
	b, err := ToTime(args[2])
	if err != nil || b.IsNull() {
		return value.Value{}, err
	}
	return value.Int(Boundaries(args[0].Text(), a.Ticks(), b.Ticks())), nil
}

// Boundaries counts the boundaries of a unit that lie between two instants,
// those that DATEDIFF counts; negative when b is before a.
func Boundaries(unit string, a, b int64) int64 {
	switch unit {
	case "year", "quarter", "month":
		return calendar(unit, b) - calendar(unit, a)
	case "week":
		// Weeks change on Sunday; the year 1 began on a Monday.
		return (b+value.Day)/(7*value.Day) - (a+value.Day)/(7*value.Day)
	}
	length := ticksOf[unit]
	return b/length - a/length
}

func calendar(unit string, ticks int64) int64 {
	year, month, _ := value.GoTime(ticks).Date()
	switch unit {
	case "year":
		return int64(year)
	case "quarter":
		return int64(year)*4 + int64(month-1)/3
	}
	return int64(year)*12 + int64(month)
}

func partOf(unit string) Func {
	return func(args []value.Value) (value.Value, error) {
		return datePart([]value.Value{value.String(unit), args[0]})
	}
}

func datePart(args []value.Value) (value.Value, error) {
	at, err := ToTime(args[1])
	if err != nil || at.IsNull() {
		return value.Value{}, err
	}
	return value.Int(unitOf(args[0].Text(), at.Ticks())), nil
}

func unitOf(unit string, ticks int64) int64 {
	t := value.GoTime(ticks)
	switch unit {
	case "year":
		return int64(t.Year())
	case "quarter":
		return int64(t.Month()-1)/3 + 1
	case "month":
		return int64(t.Month())
	case "dayofyear":
		return int64(t.YearDay())
	case "day":
		return int64(t.Day())
	case "week": // the first of January is in week 1
		first := time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC)
		return int64(t.YearDay()-1+int(first.Weekday()))/7 + 1
	case "weekday":
		return int64(t.Weekday()) + 1
	case "hour":
		return int64(t.Hour())
	case "minute":
		return int64(t.Minute())
	case "second":
		return int64(t.Second())
	case "millisecond":
		return int64(t.Nanosecond()) / 1e6
	}
	return int64(t.Nanosecond()) / 1e3 // microsecond
}

func dateName(args []value.Value) (value.Value, error) {
	at, err := ToTime(args[1])
	if err != nil || at.IsNull() {
		return value.Value{}, err
	}
	t := value.GoTime(at.Ticks())
	switch unit := args[0].Text(); unit {
	case "month":
		return value.String(t.Month().String()), nil
	case "weekday":
		return value.String(t.Weekday().String()), nil
	default:
		return value.String(strconv.FormatInt(unitOf(unit, at.Ticks()), 10)), nil
	}
}

func fromParts(args []value.Value) (value.Value, error) {
	var p [7]int
	for i, a := range args {
		v, err := ToBigint(a)
		if err != nil || v.IsNull() {
			return value.Value{}, err
		}
		if v.Int() < 0 || v.Int() > 9999 {
			return value.Value{}, fail(InvalidArgument, "DATETIMEFROMPARTS: %d is no part of a date and time.", v.Int())
		}
		p[i] = int(v.Int())
	}
	t := time.Date(p[0], time.Month(p[1]), p[2], p[3], p[4], p[5], p[6]*int(time.Millisecond), time.UTC)
	same := t.Year() == p[0] && int(t.Month()) == p[1] && t.Day() == p[2] && t.Hour() == p[3] && t.Minute() == p[4] && t.Second() == p[5]
	if !same || p[0] < 1 || p[6] > 999 {
		return value.Value{}, fail(InvalidArgument, "DATETIMEFROMPARTS: there is no %04d-%02d-%02d %02d:%02d:%02d.%03d.", p[0], p[1], p[2], p[3], p[4], p[5], p[6])
	}
	return value.Time(value.TicksOf(t)), nil
}
