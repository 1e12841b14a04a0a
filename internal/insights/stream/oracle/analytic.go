package oracle

import (
	"slices"

	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// past is what an analytic function knows of an event.
type past struct {
	time    int64
	key     string
	counts  bool // it satisfies WHEN
	args    []value.Value
	order   []value.Value
	payload value.Value
}

// analytics computes the analytic functions for every row of the first source,
// which are in order, by looking at all rows before.
func analytics(q *asa.Query, rows []*env) {
	for _, a := range q.Analytic {
		var seen []past
		for _, e := range rows {
			p := past{time: e.time, counts: a.When == nil || e.holds(a.When), payload: e.sources[0].row}
			var by []value.Value
			for _, x := range a.PartitionBy {
				by = append(by, e.value(x))
			}
			p.key = key(by)
			for _, x := range a.Call.Args {
				p.args = append(p.args, e.value(x))
			}
			for _, o := range a.OrderBy {
				p.order = append(p.order, e.value(o.Expr))
			}
			seen = append(seen, p)
			e.analytic = append(e.analytic, analytic(a, seen))
		}
	}
}

// analytic computes a function for the last of the events.
func analytic(a *asa.Analytic, seen []past) value.Value {
	now := seen[len(seen)-1]
	if a.Func.Name == "ISFIRST" {
		return isFirst(seen)
	}
	var history []past // what counts, within the duration, up to the event itself
	for _, p := range seen {
		if p.counts && p.key == now.key && p.time > now.time-a.Limit.Ticks() {
			history = append(history, p)
		}
	}
	switch a.Func.Name {
	case "LAG", "LAST":
		return lag(a, seen, history, now)
	case "COUNT", "SUM", "AVG", "MIN", "MAX", "Collect", "TopOne", "CollectTop":
	default:
		panic(unsupported("%s", a.Func.Name))
	}
	args := 1 // without which it takes whole events
	if a.Func.Name == "CollectTop" {
		args = 2
	}
	o := options{rows: a.Call.Star || len(a.Call.Args) < args, orderBy: a.OrderBy}
	if !o.rows {
		o.text = isText(a.Call.Args[0])
	}
	var list []entry
	for _, p := range history {
		x := entry{p.args, p.order}
		if o.rows {
			x.value = append(slices.Clip(x.value), p.payload)
		}
		list = append(list, x)
	}
	return fold(a.Func.Name, list, o)
}

func lag(a *asa.Analytic, seen, history []past, now past) value.Value {
	args := now.args
	if a.Call.Star {
		args = append([]value.Value{now.payload}, args...)
	}
	back := 0
	var otherwise value.Value
	if a.Func.Name == "LAG" {
		back = 1
		if len(args) > 1 {
			back = int(args[1].Int())
		}
		if len(args) > 2 {
			otherwise = args[2]
		}
		// The event itself is no earlier one.
		if seen[len(seen)-1].counts {
			history = history[:len(history)-1]
		}
		back--
	} else if len(args) > 1 {
		otherwise = args[1]
	}
	if back >= len(history) {
		return otherwise
	}
	p := history[len(history)-1-back]
	if a.Call.Star {
		return p.payload
	}
	return p.args[0]
}

// isFirst tells whether the last event is the first that counts in its interval,
// (start, end] as with tumbling windows.
func isFirst(seen []past) value.Value {
	now := seen[len(seen)-1]
	unit := map[string]asa.Unit{
		"day": asa.Day, "hour": asa.Hour, "minute": asa.Minute, "second": asa.Second, "millisecond": asa.Millisecond, "microsecond": asa.Microsecond,
	}[now.args[0].Text()]
	length := unit.Ticks() * now.args[1].Int()
	if !now.counts {
		return value.Int(0)
	}
	for _, p := range seen[:len(seen)-1] {
		if p.counts && p.key == now.key && ceil(p.time, length) == ceil(now.time, length) {
			return value.Int(0)
		}
	}
	return value.Int(1)
}
