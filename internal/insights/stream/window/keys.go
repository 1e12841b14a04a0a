package window

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"strings"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// Keys gives the tuples of some columns dense numbers: equal tuples have the
// same. Null is equal to null, and numbers are equal when their values are: 1
// and 1.0 are one key, which comes out as it came in first. Numbers of keys
// that nobody uses any more are given again after Sweep. The zero Keys is not
// usable; see NewKeys.
type Keys struct {
	columns int
	seed    maphash.Seed
	table   []uint64 // hash << 32 | number + 1; open addressing, at most 5/8 full
	keys    []string // encoded, by number; empty: the number is free
	free    []uint32
	whole   []uint64 // by number: a bit for each column that held a float without fraction; nil: none
	live    int
	sweepAt int
	chunk   strings.Builder // keys are cut from chunks
	held    int64           // bytes of all chunks
	scratch []byte
}

// The first bytes of encoded values.
const (
	tagNull = iota + 1
	tagBigint
	tagFloat
	tagBit
	tagDatetime
	tagText
	tagRecord
	tagArray
)

const (
	firstChunk = 512
	mostChunk  = 64 << 10
	leastSweep = 1024
	mostKeys   = 1 << 27 // in a state; beyond, it is damaged
)

// NewKeys makes the numbering of tuples of that many columns.
func NewKeys(columns int) *Keys {
	return &Keys{columns: columns, seed: maphash.MakeSeed(), sweepAt: leastSweep}
}

// Len is the least number that is above all that are given.
func (k *Keys) Len() int {
	if k.columns == 0 {
		return 1
	}
	return len(k.keys)
}

// Live is how many keys there are.
func (k *Keys) Live() int { return k.live }

// Bytes is the memory in use.
func (k *Keys) Bytes() int64 {
	return k.held + int64(cap(k.keys))*16 + int64(len(k.table))*8 + int64(cap(k.whole))*8 + int64(cap(k.free))*4
}

// Intern appends the numbers of the rows [from, to) to ids. cols are as many
// columns as NewKeys was told of. A record or array is no key: the error stops
// the job.
func (k *Keys) Intern(cols []*batch.Column, from, to int, ids []uint32) ([]uint32, error) {
	switch {
	case k.columns == 0:
		for range to - from {
			ids = append(ids, 0)
		}
		return ids, nil
	case k.columns == 1 && !cols[0].Mixed && cols[0].Kind == value.Text && !cols[0].HasNulls():
		for _, s := range cols[0].Texts[from:to] {
			ids = append(ids, k.text(s))
		}
		return ids, nil
	}
	for i := from; i < to; i++ {
		b := k.scratch[:0]
		var whole uint64
		for c, col := range cols {
			v := col.At(i)
			if v.Kind() == value.Record || v.Kind() == value.Array {
				k.scratch = b
				return ids, &scalar.Error{Kind: scalar.InvalidArgument, Message: "Rows cannot be grouped by a value of type '" + v.Kind().String() + "'."}
			}
			var float bool
			b, float = appendKey(b, v, k.columns > 1)
			if float && c < 64 {
				whole |= 1 << c
			}
		}
		k.scratch = b
		id, fresh := k.find(b)
		if fresh {
			k.noteWhole(id, whole)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (k *Keys) noteWhole(id uint32, whole uint64) {
	if whole == 0 && k.whole == nil {
		return
	}
	for len(k.whole) <= int(id) {
		k.whole = append(k.whole, 0)
	}
	k.whole[id] = whole
}

// appendKey encodes a value so that equal values have equal bytes; whole says
// that it was a float and is encoded as the bigint that it equals. length says
// that more may follow.
func appendKey(b []byte, v value.Value, length bool) (out []byte, whole bool) {
	switch v.Kind() {
	case value.Bigint:
		return appendFixed(b, tagBigint, uint64(v.Int())), false
	case value.Float:
		f := v.Float()
		if f == math.Trunc(f) && f >= -(1<<63) && f < 1<<63 {
			return appendFixed(b, tagBigint, uint64(int64(f))), true
		}
		if f != f {
			f = math.NaN() // there is one
		}
		return appendFixed(b, tagFloat, math.Float64bits(f)), false
	case value.Datetime:
		return appendFixed(b, tagDatetime, uint64(v.Ticks())), false
	case value.Bit:
		x := byte(0)
		if v.Bool() {
			x = 1
		}
		return append(b, tagBit, x), false
	case value.Text:
		b = append(b, tagText)
		if length {
			b = binary.AppendUvarint(b, uint64(len(v.Text())))
		}
		return append(b, v.Text()...), false
	case value.Null, value.Record, value.Array:
	}
	return append(b, tagNull), false
}

func appendFixed(b []byte, tag byte, x uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, tag), x)
}

// text is find for a single column with a text in it.
func (k *Keys) text(s string) uint32 {
	h := hash32(maphash.String(k.seed, s))
	if len(k.table) > 0 {
		mask := uint32(len(k.table) - 1)
		for at := h & mask; ; at = (at + 1) & mask {
			e := k.table[at]
			if e == 0 {
				break
			}
			if uint32(e>>32) != h {
				continue
			}
			if key := k.keys[uint32(e)-1]; len(key) == len(s)+1 && key[1:] == s && key[0] == tagText {
				return uint32(e) - 1
			}
		}
	}
	k.room(len(s) + 1)
	at := k.chunk.Len()
	k.chunk.WriteByte(tagText)
	k.chunk.WriteString(s)
	return k.add(h, k.chunk.String()[at:])
}

// find gives the number of an encoded tuple.
func (k *Keys) find(b []byte) (id uint32, fresh bool) {
	h := k.hash(b)
	if len(k.table) > 0 {
		mask := uint32(len(k.table) - 1)
		for at := h & mask; ; at = (at + 1) & mask {
			e := k.table[at]
			if e == 0 {
				break
			}
			if uint32(e>>32) == h && k.keys[uint32(e)-1] == string(b) {
				return uint32(e) - 1, false
			}
		}
	}
	return k.add(h, k.store(b)), true
}

// hash must agree with that of text.
func (k *Keys) hash(b []byte) uint32 {
	if k.columns == 1 && b[0] == tagText {
		b = b[1:]
	}
	return hash32(maphash.Bytes(k.seed, b))
}

func hash32(h uint64) uint32 { return uint32(h ^ h>>32) }

// room makes a chunk that takes n more bytes.
func (k *Keys) room(n int) {
	if k.chunk.Cap()-k.chunk.Len() >= n {
		return
	}
	size := max(n, min(mostChunk, max(firstChunk, k.chunk.Cap()*2)))
	k.chunk.Reset()
	k.chunk.Grow(size)
	k.held += int64(k.chunk.Cap())
}

func (k *Keys) store(b []byte) string {
	k.room(len(b))
	at := k.chunk.Len()
	k.chunk.Write(b)
	return k.chunk.String()[at:]
}

func (k *Keys) add(h uint32, key string) uint32 {
	var id uint32
	if n := len(k.free); n > 0 {
		id = k.free[n-1]
		k.free = k.free[:n-1]
		k.keys[id] = key
	} else {
		id = uint32(len(k.keys))
		k.keys = append(k.keys, key)
	}
	if int(id) < len(k.whole) {
		k.whole[id] = 0
	}
	k.live++
	if k.live*8 > len(k.table)*5 {
		k.resize(max(16, len(k.table)*2), nil)
	}
	k.enter(h, id)
	return id
}

func (k *Keys) enter(h, id uint32) {
	mask := uint32(len(k.table) - 1)
	at := h & mask
	for k.table[at] != 0 {
		at = (at + 1) & mask
	}
	k.table[at] = uint64(h)<<32 | uint64(id+1)
}

// resize makes another table; of the entries those stay that are in keep.
func (k *Keys) resize(n int, keep Set) {
	old := k.table
	k.table = make([]uint64, n)
	for _, e := range old {
		if e != 0 && (keep == nil || keep.Has(uint32(e)-1)) {
			k.enter(uint32(e>>32), uint32(e)-1)
		}
	}
}

// Set is a set of numbers of keys.
type Set []uint64

// Add puts a number in.
func (s Set) Add(id uint32) { s[id>>6] |= 1 << (id & 63) }

// Has reports whether a number is in.
func (s Set) Has(id uint32) bool { return s[id>>6]>>(id&63)&1 == 1 }

// Full reports whether so many keys have come since the last Sweep that it is
// worth another.
func (k *Keys) Full() bool { return k.live >= k.sweepAt }

// Sweep forgets all keys that mark does not put into the set of those in use.
func (k *Keys) Sweep(mark func(Set)) {
	used := make(Set, (len(k.keys)+63)/64)
	mark(used)
	k.free, k.live, k.held = k.free[:0], 0, 0
	k.chunk.Reset()
	last := 0
	for id := range k.keys {
		if k.keys[id] != "" && used.Has(uint32(id)) {
			k.live++
			last = id + 1
		}
	}
	keys := k.keys[:last]
	if cap(k.keys) > 4*last+leastSweep {
		keys = make([]string, last)
		copy(keys, k.keys)
	} else {
		clear(k.keys[last:])
	}
	k.keys = keys
	for id := len(keys) - 1; id >= 0; id-- {
		if keys[id] == "" || !used.Has(uint32(id)) {
			keys[id] = ""
			k.free = append(k.free, uint32(id))
			continue
		}
		k.room(len(keys[id]))
		at := k.chunk.Len()
		k.chunk.WriteString(keys[id])
		keys[id] = k.chunk.String()[at:]
	}
	if len(k.whole) > last {
		k.whole = k.whole[:last]
	}
	n := 16
	for k.live*8 > n*4 {
		n *= 2
	}
	k.resize(n, used)
	k.sweepAt = max(leastSweep, 2*k.live)
}

// Append adds the values of a key to columns.
func (k *Keys) Append(id uint32, cols []*batch.Column) {
	if k.columns == 0 {
		return
	}
	key := k.keys[id]
	if k.columns == 1 && key[0] == tagText {
		cols[0].Append(value.String(key[1:]))
		return
	}
	for c, col := range cols {
		var v value.Value
		v, key = readKey(key, k.columns > 1)
		if int(id) < len(k.whole) && c < 64 && k.whole[id]>>c&1 == 1 {
			v = value.Number(float64(v.Int()))
		}
		col.Append(v)
	}
}

// readKey takes the first value off an encoded tuple.
func readKey(key string, length bool) (v value.Value, rest string) {
	tag := key[0]
	key = key[1:]
	fixed := func() uint64 {
		x := uint64(0)
		for i := range 8 {
			x = x<<8 | uint64(key[i])
		}
		return x
	}
	switch tag {
	case tagBigint:
		return value.Int(int64(fixed())), key[8:]
	case tagFloat:
		return value.Number(math.Float64frombits(fixed())), key[8:]
	case tagDatetime:
		return value.Time(int64(fixed())), key[8:]
	case tagBit:
		return value.Bool(key[0] == 1), key[1:]
	case tagText:
		if !length {
			return value.String(key), ""
		}
		n, shift, i := 0, 0, 0
		for ; ; i++ {
			n |= int(key[i]&0x7f) << shift
			if key[i] < 0x80 {
				break
			}
			shift += 7
		}
		return value.String(key[i+1 : i+1+n]), key[i+1+n:]
	}
	return value.Value{}, key
}

// AppendState writes the keys and their numbers.
func (k *Keys) AppendState(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(k.live))
	for id, key := range k.keys {
		if key == "" {
			continue
		}
		b = binary.AppendUvarint(b, uint64(id))
		var whole uint64
		if id < len(k.whole) {
			whole = k.whole[id]
		}
		b = binary.AppendUvarint(b, whole)
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// readState reads what AppendState has written into new Keys.
func (k *Keys) readState(r *reader) {
	n := r.count(3)
	for range n {
		id, whole, key := r.uvarint(), r.uvarint(), r.bytes()
		if r.err != nil || len(key) == 0 || id < uint64(len(k.keys)) || id > mostKeys || !validKey(key, k.columns) {
			r.fail()
			return
		}
		for uint64(len(k.keys)) < id {
			k.free = append(k.free, uint32(len(k.keys)))
			k.keys = append(k.keys, "")
		}
		h := k.hash(key)
		k.keys = append(k.keys, k.store(key))
		k.live++
		if k.live*8 > len(k.table)*5 {
			k.resize(max(16, len(k.table)*2), nil)
		}
		k.enter(h, uint32(id))
		k.noteWhole(uint32(id), whole)
	}
	k.sweepAt = max(leastSweep, 2*k.live)
}

// validKey reports whether bytes are an encoded tuple.
func validKey(key []byte, columns int) bool {
	for c := range columns {
		if len(key) == 0 {
			return false
		}
		need := 0
		switch key[0] {
		case tagBigint, tagFloat, tagDatetime:
			need = 8
		case tagBit:
			need = 1
		case tagNull:
		case tagText:
			if columns == 1 {
				return true
			}
			n, size := binary.Uvarint(key[1:])
			if size <= 0 || n > uint64(len(key)) {
				return false
			}
			need = size + int(n)
		default:
			return false
		}
		if len(key) < need+1 {
			return false
		}
		if key = key[need+1:]; c == columns-1 {
			return len(key) == 0
		}
	}
	return true
}
