package window

import (
	"encoding/binary"
	"errors"
	"math"

	"dunlin/internal/insights/stream/value"
)

// ErrState says that bytes are not the state of a grouper with that
// specification.
var ErrState = errors.New("window: not a state of this grouping")

// stateVersion begins every state. A reader takes the versions that it knows.
const stateVersion = 1

func appendU32s(b []byte, list []uint32) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, x := range list {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func appendTimes(b []byte, list []int64) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	last := int64(0)
	for _, x := range list {
		b = binary.AppendVarint(b, x-last)
		last = x
	}
	return b
}

func appendU64(b []byte, x uint64) []byte { return binary.LittleEndian.AppendUint64(b, x) }

func appendFloat(b []byte, f float64) []byte { return appendU64(b, math.Float64bits(f)) }

func appendBytes(b, x []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(x))), x...)
}

// section writes what f writes, behind its length, so that a reader can pass
// over it.
func section(b []byte, f func([]byte) []byte) []byte {
	at := len(b)
	b = f(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return b
}

// reader reads a state. After an error it gives zeros.
type reader struct {
	b    []byte
	err  error
	keys int // numbers of keys are below
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = ErrState
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

// count reads how many things follow, each of which takes at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail()
		return make([]byte, n&0xff)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) float() float64 { return math.Float64frombits(r.u64()) }

func (r *reader) bytes() []byte { return r.take(r.count(1)) }

func (r *reader) value() value.Value {
	v, rest, err := value.ReadState(r.b)
	if err != nil {
		r.fail()
		return value.Value{}
	}
	r.b = rest
	return v
}

func (r *reader) ids() []uint32 {
	list := make([]uint32, r.count(4))
	for i := range list {
		if list[i] = r.u32(); int(list[i]) >= r.keys {
			r.fail()
			return nil
		}
	}
	return list
}

func (r *reader) id() uint32 {
	id := r.uvarint()
	if id >= uint64(r.keys) {
		r.fail()
		return 0
	}
	return uint32(id)
}

func (r *reader) times() []int64 {
	list := make([]int64, r.count(1))
	last := int64(0)
	for i := range list {
		last += r.varint()
		list[i] = last
	}
	return list
}

// section gives a reader of the next section.
func (r *reader) section() *reader {
	n := r.u32()
	if r.err != nil || uint64(n) > uint64(len(r.b)) {
		r.fail()
		return &reader{err: ErrState}
	}
	return &reader{b: r.take(int(n)), keys: r.keys}
}

// end checks that a section was read as a whole.
func (r *reader) end(s *reader) {
	if s.err != nil || len(s.b) != 0 {
		r.fail()
	}
}
