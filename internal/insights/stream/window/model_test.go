package window_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

// The model goes through all events for each window.

type modelRow struct {
	end    int64
	window int
	text   string
}

func model(q *asa.Query, aggs []window.Aggregate, events []event) (out []modelRow) {
	list := []*asa.Window{q.Window}
	if q.Window.Kind == asa.Windows {
		list = q.Window.Members
	}
	for w, win := range list {
		add := func(end int64, in []event) {
			for _, group := range split(in, q.Keys) {
				out = append(out, modelRow{end, w, modelText(q, aggs, win, group)})
			}
		}
		if win.Kind == asa.SessionWindow {
			for _, group := range split(events, append(slices.Clone(win.Over), groupsOf(win, q)...)) {
				modelSessions(win, group, add)
			}
			continue
		}
		for _, end := range modelEnds(win, events) {
			var in []event
			for _, e := range events {
				if win.Kind == asa.SnapshotWindow && e.at == end || win.Kind != asa.SnapshotWindow && end-win.Size.Ticks() < e.at && e.at <= end {
					in = append(in, e)
				}
			}
			if win.Kind != asa.SlidingWindow {
				add(end, in)
				continue
			}
			for _, group := range split(in, q.Keys) {
				// Only groups of which a row came or went.
				change := slices.ContainsFunc(split(events, q.Keys), func(all []event) bool {
					return sameKey(all[0], group[0], q.Keys) && slices.ContainsFunc(all, func(e event) bool { return e.at == end || e.at+win.Size.Ticks() == end })
				})
				if change {
					add(end, group)
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b modelRow) int {
		if a.end != b.end {
			return int(min(max(a.end-b.end, -1), 1))
		}
		return a.window - b.window
	})
	return out
}

// groupsOf gives the keys of sessions without keys of their own.
func groupsOf(w *asa.Window, q *asa.Query) []asa.Expr {
	if len(w.Over) > 0 {
		return nil
	}
	return q.Keys
}

func modelEnds(w *asa.Window, events []event) (list []int64) {
	size, step, offset := w.Size.Ticks(), w.Hop.Ticks(), int64(0)
	if w.Kind == asa.TumblingWindow {
		step = size
	}
	if w.Offset != nil {
		offset = w.Offset.Ticks()
	}
	for _, e := range events {
		switch w.Kind {
		case asa.SlidingWindow:
			list = append(list, e.at, e.at+size)
		case asa.SnapshotWindow:
			list = append(list, e.at)
		default:
			for k := (e.at-offset)/step - 2; k*step+offset < e.at+size; k++ {
				list = append(list, k*step+offset)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func modelSessions(w *asa.Window, events []event, add func(int64, []event)) {
	timeout, most := w.Size.Ticks(), w.Max.Ticks()
	for len(events) > 0 {
		opened := events[0].at
		check := most
		for check-opened < most {
			check += most
		}
		n := 1
		for n < len(events) && events[n].at-events[n-1].at <= timeout && events[n].at <= check {
			n++
		}
		add(min(events[n-1].at+timeout, check), events[:n])
		events = events[n:]
	}
}

func keyText(v value.Value) string {
	if v.Kind() == value.Float && v.Float() == math.Trunc(v.Float()) {
		v = value.Int(int64(v.Float()))
	}
	return v.Kind().String() + string(value.AppendJSON(nil, v))
}

func sameKey(a, b event, keys []asa.Expr) bool {
	for _, k := range keys {
		if keyText(a.value(k)) != keyText(b.value(k)) {
			return false
		}
	}
	return true
}

func split(events []event, keys []asa.Expr) (out [][]event) {
next:
	for _, e := range events {
		for i := range out {
			if sameKey(out[i][0], e, keys) {
				out[i] = append(out[i], e)
				continue next
			}
		}
		out = append(out, []event{e})
	}
	return out
}

func modelText(q *asa.Query, aggs []window.Aggregate, w *asa.Window, group []event) string {
	var cols []value.Value
	for _, k := range q.Keys {
		cols = append(cols, group[0].value(k))
	}
	for i := range aggs {
		cols = append(cols, modelAggregate(&aggs[i], group))
	}
	id := value.Value{}
	if w.ID != nil {
		id = value.RecordOf(&value.Tree{Names: []string{"Id"}, Values: []value.Value{value.String(*w.ID)}})
	}
	return normal(append(cols, id))
}

// normal shows values so that those that are equal numbers look alike.
func normal(cols []value.Value) string {
	s := show(cols)
	return strings.ReplaceAll(s, ".0,", ",")
}

func modelAggregate(a *window.Aggregate, group []event) value.Value {
	if a.Func == window.CountRows {
		return value.Int(int64(len(group)))
	}
	var vals []value.Value
	var rows []event
	for _, e := range group {
		if v := e.value(a.Args[0]); !v.IsNull() {
			vals = append(vals, v)
			rows = append(rows, e)
		}
	}
	num := func(v value.Value) value.Value {
		n, err := scalar.ToNumber(v)
		if err != nil {
			panic(err)
		}
		return n
	}
	switch a.Func {
	case window.Count:
		return value.Int(int64(len(vals)))
	case window.CountDistinct:
		set := map[string]bool{}
		for _, v := range vals {
			set[keyText(v)] = true
		}
		return value.Int(int64(len(set)))
	case window.TopOne, window.CollectTop:
		if a.Desc != nil && len(a.Args) == 2 && a.Args[0] == a.Args[1] { // MIN and MAX of texts
			return modelTop(a, rows)
		}
		return modelTop(a, group)
	default:
	}
	if len(vals) == 0 {
		return value.Value{}
	}
	switch a.Func {
	case window.Collect:
		return value.ArrayOf(vals)
	case window.UserDefined:
		n, sum := int64(0), int64(0)
		for _, e := range rows {
			n, sum = n+1, sum+e.at%1000003
		}
		return value.Int(n*100000000 + sum)
	default:
	}
	sum, whole := new(big.Rat), true
	for i, v := range vals {
		vals[i] = num(v)
		whole = whole && vals[i].Kind() == value.Bigint
		sum.Add(sum, rat(vals[i]))
	}
	n := new(big.Rat).SetInt64(int64(len(vals)))
	float := func(r *big.Rat) value.Value {
		f, _ := r.Float64()
		return value.Number(f)
	}
	switch a.Func {
	case window.Sum:
		if whole {
			return value.Int(sum.Num().Int64())
		}
		return float(sum)
	case window.Avg:
		return float(sum.Quo(sum, n))
	case window.Min, window.Max:
		best := vals[0]
		for _, v := range vals[1:] {
			if c := rat(v).Cmp(rat(best)); a.Func == window.Min && c < 0 || a.Func == window.Max && c > 0 {
				best = v
			}
		}
		return best
	case window.Var, window.VarP, window.Stdev, window.StdevP:
		mean := new(big.Rat).Quo(sum, n)
		squares := new(big.Rat)
		for _, v := range vals {
			d := new(big.Rat).Sub(rat(v), mean)
			squares.Add(squares, d.Mul(d, d))
		}
		by := int64(len(vals))
		if a.Func == window.Var || a.Func == window.Stdev {
			by--
		}
		if by == 0 {
			return value.Value{}
		}
		f, _ := squares.Quo(squares, new(big.Rat).SetInt64(by)).Float64()
		if a.Func == window.Stdev || a.Func == window.StdevP {
			f = math.Sqrt(f)
		}
		return value.Number(f)
	case window.PercentileCont, window.PercentileDisc:
		return modelPercentile(a, vals)
	default:
	}
	panic(fmt.Sprint(a.Func))
}

func rat(v value.Value) *big.Rat {
	if v.Kind() == value.Bigint {
		return new(big.Rat).SetInt64(v.Int())
	}
	return new(big.Rat).SetFloat64(v.Float())
}

func modelPercentile(a *window.Aggregate, vals []value.Value) value.Value {
	slices.SortStableFunc(vals, func(x, y value.Value) int { return rat(x).Cmp(rat(y)) })
	if a.Desc[0] {
		slices.Reverse(vals)
	}
	n := len(vals)
	if a.Func == window.PercentileDisc {
		for i, v := range vals {
			if float64(i+1)/float64(n) >= a.Share {
				return value.Number(v.AsFloat())
			}
		}
	}
	p := a.Share * float64(n-1)
	lo, hi := vals[int(math.Floor(p))].AsFloat(), vals[int(math.Ceil(p))].AsFloat()
	return value.Number(lo + (hi-lo)*(p-math.Floor(p)))
}

func modelTop(a *window.Aggregate, rows []event) value.Value {
	rows = slices.Clone(rows)
	orders := a.Args[len(a.Args)-len(a.Desc):]
	slices.SortStableFunc(rows, func(x, y event) int {
		for i, o := range orders {
			v, w := x.value(o), y.value(o)
			order := 0
			switch {
			case v.IsNull() && w.IsNull():
			case v.IsNull():
				order = -1
			case w.IsNull():
				order = 1
			default:
				order, _, _ = scalar.Compare(v, w)
			}
			if a.Desc[i] {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	})
	if len(rows) == 0 {
		return value.Value{}
	}
	if a.Func == window.TopOne {
		return rows[0].value(a.Args[0])
	}
	var list []value.Value
	for i, r := range rows[:min(len(rows), a.Top)] {
		list = append(list, value.RecordOf(&value.Tree{Names: []string{"rank", "value"}, Values: []value.Value{value.Int(int64(i + 1)), r.value(a.Args[0])}}))
	}
	return value.ArrayOf(list)
}

func aggregateText() *rapid.Generator[string] {
	return rapid.SampledFrom([]string{
		"COUNT(*)", "COUNT(x)", "COUNT(DISTINCT x)", "COUNT(DISTINCT i)", "SUM(x)", "AVG(x)", "AVG(y)", "SUM(y)", "MIN(x)", "MAX(x)", "MIN(y)", "MAX(CAST(x AS nvarchar(max)))", "MIN(CAST(x AS nvarchar(max)))",
		"STDEV(x)", "STDEVP(y)", "VAR(x)", "VARP(x)", "PERCENTILE_CONT(0.3) OVER (ORDER BY x)", "PERCENTILE_DISC(0.6) OVER (ORDER BY y DESC)", "Collect(x)", "Collect()",
		"TopOne() OVER (ORDER BY x DESC)", "TopOne(y) OVER (ORDER BY x, y DESC)", "CollectTop(2) OVER (ORDER BY x)", "CollectTop(3, y) OVER (ORDER BY y DESC)", "uda.last(x)", "uda.range(y)",
	})
}

func windowText(t *rapid.T, inside bool) string {
	n := func(lo, hi int) int { return rapid.IntRange(lo, hi).Draw(t, "n") }
	kinds := 7
	if inside {
		kinds = 6
	}
	switch n(0, kinds-1) {
	case 0:
		return fmt.Sprintf("TumblingWindow(Duration(second, %d), Offset(second, %d))", n(1, 8), n(0, 4))
	case 1:
		return fmt.Sprintf("HoppingWindow(second, %d, %d)", n(1, 40), n(1, 7))
	case 2:
		return fmt.Sprintf("SlidingWindow(second, %d)", n(1, 9))
	case 3:
		timeout := n(1, 6)
		over := ""
		if rapid.Bool().Draw(t, "over") {
			over = " OVER (PARTITION BY l)"
		}
		return fmt.Sprintf("SessionWindow(second, %d, %d)%s", timeout, timeout+n(0, 8), over)
	case 4:
		return "System.Timestamp()"
	case 5:
		return fmt.Sprintf("HoppingWindow(Duration(second, %d), Hop(second, %d), Offset(millisecond, -500))", n(1, 20), n(1, 5))
	}
	var list []string
	for i := range n(2, 4) {
		list = append(list, fmt.Sprintf("Window('w%d', %s)", i, windowText(t, true)))
	}
	return "Windows(" + strings.Join(list, ", ") + ")"
}

func randomEvents(t *rapid.T, most int) (events []event) {
	now := int64(rapid.IntRange(0, 20).Draw(t, "start")) * second / 2
	for range rapid.IntRange(1, most).Draw(t, "events") {
		now += int64(rapid.SampledFrom([]int{0, 0, 1, 1, 2, 3, 5, 20}).Draw(t, "gap")) * second / 2
		e := event{now, map[string]value.Value{}}
		switch rapid.IntRange(0, 4).Draw(t, "k") {
		case 0:
			e.cols["k"] = value.String("a")
		case 1:
			e.cols["k"] = value.Int(1)
		case 2:
			e.cols["k"] = value.Int(2)
		case 3:
			e.cols["k"] = value.String("")
		}
		e.cols["l"] = value.String(rapid.SampledFrom([]string{"p", "q"}).Draw(t, "l"))
		number := func(name string) value.Value {
			n := rapid.IntRange(-3, 12).Draw(t, name)
			switch {
			case n == 12:
				return value.Value{}
			case n%4 == 1:
				return value.Number(float64(n) / 2)
			}
			return value.Int(int64(n))
		}
		e.cols["x"] = number("x")
		if e.cols["x"].IsNull() && rapid.Bool().Draw(t, "text") {
			e.cols["x"] = value.String("2.5")
		}
		e.cols["y"] = value.Number(float64(rapid.IntRange(-20, 20).Draw(t, "y")) / 4)
		events = append(events, e)
	}
	return events
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		for i := range rapid.IntRange(1, 4).Draw(t, "aggregates") {
			list = append(list, fmt.Sprintf("%s AS a%d", aggregateText().Draw(t, "aggregate"), i))
		}
		keys := rapid.SampledFrom([]string{"", "k, ", "k, l, "}).Draw(t, "keys")
		text := "SELECT " + strings.Join(list, ", ") + ", System.Window().Id AS w FROM i GROUP BY " + keys + windowText(t, false)
		q := queryOf(t, text)
		g := newGrouping(t, q)
		events := randomEvents(t, 40)
		want := model(q, g.spec.Aggregates, events)
		complete := func(ticks int64) {
			var got, expect []string
			for _, r := range g.out {
				got = append(got, fmt.Sprintf("%g: %s", float64(r.end)/second, strings.ReplaceAll(r.text, ".0,", ",")))
			}
			for _, r := range want {
				if r.end <= ticks {
					expect = append(expect, fmt.Sprintf("%g: %s", float64(r.end)/second, r.text))
				}
			}
			if !slices.IsSortedFunc(g.out, func(a, b outRow) int { return int(min(max(a.end-b.end, -1), 1)) }) {
				t.Fatalf("%s\nrows are not in the order of time:\n%s", text, strings.Join(got, "\n"))
			}
			slices.Sort(got)
			slices.Sort(expect)
			if !slices.Equal(got, expect) {
				t.Fatalf("%s\nat %g:\n%s\nwant\n%s", text, float64(ticks)/second, strings.Join(got, "\n"), strings.Join(expect, "\n"))
			}
		}
		rest := events
		for len(rest) > 0 {
			n := rapid.IntRange(1, min(8, len(rest))).Draw(t, "batch")
			if err := g.add(rest[:n]...); err != nil {
				t.Fatal(text, err)
			}
			now := rest[n-1].at - 1
			rest = rest[n:]
			if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
				g.restart()
			}
			complete(now)
			if rapid.Bool().Draw(t, "reached") {
				now += int64(rapid.IntRange(0, 3).Draw(t, "later")) * second / 2
				if len(rest) > 0 {
					now = min(now, rest[0].at-1)
				}
				if err := g.Reached(now); err != nil {
					t.Fatal(text, err)
				}
				complete(max(now, events[len(events)-len(rest)-1].at-1))
			}
		}
		if err := g.Reached(1 << 62); err != nil {
			t.Fatal(text, err)
		}
		complete(1 << 62)
		if g.Bytes() > 100<<10 {
			t.Fatalf("%s: %d bytes are left", text, g.Bytes())
		}
	})
}

// Where batches end, and whether the grouper was stopped in between, shows
// nowhere: not in the last digit, nor in the order of rows.
func TestRepeatable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []string
		for i := range rapid.IntRange(1, 3).Draw(t, "aggregates") {
			list = append(list, fmt.Sprintf("%s AS a%d", aggregateText().Draw(t, "aggregate"), i))
		}
		q := queryOf(t, "SELECT "+strings.Join(list, ", ")+" FROM i GROUP BY k, "+windowText(t, false))
		a, b := newGrouping(t, q), newGrouping(t, q)
		a.exact, b.exact = true, true
		events := randomEvents(t, 60)
		for i := range events {
			events[i].cols["y"] = value.Number(events[i].cols["y"].Float() / 3 * math.Pow(10, float64(i%7*4)))
		}
		if err := a.add(events...); err != nil {
			t.Fatal(err)
		}
		for len(events) > 0 {
			n := rapid.IntRange(1, len(events)).Draw(t, "batch")
			if err := b.add(events[:n]...); err != nil {
				t.Fatal(err)
			}
			if events = events[n:]; rapid.Bool().Draw(t, "restart") {
				b.restart()
			}
		}
		for _, g := range []*grouping{a, b} {
			if err := g.Reached(1 << 62); err != nil {
				t.Fatal(err)
			}
		}
		if a.String() != b.String() {
			t.Fatalf("%s\nother than\n%s", b, a)
		}
	})
}
