package oracle

import (
	"slices"

	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// member is a row that is grouped, with what is computed of it.
type member struct {
	env  *env
	keys []value.Value
	args [][]value.Value
	ord  [][]value.Value
}

// group gives a row for every group and window that has at least one event.
func group(q *asa.Query, rows []*env) (out []*env) {
	all := make([]*member, 0, len(rows))
	for _, e := range rows {
		m := &member{env: e}
		for _, k := range q.Keys {
			m.keys = append(m.keys, e.value(k))
		}
		key(m.keys) // an error also for what is in no window
		for _, a := range q.Aggregates {
			args, order := arguments(a, e)
			m.args, m.ord = append(m.args, args), append(m.ord, order)
		}
		all = append(all, m)
	}
	slices.SortStableFunc(all, func(a, b *member) int { return compareTicks(a.env.time, b.env.time) })
	windows := []*asa.Window{q.Window}
	if q.Window.Kind == asa.Windows {
		windows = q.Window.Members
	}
	for _, w := range windows {
		var id value.Value
		if w.ID != nil {
			id = value.RecordOf(&value.Tree{Names: []string{"Id"}, Values: []value.Value{value.String(*w.ID)}})
		}
		for _, in := range instances(w, all) {
			e := &env{time: in.end, window: id, keys: in.members[0].keys}
			for i, a := range q.Aggregates {
				e.aggregates = append(e.aggregates, aggregate(a, in.members, i))
			}
			if q.Having == nil || e.holds(q.Having) {
				out = append(out, e)
			}
		}
	}
	return out
}

// instance is one window of one group.
type instance struct {
	end     int64
	members []*member
}

// groups splits members by a key, in the order in which keys appear.
func groups(all []*member, by func(*member) []value.Value) (out [][]*member) {
	at := map[string]int{}
	for _, m := range all {
		k := key(by(m))
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], m)
	}
	return out
}

func byKeys(m *member) []value.Value { return m.keys }

// instances gives all windows that are not empty, of all groups.
func instances(w *asa.Window, all []*member) (out []instance) {
	if w.Kind == asa.SessionWindow && len(w.Over) > 0 {
		own := groups(all, func(m *member) (keys []value.Value) {
			for _, x := range w.Over {
				keys = append(keys, m.env.value(x))
			}
			return keys
		})
		for _, g := range own {
			for _, s := range sessions(w, g) {
				for _, part := range groups(s.members, byKeys) {
					out = append(out, instance{s.end, part})
				}
			}
		}
		return out
	}
	for _, g := range groups(all, byKeys) {
		if w.Kind == asa.SessionWindow {
			out = append(out, sessions(w, g)...)
			continue
		}
		size := w.Size.Ticks()
		for _, end := range ends(w, g) {
			in := instance{end: end}
			for _, m := range g {
				t := m.env.time
				switch {
				case w.Kind == asa.SnapshotWindow && t == end, w.Kind != asa.SnapshotWindow && end-size < t && t <= end:
					in.members = append(in.members, m)
				}
			}
			if len(in.members) > 0 {
				out = append(out, in)
			}
		}
	}
	return out
}

// ends lists the instants at which windows of a group may end.
func ends(w *asa.Window, g []*member) (list []int64) {
	size, hop, offset := w.Size.Ticks(), w.Hop.Ticks(), int64(0)
	if w.Offset != nil {
		offset = w.Offset.Ticks()
	}
	for _, m := range g {
		t := m.env.time
		switch w.Kind {
		case asa.TumblingWindow:
			list = append(list, ceil(t-offset, size)*size+offset)
		case asa.HoppingWindow:
			for end := ceil(t-offset, hop)*hop + offset; end-size < t; end += hop {
				list = append(list, end)
			}
		case asa.SlidingWindow:
			list = append(list, t, t+size)
		case asa.SnapshotWindow:
			list = append(list, t)
		case asa.SessionWindow, asa.Windows:
			panic("oracle: no fixed ends")
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// ceil is a/b rounded up.
func ceil(a, b int64) int64 {
	q := a / b
	if q*b < a {
		q++
	}
	return q
}

// sessions cuts events, which are in order, into sessions: one opens with its
// first event, and an event joins that comes within the timeout of the last. It
// ends a timeout behind its last event, or at the first multiple of the longest
// duration that is at least that duration behind its first event.
func sessions(w *asa.Window, g []*member) (out []instance) {
	timeout, longest := w.Size.Ticks(), w.Max.Ticks()
	var check, last int64
	for _, m := range g {
		t := m.env.time
		if n := len(out); n == 0 || t-last > timeout || t > check {
			check = ceil(t+longest, longest) * longest
			out = append(out, instance{})
		}
		s := &out[len(out)-1]
		s.members = append(s.members, m)
		s.end = min(t+timeout, check)
		last = t
	}
	return out
}
