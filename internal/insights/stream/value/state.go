package value

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
)

// Clone gives a value that keeps nothing alive but itself: texts that are parts
// of what was read are copied.
func Clone(v Value) Value {
	switch v.kind {
	case Text:
		v.s = strings.Clone(v.s)
	case Record, Array:
		if v.tree == nil {
			v.s = strings.Clone(v.s)
			return v
		}
		t := &Tree{Values: make([]Value, len(v.tree.Values))}
		if v.tree.Names != nil {
			t.Names = make([]string, len(v.tree.Names))
		}
		for i, n := range v.tree.Names {
			t.Names[i] = strings.Clone(n)
		}
		for i, x := range v.tree.Values {
			t.Values[i] = Clone(x)
		}
		v.s, v.tree = "", t
	case Null, Bigint, Float, Bit, Datetime:
	}
	return v
}

// Footprint is roughly what a value takes of memory beyond itself, in bytes.
func Footprint(v Value) int64 {
	n := int64(len(v.s))
	if v.tree != nil {
		for _, name := range v.tree.Names {
			n += int64(len(name)) + 16
		}
		for _, x := range v.tree.Values {
			n += Footprint(x) + 40
		}
	}
	return n
}

// ErrState says that bytes are not what AppendState has written.
var ErrState = errors.New("not the state of a value")

// made marks, in the state of a value, a record or array that was made and not
// read from JSON.
const made = 0x80

// AppendState writes a value so that ReadState gives the same, to the bit. It
// is for checkpoints.
func AppendState(b []byte, v Value) []byte {
	switch v.kind {
	case Bigint, Float, Datetime:
		return binary.LittleEndian.AppendUint64(append(b, byte(v.kind)), v.n)
	case Bit:
		return append(b, byte(v.kind), byte(v.n))
	case Text:
		return appendText(append(b, byte(v.kind)), v.s)
	case Record, Array:
		if v.tree == nil {
			return appendText(append(b, byte(v.kind)), v.s)
		}
		b = binary.AppendUvarint(append(b, byte(v.kind)|made), uint64(len(v.tree.Values)))
		for i, x := range v.tree.Values {
			if v.kind == Record {
				b = appendText(b, v.tree.Names[i])
			}
			b = AppendState(b, x)
		}
		return b
	case Null:
	}
	return append(b, byte(Null))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// ReadState reads what AppendState has written and gives the bytes behind it.
// The value keeps nothing of b.
func ReadState(b []byte) (v Value, rest []byte, err error) { return readState(b, 0) }

func readState(b []byte, depth int) (v Value, rest []byte, err error) {
	if len(b) == 0 || depth > maxDepth+1 {
		return v, nil, ErrState
	}
	tag := b[0]
	b = b[1:]
	switch v.kind = Kind(tag &^ made); v.kind {
	case Null:
		return v, b, nil
	case Bigint, Float, Datetime:
		if len(b) < 8 {
			return v, nil, ErrState
		}
		v.n = binary.LittleEndian.Uint64(b)
		return v, b[8:], nil
	case Bit:
		if len(b) < 1 {
			return v, nil, ErrState
		}
		v.n = uint64(b[0] & 1)
		return v, b[1:], nil
	case Text, Record, Array:
	default:
		return v, nil, ErrState
	}
	if tag&made == 0 {
		v.s, b, err = readText(b)
		return v, b, err
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || v.kind == Text || n > uint64(len(b)) || n > math.MaxInt32 {
		return v, nil, ErrState
	}
	b = b[size:]
	v.tree = &Tree{Values: make([]Value, n)}
	if v.kind == Record {
		v.tree.Names = make([]string, n)
	}
	for i := range v.tree.Values {
		if v.kind == Record {
			if v.tree.Names[i], b, err = readText(b); err != nil {
				return v, nil, err
			}
		}
		if v.tree.Values[i], b, err = readState(b, depth+1); err != nil {
			return v, nil, err
		}
	}
	return v, b, nil
}

func readText(b []byte) (s string, rest []byte, err error) {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) {
		return "", nil, ErrState
	}
	b = b[size:]
	return string(b[:n]), b[n:], nil
}
