package window

import (
	"encoding/binary"
	"slices"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// top is a row that TopOne or CollectTop may choose.
type top struct {
	value value.Value
	by    []value.Value // what it is ordered by
}

func (t *top) held() int64 {
	n := sizeOfValue + 24 + value.Footprint(t.value)
	for _, v := range t.by {
		n += heldBy(v)
	}
	return n
}

// compareTops orders two rows: negative when x goes before y.
func compareTops(x, y []value.Value, desc []bool) (int, error) {
	for i := range x {
		order, err := compareOrdered(x[i], y[i])
		if err != nil {
			return 0, err
		}
		if order != 0 {
			if desc[i] {
				return -order, nil
			}
			return order, nil
		}
	}
	return 0, nil
}

// compareOrdered orders two values of ORDER BY: null goes before all others,
// and what is no number before numbers.
func compareOrdered(x, y value.Value) (int, error) {
	a, b := orderClass(x), orderClass(y)
	if a != b || a < 2 {
		return a - b, nil
	}
	order, _, err := scalar.Compare(x, y)
	return order, err
}

func orderClass(v value.Value) int {
	switch {
	case v.IsNull():
		return 0
	case v.Kind() == value.Float && v.Float() != v.Float():
		return 1
	}
	return 2
}

// placeOf finds where a row belongs among others that are in order: behind
// those that are equal, which came earlier.
func placeOf(list []top, by []value.Value, desc []bool) (int, error) {
	lo, hi := 0, len(list)
	for lo < hi {
		mid := (lo + hi) / 2
		order, err := compareTops(by, list[mid].by, desc)
		if err != nil {
			return 0, err
		}
		if order < 0 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}

// topResult is the result of TopOne, or CollectTop, of rows in order.
func topResult(list []top, how *Aggregate) value.Value {
	if len(list) == 0 {
		return value.Value{}
	}
	if how.Func == TopOne {
		return list[0].value
	}
	values := make([]value.Value, min(len(list), how.Top))
	for i := range values {
		values[i] = value.RecordOf(&value.Tree{Names: []string{"rank", "value"}, Values: []value.Value{value.Int(int64(i) + 1), list[i].value}})
	}
	return value.ArrayOf(values)
}

// tops is TopOne and CollectTop: the first rows of each group, in order.
type tops struct {
	most    int
	desc    []bool
	present bool
	rows    [][]top
	held    int64
	by      []value.Value
}

func (a *tops) fresh() accumulators { return &tops{most: a.most, desc: a.desc, present: a.present} }
func (a *tops) grow(n int)          { a.rows = growTo(a.rows, n) }
func (a *tops) bytes() int64        { return int64(cap(a.rows))*24 + a.held }

func (a *tops) clear(slot uint32) {
	for i := range a.rows[slot] {
		a.held -= a.rows[slot][i].held()
	}
	a.rows[slot] = nil
}

func (a *tops) reset() {
	clear(a.rows)
	a.rows, a.held = a.rows[:0], 0
}

func (a *tops) add(slots []uint32, in *input) error {
	for i, s := range slots {
		v := in.cols[0].At(in.from + i)
		if a.present && v.IsNull() {
			continue
		}
		a.by = a.by[:0]
		for _, c := range in.cols[1:] {
			a.by = append(a.by, c.At(in.from+i))
		}
		if err := a.put(s, v, a.by, true); err != nil {
			return err
		}
	}
	return nil
}

// put adds a row if it is one of the first; it is copied when it belongs to a
// batch.
func (a *tops) put(slot uint32, v value.Value, by []value.Value, foreign bool) error {
	list := a.rows[slot]
	at, err := placeOf(list, by, a.desc)
	if err != nil || at >= a.most {
		return err
	}
	t := top{value: v, by: by}
	if foreign {
		t = cloneTop(v, by)
	}
	if len(list) == a.most {
		a.held -= list[len(list)-1].held()
		list = list[:len(list)-1]
	}
	a.held += t.held()
	a.rows[slot] = slices.Insert(list, at, t)
	return nil
}

func cloneTop(v value.Value, by []value.Value) top {
	t := top{value: value.Clone(v), by: make([]value.Value, len(by))}
	for i, x := range by {
		t.by[i] = value.Clone(x)
	}
	return t
}

func (a *tops) merge(slots []uint32, others accumulators) error {
	for i, list := range others.(*tops).rows {
		for _, t := range list {
			if err := a.put(slots[i], t.value, t.by, false); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *tops) result(slot uint32, how *Aggregate) (value.Value, error) {
	return topResult(a.rows[slot], how), nil
}

func (a *tops) appendState(b []byte) []byte {
	for _, list := range a.rows {
		b = appendTops(b, list)
	}
	return b
}

func appendTops(b []byte, list []top) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, t := range list {
		b = appendValues(value.AppendState(b, t.value), t.by)
	}
	return b
}

func (r *reader) tops(orders int) []top {
	list := make([]top, r.count(2))
	for i := range list {
		list[i] = top{r.value(), r.values()}
		if len(list[i].by) != orders {
			r.fail()
			return nil
		}
	}
	return list
}

func (a *tops) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.rows {
		a.rows[i] = r.tops(len(a.desc))
		for j := range a.rows[i] {
			a.held += a.rows[i][j].held()
		}
	}
}

// stamped is an argument of a user-defined aggregate.
type stamped struct {
	time  int64
	value value.Value
}

// users is a user-defined aggregate. What such a one keeps cannot be merged or
// written down, so its arguments are kept, and it works on them in the end.
type users struct {
	user User
	rows [][]stamped
	held int64
}

func (a *users) fresh() accumulators { return &users{user: a.user} }
func (a *users) grow(n int)          { a.rows = growTo(a.rows, n) }
func (a *users) bytes() int64        { return int64(cap(a.rows))*24 + a.held }

func (a *users) clear(slot uint32) {
	for _, x := range a.rows[slot] {
		a.held -= heldBy(x.value) + 8
	}
	a.rows[slot] = nil
}

func (a *users) reset() {
	clear(a.rows)
	a.rows, a.held = a.rows[:0], 0
}

func (a *users) put(slot uint32, x stamped) {
	a.rows[slot] = append(a.rows[slot], x)
	a.held += heldBy(x.value) + 8
}

func (a *users) add(slots []uint32, in *input) error {
	for i, s := range slots {
		if v := in.cols[0].At(in.from + i); !v.IsNull() {
			a.put(s, stamped{in.time[in.from+i], value.Clone(v)})
		}
	}
	return nil
}

func (a *users) merge(slots []uint32, others accumulators) error {
	for i, list := range others.(*users).rows {
		for _, x := range list {
			a.put(slots[i], x)
		}
	}
	return nil
}

func (a *users) result(slot uint32, how *Aggregate) (value.Value, error) {
	if len(a.rows[slot]) == 0 {
		return value.Value{}, nil
	}
	return userResult(how.User, a.rows[slot])
}

func userResult(u User, rows []stamped) (value.Value, error) {
	s, err := u.Init()
	if err != nil {
		return value.Value{}, err
	}
	for _, x := range rows {
		if err := s.Accumulate(x.value, x.time); err != nil {
			return value.Value{}, err
		}
	}
	return s.Result()
}

func (a *users) appendState(b []byte) []byte {
	for _, list := range a.rows {
		b = appendStamped(b, list)
	}
	return b
}

func appendStamped(b []byte, list []stamped) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, x := range list {
		b = value.AppendState(binary.AppendVarint(b, x.time), x.value)
	}
	return b
}

func (r *reader) stamped() []stamped {
	list := make([]stamped, r.count(2))
	for i := range list {
		list[i] = stamped{r.varint(), r.value()}
	}
	return list
}

func (a *users) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.rows {
		for _, x := range r.stamped() {
			a.put(uint32(i), x)
		}
	}
}
