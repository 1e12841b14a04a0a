package window

import (
	"encoding/binary"
	"slices"

	"dunlin/internal/insights/stream/value"
)

// listHistory is Collect.
type listHistory struct {
	rows queue[value.Value] // null ones, too
	n    int                // that are not null
	held int64
}

func (h *listHistory) push(_ int64, args []value.Value) error {
	h.add(value.Clone(args[0]))
	return nil
}

func (h *listHistory) add(v value.Value) {
	h.rows.push(v)
	h.held += value.Footprint(v)
	if !v.IsNull() {
		h.n++
	}
}

func (h *listHistory) drop(n int) error {
	for i := range n {
		v := *h.rows.at(i)
		h.held -= value.Footprint(v)
		if !v.IsNull() {
			h.n--
		}
	}
	h.rows.cut(n)
	return nil
}

func (h *listHistory) result(*Aggregate) (value.Value, error) {
	if h.n == h.rows.len() {
		return collected(h.rows.all()), nil
	}
	list := make([]value.Value, 0, h.n)
	for _, v := range h.rows.all() {
		if !v.IsNull() {
			list = append(list, v)
		}
	}
	return collected(list), nil
}

func (h *listHistory) bytes() int64 { return int64(cap(h.rows.items))*sizeOfValue + h.held + 48 }

func (h *listHistory) appendState(b []byte) []byte { return appendValues(b, h.rows.all()) }

func (h *listHistory) readState(r *reader) {
	for _, v := range r.values() {
		h.add(v)
	}
}

// distinctHistory is COUNT(DISTINCT).
type distinctHistory struct {
	rows queue[string] // encoded; empty for null
	n    map[string]int
	held int64
	buf  []byte
}

func (h *distinctHistory) push(_ int64, args []value.Value) error {
	if args[0].IsNull() {
		h.add("")
		return nil
	}
	h.buf = appendAny(h.buf[:0], args[0])
	h.add(string(h.buf))
	return nil
}

func (h *distinctHistory) add(s string) {
	h.rows.push(s)
	h.held += int64(len(s))
	if s != "" {
		if h.n == nil {
			h.n = map[string]int{}
		}
		h.n[s]++
	}
}

func (h *distinctHistory) drop(n int) error {
	for i := range n {
		s := *h.rows.at(i)
		h.held -= int64(len(s))
		if s == "" {
			continue
		}
		if h.n[s]--; h.n[s] <= 0 {
			delete(h.n, s)
		}
	}
	h.rows.cut(n)
	return nil
}

func (h *distinctHistory) result(*Aggregate) (value.Value, error) {
	return value.Int(int64(len(h.n))), nil
}

func (h *distinctHistory) bytes() int64 {
	return int64(cap(h.rows.items))*16 + h.held + int64(len(h.n))*64 + 80
}

func (h *distinctHistory) appendState(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(h.rows.len()))
	for _, s := range h.rows.all() {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}

func (h *distinctHistory) readState(r *reader) {
	for range r.count(1) {
		h.add(string(r.bytes()))
	}
}

// topHistory is TopOne and CollectTop: rows in the order that is asked for.
// Rows that can never be the result of TopOne are not kept.
type topHistory struct {
	desc    []bool
	one     bool
	present bool
	begin   int64   // number of the first row of the queue
	end     int64   // number of the next row
	sorted  []top   // for TopOne: in the order of time, each going before those behind it
	number  []int64 // of sorted
	held    int64
}

func (h *topHistory) push(_ int64, args []value.Value) error {
	n := h.end
	h.end++
	if h.present && args[0].IsNull() {
		return nil
	}
	if h.one {
		for k := len(h.sorted); k > 0; k-- {
			order, err := compareTops(args[1:], h.sorted[k-1].by, h.desc)
			if err != nil {
				return err
			}
			if order >= 0 {
				break
			}
			h.remove(k - 1)
		}
		h.insert(len(h.sorted), cloneTop(args[0], args[1:]), n)
		return nil
	}
	at, err := placeOf(h.sorted, args[1:], h.desc)
	if err != nil {
		return err
	}
	h.insert(at, cloneTop(args[0], args[1:]), n)
	return nil
}

func (h *topHistory) insert(at int, t top, number int64) {
	h.held += t.held()
	h.sorted = slices.Insert(h.sorted, at, t)
	h.number = slices.Insert(h.number, at, number)
}

func (h *topHistory) remove(at int) {
	h.held -= h.sorted[at].held()
	h.sorted = slices.Delete(h.sorted, at, at+1)
	h.number = slices.Delete(h.number, at, at+1)
}

func (h *topHistory) drop(n int) error {
	h.begin += int64(n)
	if h.one {
		gone := 0
		for gone < len(h.number) && h.number[gone] < h.begin {
			h.held -= h.sorted[gone].held()
			gone++
		}
		h.sorted = slices.Delete(h.sorted, 0, gone)
		h.number = slices.Delete(h.number, 0, gone)
		return nil
	}
	to := 0
	for i, x := range h.number {
		if x < h.begin {
			h.held -= h.sorted[i].held()
			continue
		}
		h.sorted[to], h.number[to] = h.sorted[i], x
		to++
	}
	clear(h.sorted[to:])
	h.sorted, h.number = h.sorted[:to], h.number[:to]
	return nil
}

func (h *topHistory) result(a *Aggregate) (value.Value, error) { return topResult(h.sorted, a), nil }

func (h *topHistory) bytes() int64 { return int64(cap(h.sorted)-len(h.sorted))*64 + h.held + 140 }

func (h *topHistory) appendState(b []byte) []byte {
	b = binary.AppendVarint(binary.AppendVarint(b, h.begin), h.end)
	b = appendTimes(b, h.number)
	return appendTops(b, h.sorted)
}

func (h *topHistory) readState(r *reader) {
	h.begin, h.end = r.varint(), r.varint()
	h.number = r.times()
	h.sorted = r.tops(len(h.desc))
	if len(h.number) != len(h.sorted) {
		r.fail()
	}
	for i := range h.sorted {
		h.held += h.sorted[i].held()
	}
}

// userHistory is a user-defined aggregate. One that can take values back keeps
// its state; for others all starts anew when a row has gone.
type userHistory struct {
	user  User
	rows  queue[stamped] // null ones, too
	state UserState      // of the first done rows; nil: none
	done  int
	n     int // that are not null
	held  int64
}

func (h *userHistory) push(t int64, args []value.Value) error {
	h.add(stamped{t, value.Clone(args[0])})
	return nil
}

func (h *userHistory) add(x stamped) {
	h.rows.push(x)
	h.held += value.Footprint(x.value)
	if !x.value.IsNull() {
		h.n++
	}
}

func (h *userHistory) drop(n int) error {
	for i := range n {
		x := h.rows.at(i)
		h.held -= value.Footprint(x.value)
		if x.value.IsNull() {
			continue
		}
		h.n--
		if h.state == nil || i >= h.done {
			h.state = nil
			continue
		}
		if ok, err := h.state.Deaccumulate(x.value, x.time); err != nil {
			return err
		} else if !ok {
			h.state = nil
		}
	}
	h.rows.cut(n)
	h.done = max(0, h.done-n)
	return nil
}

func (h *userHistory) result(*Aggregate) (value.Value, error) {
	if h.n == 0 {
		return value.Value{}, nil
	}
	if h.state == nil {
		var err error
		if h.state, err = h.user.Init(); err != nil {
			return value.Value{}, err
		}
		h.done = 0
	}
	for ; h.done < h.rows.len(); h.done++ {
		x := h.rows.at(h.done)
		if x.value.IsNull() {
			continue
		}
		if err := h.state.Accumulate(x.value, x.time); err != nil {
			return value.Value{}, err
		}
	}
	return h.state.Result()
}

func (h *userHistory) bytes() int64 { return int64(cap(h.rows.items))*(sizeOfValue+8) + h.held + 96 }

func (h *userHistory) appendState(b []byte) []byte { return appendStamped(b, h.rows.all()) }

func (h *userHistory) readState(r *reader) {
	for _, x := range r.stamped() {
		h.add(x)
	}
}
