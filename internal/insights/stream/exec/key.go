package exec

import (
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/eval"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// The first bytes of values in keys.
const (
	keyNull = iota
	keyInt
	keyFloat
	keyBit
	keyTime
	keyText
)

// appendKey encodes a value so that two have the same bytes exactly when they
// are the same key: of one type and equal, where bigint and float are one type.
// Records and arrays are no keys.
func appendKey(b []byte, v value.Value) ([]byte, error) {
	switch v.Kind() {
	case value.Null:
		return append(b, keyNull), nil
	case value.Bigint:
		return binary.LittleEndian.AppendUint64(append(b, keyInt), uint64(v.Int())), nil
	case value.Float:
		f := v.Float()
		if f == math.Trunc(f) && f >= -(1<<63) && f < 1<<63 {
			return binary.LittleEndian.AppendUint64(append(b, keyInt), uint64(int64(f))), nil
		}
		if f != f {
			f = math.NaN() // there are many
		}
		return binary.LittleEndian.AppendUint64(append(b, keyFloat), math.Float64bits(f)), nil
	case value.Bit:
		if v.Bool() {
			return append(b, keyBit, 1), nil
		}
		return append(b, keyBit, 0), nil
	case value.Datetime:
		return binary.LittleEndian.AppendUint64(append(b, keyTime), uint64(v.Ticks())), nil
	case value.Text:
		b = binary.AppendUvarint(append(b, keyText), uint64(len(v.Text())))
		return append(b, v.Text()...), nil
	case value.Record, value.Array:
	}
	return b, &scalar.Error{Kind: scalar.InvalidArgument, Message: "A value of type '" + v.Kind().String() + "' cannot be a key."}
}

// keyOf encodes the key of a row. null tells that some of it is null.
func keyOf(b []byte, cols []*batch.Column, row int) (key []byte, null bool, err error) {
	for _, c := range cols {
		v := c.At(row)
		null = null || v.IsNull()
		if b, err = appendKey(b, v); err != nil {
			return b, null, err
		}
	}
	return b, null, nil
}

// evaluate appends the columns that values give for a frame.
func evaluate(values []eval.Value, f *eval.Frame, cols []*batch.Column) ([]*batch.Column, error) {
	for _, v := range values {
		c, err := v(f)
		if err != nil {
			return cols, err
		}
		cols = append(cols, c)
	}
	return cols, nil
}

// sameColumns reports whether two lists are of the same columns; other
// expressions are taken to differ.
func sameColumns(a, b []asa.Expr) bool {
	return slices.EqualFunc(a, b, func(x, y asa.Expr) bool {
		f, ok1 := x.(*asa.Field)
		g, ok2 := y.(*asa.Field)
		return ok1 && ok2 && slices.EqualFunc(f.Path, g.Path, strings.EqualFold)
	})
}

// queue is a list to which is added at the end and from which is taken at
// either end.
type queue[T any] struct {
	list []T
	head int
}

func (q *queue[T]) len() int    { return len(q.list) - q.head }
func (q *queue[T]) at(i int) *T { return &q.list[q.head+i] }
func (q *queue[T]) push(x T)    { q.list = append(q.list, x) }
func (q *queue[T]) items() []T  { return q.list[q.head:] }

func (q *queue[T]) popFront() {
	clear(q.list[q.head : q.head+1])
	q.head++
	switch {
	case q.head == len(q.list):
		q.list, q.head = q.list[:0], 0
	case q.head > 32 && q.head > len(q.list)/2:
		n := copy(q.list, q.list[q.head:])
		clear(q.list[n:])
		q.list, q.head = q.list[:n], 0
	}
}

func (q *queue[T]) popBack() {
	n := len(q.list) - 1
	clear(q.list[n:])
	q.list = q.list[:n]
	if q.head == n {
		q.list, q.head = q.list[:0], 0
	}
}

func compareTicks(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
