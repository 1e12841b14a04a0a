// Package batch holds events as columns: a few thousand rows at a time, each
// column in the form that its values share. It also reads events: JSON and CSV
// texts become the columns that somebody wants, and no more.
package batch

import (
	"dunlin/internal/insights/stream/value"
)

// Column is one column of a batch. Its values are in the slice that belongs to
// Kind, one for each row; a row that is null has a zero value there. Texts and
// JSON are views of what was read: whoever keeps one for longer than the batch
// keeps the memory of the whole batch, and had better copy it.
type Column struct {
	// Kind is that of all values that are not null, and Null when all are.
	Kind value.Kind
	// Mixed says that there are values of several kinds: they are in Values.
	Mixed bool

	Ints   []int64       // Bigint, Bit (0 and 1), Datetime (ticks)
	Floats []float64     // Float
	Texts  []string      // Text
	Values []value.Value // Record, Array and Mixed

	n     int
	nulls []uint64 // a bit for each row that is null; nil when none is
}

// Len is the number of rows.
func (c *Column) Len() int { return c.n }

// HasNulls reports whether any row is null.
func (c *Column) HasNulls() bool {
	return c.nulls != nil || c.Kind == value.Null && !c.Mixed && c.n > 0
}

// IsNull reports whether a row is null.
func (c *Column) IsNull(i int) bool {
	if c.Mixed {
		return c.Values[i].IsNull()
	}
	if c.Kind == value.Null {
		return true
	}
	return i>>6 < len(c.nulls) && c.nulls[i>>6]>>(i&63)&1 == 1
}

// At is the value of a row.
func (c *Column) At(i int) value.Value {
	if c.Mixed {
		return c.Values[i]
	}
	if c.IsNull(i) {
		return value.Value{}
	}
	switch c.Kind {
	case value.Bigint:
		return value.Int(c.Ints[i])
	case value.Bit:
		return value.Bool(c.Ints[i] != 0)
	case value.Datetime:
		return value.Time(c.Ints[i])
	case value.Float:
		return value.Number(c.Floats[i])
	case value.Text:
		return value.String(c.Texts[i])
	case value.Record, value.Array:
		return c.Values[i]
	case value.Null:
	}
	return value.Value{}
}

// Reset empties the column and keeps its memory.
func (c *Column) Reset() {
	clear(c.Texts)
	clear(c.Values)
	c.Kind, c.Mixed, c.n, c.nulls = value.Null, false, 0, nil
	c.Ints, c.Floats, c.Texts, c.Values = c.Ints[:0], c.Floats[:0], c.Texts[:0], c.Values[:0]
}

// Append adds a row.
func (c *Column) Append(v value.Value) {
	k := v.Kind()
	if c.Mixed {
		c.Values = append(c.Values, v)
		c.n++
		return
	}
	if k != c.Kind {
		switch {
		case k == value.Null:
			c.appendNull()
			return
		case c.Kind == value.Null:
			c.begin(k)
		default:
			c.mix()
			c.Values = append(c.Values, v)
			c.n++
			return
		}
	}
	switch k {
	case value.Bigint, value.Datetime:
		c.Ints = append(c.Ints, v.Int())
	case value.Bit:
		i := int64(0)
		if v.Bool() {
			i = 1
		}
		c.Ints = append(c.Ints, i)
	case value.Float:
		c.Floats = append(c.Floats, v.Float())
	case value.Text:
		c.Texts = append(c.Texts, v.Text())
	case value.Record, value.Array:
		c.Values = append(c.Values, v)
	case value.Null:
	}
	c.n++
}

func (c *Column) appendNull() {
	i := c.n
	c.setNull(i)
	c.zero()
	c.n++
}

func (c *Column) setNull(i int) {
	for i>>6 >= len(c.nulls) {
		c.nulls = append(c.nulls, 0)
	}
	c.nulls[i>>6] |= 1 << (i & 63)
}

// zero adds the value that stands in a row that is null.
func (c *Column) zero() {
	switch c.Kind {
	case value.Bigint, value.Bit, value.Datetime:
		c.Ints = append(c.Ints, 0)
	case value.Float:
		c.Floats = append(c.Floats, 0)
	case value.Text:
		c.Texts = append(c.Texts, "")
	case value.Record, value.Array:
		c.Values = append(c.Values, value.Value{})
	case value.Null:
	}
}

// begin gives a column of nulls its kind.
func (c *Column) begin(k value.Kind) {
	c.Kind = k
	for i := range c.n {
		c.setNull(i)
		c.zero()
	}
}

// mix turns the column into one of values of several kinds.
func (c *Column) mix() {
	values := make([]value.Value, c.n, max(c.n+1, cap(c.Values)))
	for i := range values {
		values[i] = c.At(i)
	}
	*c = Column{Mixed: true, Values: values, n: c.n, Ints: c.Ints[:0], Floats: c.Floats[:0], Texts: c.Texts[:0]}
}

// Batch is some rows of a stream, in order.
type Batch struct {
	// Time is the timestamp of each row, in ticks; System.Timestamp().
	Time []int64
	Cols []*Column
}

// Len is the number of rows.
func (b *Batch) Len() int { return len(b.Time) }

// New makes a batch of columns.
func New(columns int) *Batch {
	b := &Batch{Cols: make([]*Column, columns)}
	for i := range b.Cols {
		b.Cols[i] = new(Column)
	}
	return b
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.Time = b.Time[:0]
	for _, c := range b.Cols {
		c.Reset()
	}
}

// Gather makes c the given rows of from.
func (c *Column) Gather(from *Column, rows []int32) {
	c.Reset()
	if from.Mixed || from.Kind == value.Record || from.Kind == value.Array || from.HasNulls() {
		for _, r := range rows {
			c.Append(from.At(int(r)))
		}
		return
	}
	c.Kind, c.n = from.Kind, len(rows)
	switch from.Kind {
	case value.Bigint, value.Bit, value.Datetime:
		for _, r := range rows {
			c.Ints = append(c.Ints, from.Ints[r])
		}
	case value.Float:
		for _, r := range rows {
			c.Floats = append(c.Floats, from.Floats[r])
		}
	case value.Text:
		for _, r := range rows {
			c.Texts = append(c.Texts, from.Texts[r])
		}
	case value.Null, value.Record, value.Array:
	}
}

// Fill makes c n rows of one value.
func (c *Column) Fill(v value.Value, n int) {
	c.Reset()
	for range n {
		c.Append(v)
	}
}

// AppendColumn adds all rows of from.
func (c *Column) AppendColumn(from *Column) {
	if c.n == 0 && !from.Mixed && from.Kind != value.Null {
		c.Kind, c.n = from.Kind, from.n
		c.Ints = append(c.Ints, from.Ints...)
		c.Floats = append(c.Floats, from.Floats...)
		c.Texts = append(c.Texts, from.Texts...)
		c.Values = append(c.Values, from.Values...)
		c.nulls = append(c.nulls, from.nulls...)
		return
	}
	for i := range from.n {
		c.Append(from.At(i))
	}
}

// SetInts makes c a column without nulls of a kind that is kept as integers:
// it fills n rows, which the caller is to set.
func (c *Column) SetInts(kind value.Kind, n int) []int64 {
	c.Reset()
	c.Kind, c.n = kind, n
	if cap(c.Ints) < n {
		c.Ints = make([]int64, n)
	}
	c.Ints = c.Ints[:n]
	return c.Ints
}

// SetFloats is SetInts for floats.
func (c *Column) SetFloats(n int) []float64 {
	c.Reset()
	c.Kind, c.n = value.Float, n
	if cap(c.Floats) < n {
		c.Floats = make([]float64, n)
	}
	c.Floats = c.Floats[:n]
	return c.Floats
}

// NullsOf makes null the rows that are null in another column of the same
// length, beside those that are.
func (c *Column) NullsOf(from *Column) {
	for len(c.nulls) < len(from.nulls) {
		c.nulls = append(c.nulls, 0)
	}
	for i, w := range from.nulls {
		c.nulls[i] |= w
	}
}

// Gather makes b the given rows of from, which has as many columns.
func (b *Batch) Gather(from *Batch, rows []int32) {
	for i, c := range b.Cols {
		c.Gather(from.Cols[i], rows)
	}
	b.Time = b.Time[:0]
	for _, r := range rows {
		b.Time = append(b.Time, from.Time[r])
	}
}
