package window

import (
	"slices"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// mostOut is how many rows are emitted at a time.
const mostOut = 1024

// outlet collects the rows that leave, and brings those of several engines into
// one order.
type outlet struct {
	keys    *Keys
	keyCols int
	aggs    int
	ids     []value.Value // System.Window() of each window
	named   bool
	emit    func(*batch.Batch) error
	direct  bool // there is one engine: its rows are in order
	rows    *batch.Batch
	windows []int32 // of each row; not when direct
	sorted  *batch.Batch
	order   []int32
}

func newOutlet(keys *Keys, keyCols, aggs int, list []*asa.Window, emit func(*batch.Batch) error) *outlet {
	o := &outlet{keys: keys, keyCols: keyCols, aggs: aggs, emit: emit, ids: make([]value.Value, len(list))}
	for i, w := range list {
		if w.ID != nil {
			o.ids[i] = value.RecordOf(&value.Tree{Names: []string{"Id"}, Values: []value.Value{value.String(*w.ID)}})
			o.named = true
		}
	}
	return o
}

// flush emits what is collected.
func (o *outlet) flush() error {
	if o.rows == nil || o.rows.Len() == 0 {
		return nil
	}
	out := o.rows
	if !o.direct {
		out = o.sort()
	}
	if !o.named {
		out.Cols[o.keyCols+o.aggs].Fill(value.Value{}, out.Len())
	}
	err := o.emit(out)
	o.rows.Reset()
	o.windows = o.windows[:0]
	return err
}

func (o *outlet) sort() *batch.Batch {
	time, windows := o.rows.Time, o.windows
	o.order = o.order[:0]
	inOrder := true
	for i := range time {
		o.order = append(o.order, int32(i))
		inOrder = inOrder && (i == 0 || time[i] > time[i-1] || time[i] == time[i-1] && windows[i] >= windows[i-1])
	}
	if inOrder {
		return o.rows
	}
	slices.SortStableFunc(o.order, func(a, b int32) int {
		switch {
		case time[a] < time[b]:
			return -1
		case time[a] > time[b]:
			return 1
		}
		return int(windows[a] - windows[b])
	})
	if o.sorted == nil {
		o.sorted = batch.New(len(o.rows.Cols))
	}
	if !o.named {
		o.rows.Cols[o.keyCols+o.aggs].Fill(value.Value{}, len(time))
	}
	o.sorted.Gather(o.rows, o.order)
	return o.sorted
}

// sink is where the rows of one window go.
type sink struct {
	out    *outlet
	plan   *plan
	window int
}

// begin makes a row of a group, whose aggregates are to be appended next with
// value. end is that of the window.
func (s *sink) begin(end int64, id uint32) error {
	o := s.out
	if o.rows == nil {
		o.rows = batch.New(o.keyCols + o.aggs + 1)
	} else if o.direct && o.rows.Len() >= mostOut {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.rows.Time = append(o.rows.Time, cap9999(end))
	o.keys.Append(id, o.rows.Cols[:o.keyCols])
	if o.named {
		o.rows.Cols[o.keyCols+o.aggs].Append(o.ids[s.window])
	}
	if !o.direct {
		o.windows = append(o.windows, int32(s.window))
	}
	return nil
}

// value adds the i-th aggregate of the row that was begun.
func (s *sink) value(i int, v value.Value) { s.out.rows.Cols[s.out.keyCols+i].Append(v) }

// row emits a group from accumulators.
func (s *sink) row(end int64, id uint32, accs []accumulators, slot uint32) error {
	if err := s.begin(end, id); err != nil {
		return err
	}
	p := s.plan
	for i := range p.how {
		v, err := accs[p.of[i]].result(slot, &p.how[i])
		if err != nil {
			return err
		}
		s.value(i, v)
	}
	return nil
}
