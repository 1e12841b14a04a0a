package oracle

import (
	"math"
	"math/big"
	"slices"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// arguments computes of a row what an aggregate needs: its argument, or the
// whole row, and what it is ordered by.
func arguments(a *asa.Aggregate, e *env) (args, order []value.Value) {
	if a.Func == nil {
		panic(unsupported("uda.%s", a.User))
	}
	for _, x := range a.Args {
		args = append(args, e.value(x))
	}
	if a.Rows && (len(a.Args) == 0 || a.Func.Name == "CollectTop" && len(a.Args) == 1) {
		args = append(args, e.sources[0].row)
	}
	for _, o := range a.OrderBy {
		order = append(order, e.value(o.Expr))
	}
	return args, order
}

// entry is an event of a list that is aggregated.
type entry struct{ value, order []value.Value }

func aggregate(a *asa.Aggregate, members []*member, n int) value.Value {
	var list []entry
	for _, m := range members {
		list = append(list, entry{m.args[n], m.ord[n]})
	}
	// Texts count as such only where the query says that they are.
	text := false
	if len(a.Args) > 0 {
		text = isText(a.Args[0])
	}
	return fold(a.Func.Name, list, options{rows: a.Rows, distinct: a.Distinct, orderBy: a.OrderBy, text: text})
}

func isText(x asa.Expr) bool {
	c, ok := x.(*asa.Cast)
	return ok && c.To == asa.NVarchar
}

type options struct {
	rows     bool // whole events, which are never null
	distinct bool
	text     bool
	orderBy  []asa.Order
}

// fold computes an aggregate of section 8 over a list. The argument of an event
// is the last of its values.
func fold(name string, list []entry, o options) value.Value {
	var vals []value.Value // that are not null
	for _, x := range list {
		if len(x.value) == 0 {
			continue
		}
		if v := x.value[len(x.value)-1]; !v.IsNull() {
			vals = append(vals, v)
		}
	}
	switch name {
	case "COUNT":
		switch {
		case o.distinct:
			set := map[string]bool{}
			for _, v := range vals {
				set[identity(v)] = true
			}
			return value.Int(int64(len(set)))
		case o.rows:
			return value.Int(int64(len(list)))
		}
		return value.Int(int64(len(vals)))
	case "TopOne", "CollectTop":
		return top(name, list, o)
	}
	if len(vals) == 0 {
		return value.Value{}
	}
	switch name {
	case "Collect":
		return value.ArrayOf(vals)
	case "MIN":
		return extreme(vals, o.text, -1)
	case "MAX":
		return extreme(vals, o.text, 1)
	case "PERCENTILE_CONT", "PERCENTILE_DISC":
		return percentile(name, list, o)
	}
	whole := true
	for i, v := range vals {
		vals[i] = must(scalar.ToNumber(v))
		whole = whole && vals[i].Kind() == value.Bigint
	}
	if name == "SUM" && whole {
		return bigSum(vals)
	}
	return moments(name, vals)
}

func bigSum(vals []value.Value) value.Value {
	sum := new(big.Int)
	for _, v := range vals {
		sum.Add(sum, big.NewInt(v.Int()))
	}
	if !sum.IsInt64() {
		panic(failure(scalar.Overflow, "SUM is no bigint"))
	}
	return value.Int(sum.Int64())
}

func moments(name string, vals []value.Value) value.Value {
	n, sum := float64(len(vals)), 0.0
	for _, v := range vals {
		sum += v.AsFloat()
	}
	mean, squares := sum/n, 0.0
	for _, v := range vals {
		squares += (v.AsFloat() - mean) * (v.AsFloat() - mean)
	}
	if (name == "STDEV" || name == "VAR") && n < 2 {
		return value.Value{}
	}
	switch name {
	case "SUM":
		return value.Number(sum)
	case "AVG":
		return value.Number(mean)
	case "VAR":
		return value.Number(squares / (n - 1))
	case "VARP":
		return value.Number(squares / n)
	case "STDEV":
		return value.Number(math.Sqrt(squares / (n - 1)))
	case "STDEVP":
		return value.Number(math.Sqrt(squares / n))
	}
	panic(unsupported("%s", name))
}

// extreme is MIN or MAX. A text is a number there, unless it was cast to text.
func extreme(vals []value.Value, text bool, sign int) value.Value {
	var best value.Value
	for _, v := range vals {
		if v.Kind() == value.Text && !text {
			v = must(scalar.ToFloat(v))
		}
		order, ok, err := scalar.Compare(v, best)
		if err != nil {
			panic(stop{err})
		}
		if best.IsNull() || ok && order*sign > 0 {
			best = v
		}
	}
	return best
}

func percentile(name string, list []entry, o options) value.Value {
	var nums []value.Value
	share := 0.0
	for _, x := range list {
		share = x.value[0].AsFloat()
		if v := must(scalar.ToNumber(x.order[0])); !v.IsNull() {
			nums = append(nums, v)
		}
	}
	if len(nums) == 0 {
		return value.Value{}
	}
	slices.SortStableFunc(nums, func(a, b value.Value) int {
		order, _, _ := scalar.Compare(a, b)
		if o.orderBy[0].Desc {
			return -order
		}
		return order
	})
	n := len(nums)
	if name == "PERCENTILE_DISC" {
		for i, v := range nums {
			if float64(i+1)/float64(n) >= share {
				return v
			}
		}
	}
	at := share * float64(n-1)
	lo := math.Floor(at)
	hi := math.Ceil(at)
	a, b := nums[int(lo)].AsFloat(), nums[int(hi)].AsFloat()
	return value.Number(a + (b-a)*(at-lo))
}

// top is TopOne and CollectTop: null is the lowest, and of equals the earlier
// goes first.
func top(name string, list []entry, o options) value.Value {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b entry) int {
		for i, by := range o.orderBy {
			order := nullsLowest(a.order[i], b.order[i])
			if by.Desc {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	last := func(x entry) value.Value { return x.value[len(x.value)-1] }
	if name == "TopOne" {
		if len(sorted) == 0 {
			return value.Value{}
		}
		return last(sorted[0])
	}
	if len(sorted) == 0 {
		return value.Value{}
	}
	n := int(sorted[0].value[0].Int())
	var out []value.Value
	for i, x := range sorted[:min(n, len(sorted))] {
		out = append(out, value.RecordOf(&value.Tree{Names: []string{"rank", "value"}, Values: []value.Value{value.Int(int64(i + 1)), last(x)}}))
	}
	return value.ArrayOf(out)
}

func nullsLowest(a, b value.Value) int {
	switch {
	case a.IsNull() && b.IsNull():
		return 0
	case a.IsNull():
		return -1
	case b.IsNull():
		return 1
	}
	order, _, err := scalar.Compare(a, b)
	if err != nil {
		panic(stop{err})
	}
	return order
}
