package window

import (
	"encoding/binary"
	"slices"

	"dunlin/internal/insights/stream/value"
)

// sizeOfValue is what a value takes in a slice.
const sizeOfValue = 40

func heldBy(v value.Value) int64 { return sizeOfValue + value.Footprint(v) }

// lists is Collect: all values of a group.
type lists struct {
	values [][]value.Value
	held   int64
}

func (a *lists) fresh() accumulators { return new(lists) }
func (a *lists) grow(n int)          { a.values = growTo(a.values, n) }
func (a *lists) bytes() int64        { return int64(cap(a.values))*24 + a.held }

func (a *lists) clear(slot uint32) {
	for _, v := range a.values[slot] {
		a.held -= heldBy(v)
	}
	a.values[slot] = nil
}

func (a *lists) reset() {
	clear(a.values)
	a.values, a.held = a.values[:0], 0
}

func (a *lists) put(slot uint32, v value.Value) {
	a.values[slot] = append(a.values[slot], v)
	a.held += heldBy(v)
}

func (a *lists) add(slots []uint32, in *input) error {
	for i, s := range slots {
		if v := in.cols[0].At(in.from + i); !v.IsNull() {
			a.put(s, value.Clone(v))
		}
	}
	return nil
}

func (a *lists) merge(slots []uint32, others accumulators) error {
	for i, l := range others.(*lists).values {
		for _, v := range l {
			a.put(slots[i], v)
		}
	}
	return nil
}

func (a *lists) result(slot uint32, _ *Aggregate) (value.Value, error) {
	return collected(a.values[slot]), nil
}

// collected is the result of Collect; the values may be used again.
func collected(list []value.Value) value.Value {
	if len(list) == 0 {
		return value.Value{}
	}
	return value.ArrayOf(slices.Clone(list))
}

func (a *lists) appendState(b []byte) []byte {
	for _, l := range a.values {
		b = appendValues(b, l)
	}
	return b
}

func (a *lists) readState(r *reader, n int) {
	a.grow(n)
	for i := range a.values {
		for range r.count(1) {
			a.put(uint32(i), r.value())
		}
	}
}

func appendValues(b []byte, list []value.Value) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, v := range list {
		b = value.AppendState(b, v)
	}
	return b
}

func (r *reader) values() []value.Value {
	list := make([]value.Value, r.count(1))
	for i := range list {
		list[i] = r.value()
	}
	return list
}

// distincts is COUNT(DISTINCT): a set of pairs of a slot and a value.
type distincts struct {
	pairs *Keys // 4 bytes of the slot, 4 of its life, the value
	n     []int64
	life  []uint32 // how often a slot was cleared: pairs of earlier lives are dead
	buf   []byte
}

func (a *distincts) fresh() accumulators { return new(distincts) }

func (a *distincts) grow(n int) {
	a.n, a.life = growTo(a.n, n), growTo(a.life, n)
	if a.pairs == nil {
		a.pairs = NewKeys(2)
	}
}

func (a *distincts) clear(slot uint32) {
	a.n[slot] = 0
	a.life[slot]++
}

func (a *distincts) reset() {
	a.n, a.life, a.pairs = a.n[:0], a.life[:0], nil
}

func (a *distincts) bytes() int64 {
	n := int64(cap(a.n))*8 + int64(cap(a.life))*4
	if a.pairs != nil {
		n += a.pairs.Bytes()
	}
	return n
}

func (a *distincts) put(slot uint32, encoded func([]byte) []byte) {
	if a.pairs.Full() {
		a.pairs.Sweep(func(used Set) {
			for id, k := range a.pairs.keys {
				if k == "" {
					continue
				}
				if slot, life := pairOwner(k); life == a.life[slot] {
					used.Add(uint32(id))
				}
			}
		})
	}
	b := binary.BigEndian.AppendUint32(a.buf[:0], slot)
	b = binary.BigEndian.AppendUint32(b, a.life[slot])
	a.buf = encoded(b)
	if _, fresh := a.pairs.find(a.buf); fresh {
		a.n[slot]++
	}
}

func pairOwner(k string) (slot, life uint32) {
	for i := range 4 {
		slot, life = slot<<8|uint32(k[i]), life<<8|uint32(k[4+i])
	}
	return slot, life
}

func (a *distincts) add(slots []uint32, in *input) error {
	for i, s := range slots {
		if v := in.cols[0].At(in.from + i); !v.IsNull() {
			a.put(s, func(b []byte) []byte { return appendAny(b, v) })
		}
	}
	return nil
}

// appendAny encodes any value so that equal ones have equal bytes. The order of
// the members of a record does not matter.
func appendAny(b []byte, v value.Value) []byte {
	switch v.Kind() {
	case value.Array:
		t := v.Tree()
		b = binary.AppendUvarint(append(b, tagArray), uint64(len(t.Values)))
		for _, x := range t.Values {
			b = appendAny(b, x)
		}
		return b
	case value.Record:
		t := v.Tree()
		order := make([]int, len(t.Names))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(i, j int) int {
			if t.Names[i] < t.Names[j] {
				return -1
			}
			return 1
		})
		b = binary.AppendUvarint(append(b, tagRecord), uint64(len(order)))
		for _, i := range order {
			b = append(binary.AppendUvarint(b, uint64(len(t.Names[i]))), t.Names[i]...)
			b = appendAny(b, t.Values[i])
		}
		return b
	case value.Null, value.Bigint, value.Float, value.Bit, value.Datetime, value.Text:
	}
	b, _ = appendKey(b, v, true)
	return b
}

func (a *distincts) merge(slots []uint32, others accumulators) error {
	o := others.(*distincts)
	if o.pairs == nil {
		return nil
	}
	for _, k := range o.pairs.keys {
		if k == "" {
			continue
		}
		if slot, life := pairOwner(k); life == o.life[slot] {
			a.put(slots[slot], func(b []byte) []byte { return append(b, k[8:]...) })
		}
	}
	return nil
}

func (a *distincts) result(slot uint32, _ *Aggregate) (value.Value, error) {
	return value.Int(a.n[slot]), nil
}

func (a *distincts) appendState(b []byte) []byte {
	live := 0
	each := func(f func(slot uint32, encoded string)) {
		if a.pairs == nil {
			return
		}
		for _, k := range a.pairs.keys {
			if k == "" {
				continue
			}
			if slot, life := pairOwner(k); life == a.life[slot] {
				f(slot, k[8:])
			}
		}
	}
	each(func(uint32, string) { live++ })
	b = binary.AppendUvarint(b, uint64(live))
	each(func(slot uint32, encoded string) {
		b = binary.AppendUvarint(b, uint64(slot))
		b = append(binary.AppendUvarint(b, uint64(len(encoded))), encoded...)
	})
	return b
}

func (a *distincts) readState(r *reader, n int) {
	a.grow(n)
	for range r.count(2) {
		slot, encoded := r.uvarint(), r.bytes()
		if slot >= uint64(n) {
			r.fail()
			return
		}
		a.put(uint32(slot), func(b []byte) []byte { return append(b, encoded...) })
	}
}
