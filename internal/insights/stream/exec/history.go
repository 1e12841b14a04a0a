package exec

import (
	"math"
	"math/bits"
	"slices"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// history is what an analytic function keeps of the rows of one key.
type history interface {
	// row takes the next row and gives the function's value for it. counts says
	// that the row satisfies WHEN.
	row(ticks int64, counts bool, args []value.Value) (value.Value, error)
	// bytes is roughly the memory it takes.
	bytes() int64
	appendState(b []byte) []byte
	readState(r *stateReader)
}

// event is a value and when it was.
type event struct {
	ticks int64
	value value.Value
}

const eventBytes = 48

// recall is LAG and LAST. Of its arguments the first is the value, and the
// second, if there is one, what stands for one that does not exist.
type recall struct {
	back    int  // which of the events that count, from the last, 1 for the last
	current bool // the row itself is one of them
	span    int64
	events  queue[event]
	size    int64
}

func (h *recall) row(ticks int64, counts bool, args []value.Value) (v value.Value, err error) {
	if counts && h.current {
		h.push(ticks, args[0])
	}
	for h.events.len() > 0 && h.events.at(0).ticks <= ticks-h.span {
		h.pop()
	}
	if len(args) > 1 {
		v = args[1]
	}
	if n := h.events.len(); n >= h.back {
		v = h.events.at(n - h.back).value
	}
	if counts && !h.current {
		h.push(ticks, args[0])
	}
	return v, nil
}

func (h *recall) push(ticks int64, v value.Value) {
	if h.events.len() == h.back {
		h.pop()
	}
	v = value.Clone(v)
	h.size += value.Footprint(v)
	h.events.push(event{ticks, v})
}

func (h *recall) pop() {
	h.size -= value.Footprint(h.events.at(0).value)
	h.events.popFront()
}

func (h *recall) bytes() int64 { return int64(cap(h.events.list))*eventBytes + h.size }

// first is ISFIRST.
type first struct {
	length int64
	last   int64 // interval of the last event that counts
	begun  bool
}

func (h *first) row(ticks int64, counts bool, _ []value.Value) (value.Value, error) {
	if !counts {
		return value.Int(0), nil
	}
	// Intervals are (start, end].
	interval := (ticks + h.length - 1) / h.length
	if h.begun && interval == h.last {
		return value.Int(0), nil
	}
	h.last, h.begun = interval, true
	return value.Int(1), nil
}

func (h *first) bytes() int64 { return 0 }

// count is COUNT: of rows, or of values that are not null.
type count struct {
	rows  bool
	span  int64
	times queue[int64]
}

func (h *count) row(ticks int64, counts bool, args []value.Value) (value.Value, error) {
	if counts && (h.rows || !args[0].IsNull()) {
		h.times.push(ticks)
	}
	for h.times.len() > 0 && *h.times.at(0) <= ticks-h.span {
		h.times.popFront()
	}
	return value.Int(int64(h.times.len())), nil
}

func (h *count) bytes() int64 { return int64(cap(h.times.list)) * 8 }

// total is a sum: of bigints, 128 bits wide, and of floats.
type total struct {
	hi     int64
	lo     uint64
	float  float64
	ints   int64 // how many
	floats int64
}

func (t *total) add(v value.Value) {
	if v.Kind() == value.Float {
		t.float += v.Float()
		t.floats++
		return
	}
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, uint64(v.Int()), 0)
	t.hi += v.Int()>>63 + int64(carry)
	t.ints++
}

func (t *total) merge(o *total) {
	var carry uint64
	t.lo, carry = bits.Add64(t.lo, o.lo, 0)
	t.hi += o.hi + int64(carry)
	t.float += o.float
	t.ints += o.ints
	t.floats += o.floats
}

func (t *total) asFloat() float64 {
	if t.hi == int64(t.lo)>>63 {
		return t.float + float64(int64(t.lo))
	}
	return t.float + float64(t.hi)*(1<<64) + float64(t.lo)
}

func (t *total) sum() (value.Value, error) {
	switch {
	case t.ints+t.floats == 0:
		return value.Value{}, nil
	case t.floats > 0:
		return value.Number(t.asFloat()), nil
	case t.hi != int64(t.lo)>>63:
		return value.Value{}, &scalar.Error{Kind: scalar.Overflow, Message: "Arithmetic overflow: the result of SUM is no bigint."}
	}
	return value.Int(int64(t.lo)), nil
}

// sum is SUM and AVG. Nothing is taken from a sum, as floats would not come out
// as they went in: events are in two stacks, of which the older one knows the
// sum from each of its events on.
type sum struct {
	average bool
	span    int64
	newer   queue[event]
	all     total      // of newer
	older   []sumSince // the oldest is the last
}

type sumSince struct {
	event
	sum total
}

func (h *sum) row(ticks int64, counts bool, args []value.Value) (value.Value, error) {
	// What is too old as a whole goes at once, as it does with an idle key: sums
	// of floats depend on their order, and that must not depend on when a key is
	// forgotten.
	if h.newest() <= ticks-h.span {
		h.newer, h.all, h.older = queue[event]{list: h.newer.list[:0]}, total{}, h.older[:0]
	}
	if counts && !args[0].IsNull() {
		v, err := scalar.ToNumber(args[0])
		if err != nil {
			return v, err
		}
		h.newer.push(event{ticks, v})
		h.all.add(v)
	}
	h.expire(ticks - h.span)
	t := h.all
	if n := len(h.older); n > 0 {
		t.merge(&h.older[n-1].sum)
	}
	if !h.average {
		return t.sum()
	}
	if t.ints+t.floats == 0 {
		return value.Value{}, nil
	}
	return value.Number(t.asFloat() / float64(t.ints+t.floats)), nil
}

// newest is the time of the last event.
func (h *sum) newest() int64 {
	switch n := h.newer.len(); {
	case n > 0:
		return h.newer.at(n - 1).ticks
	case len(h.older) > 0:
		return h.older[0].ticks
	}
	return math.MaxInt64
}

func (h *sum) expire(until int64) {
	for {
		n := len(h.older)
		if n > 0 {
			if h.older[n-1].ticks > until {
				return
			}
			h.older = h.older[:n-1]
			continue
		}
		if h.newer.len() == 0 || h.newer.at(0).ticks > until {
			return
		}
		h.turn()
	}
}

// turn makes all newer events older ones, of which there are none.
func (h *sum) turn() {
	var since total
	for _, e := range slices.Backward(h.newer.items()) {
		since.add(e.value)
		h.older = append(h.older, sumSince{e, since})
	}
	h.newer, h.all = queue[event]{list: h.newer.list[:0]}, total{}
}

func (h *sum) bytes() int64 {
	return int64(cap(h.newer.list))*eventBytes + int64(cap(h.older))*(eventBytes+40)
}

// extreme is MIN and MAX: it keeps the events that can still become the result.
type extreme struct {
	sign   int  // 1 for MAX, -1 for MIN
	text   bool // texts are compared as such; else they are numbers
	span   int64
	events queue[event]
	size   int64
}

func (h *extreme) row(ticks int64, counts bool, args []value.Value) (v value.Value, err error) {
	for h.events.len() > 0 && h.events.at(0).ticks <= ticks-h.span {
		h.size -= value.Footprint(h.events.at(0).value)
		h.events.popFront()
	}
	if counts && !args[0].IsNull() {
		if err := h.add(ticks, args[0]); err != nil {
			return v, err
		}
	}
	if h.events.len() > 0 {
		v = h.events.at(0).value
	}
	return v, nil
}

func (h *extreme) add(ticks int64, v value.Value) (err error) {
	if v.Kind() == value.Text && !h.text {
		if v, err = scalar.ToFloat(v); err != nil {
			return err
		}
	}
	for h.events.len() > 0 {
		last := h.events.at(h.events.len() - 1)
		order, _, err := scalar.Compare(v, last.value)
		if err != nil {
			return err
		}
		if order*h.sign <= 0 {
			break
		}
		h.size -= value.Footprint(last.value)
		h.events.popBack()
	}
	v = value.Clone(v)
	h.size += value.Footprint(v)
	h.events.push(event{ticks, v})
	return nil
}

func (h *extreme) bytes() int64 { return int64(cap(h.events.list))*eventBytes + h.size }

// collect is Collect.
type collect struct {
	span   int64
	events queue[event]
	size   int64
}

func (h *collect) row(ticks int64, counts bool, args []value.Value) (value.Value, error) {
	for h.events.len() > 0 && h.events.at(0).ticks <= ticks-h.span {
		h.size -= value.Footprint(h.events.at(0).value)
		h.events.popFront()
	}
	if counts && !args[0].IsNull() {
		v := value.Clone(args[0])
		h.size += value.Footprint(v)
		h.events.push(event{ticks, v})
	}
	if h.events.len() == 0 {
		return value.Value{}, nil
	}
	list := make([]value.Value, h.events.len())
	for i, e := range h.events.items() {
		list[i] = e.value
	}
	return value.ArrayOf(list), nil
}

func (h *collect) bytes() int64 { return int64(cap(h.events.list))*eventBytes + h.size }

// top is TopOne and CollectTop. The first argument is the value, the others are
// what it is ordered by.
type top struct {
	most   int
	array  bool // CollectTop
	desc   []bool
	span   int64
	came   int64
	events queue[*ranked] // in the order of time
	order  []*ranked      // in that of rank
	size   int64
}

type ranked struct {
	event
	came int64
	by   []value.Value
}

func (h *top) row(ticks int64, counts bool, args []value.Value) (value.Value, error) {
	var err error
	find := func(x *ranked) int {
		at, _ := slices.BinarySearchFunc(h.order, x, func(a, b *ranked) int {
			order, failed := h.compare(a, b)
			if failed != nil {
				err = failed
			}
			return order
		})
		return at
	}
	for h.events.len() > 0 && (*h.events.at(0)).ticks <= ticks-h.span {
		x := *h.events.at(0)
		h.events.popFront()
		at := find(x)
		if err != nil {
			return value.Value{}, err
		}
		h.order = slices.Delete(h.order, at, at+1)
		h.size -= x.bytes()
	}
	if counts {
		x := &ranked{event: event{ticks, value.Clone(args[0])}, came: h.came}
		h.came++
		for _, v := range args[1:] {
			x.by = append(x.by, value.Clone(v))
		}
		at := find(x)
		if err != nil {
			return value.Value{}, err
		}
		h.order = slices.Insert(h.order, at, x)
		h.events.push(x)
		h.size += x.bytes()
	}
	return h.result(), nil
}

func (h *top) result() value.Value {
	switch {
	case len(h.order) == 0:
		return value.Value{}
	case !h.array:
		return h.order[0].value
	}
	var list []value.Value
	for i, x := range h.order[:min(h.most, len(h.order))] {
		list = append(list, value.RecordOf(&value.Tree{Names: rankNames, Values: []value.Value{value.Int(int64(i + 1)), x.value}}))
	}
	return value.ArrayOf(list)
}

var rankNames = []string{"rank", "value"}

// sort ranks all events anew.
func (h *top) sort() {
	h.order = append(h.order[:0], h.events.items()...)
	slices.SortFunc(h.order, func(a, b *ranked) int {
		order, err := h.compare(a, b)
		if err != nil {
			return 0 // they were ranked before
		}
		return order
	})
}

// compare orders by rank: null is the lowest, and of equals the earlier goes
// first.
func (h *top) compare(a, b *ranked) (int, error) {
	for i, desc := range h.desc {
		order, err := nullsLowest(a.by[i], b.by[i])
		if err != nil {
			return 0, err
		}
		if desc {
			order = -order
		}
		if order != 0 {
			return order, nil
		}
	}
	return int(a.came - b.came), nil
}

func nullsLowest(a, b value.Value) (int, error) {
	switch {
	case a.IsNull() && b.IsNull():
		return 0, nil
	case a.IsNull():
		return -1, nil
	case b.IsNull():
		return 1, nil
	}
	order, _, err := scalar.Compare(a, b)
	return order, err
}

func (x *ranked) bytes() int64 {
	n := value.Footprint(x.value) + 112
	for _, v := range x.by {
		n += value.Footprint(v) + 40
	}
	return n
}

func (h *top) bytes() int64 { return h.size + int64(cap(h.events.list)+cap(h.order))*8 }
