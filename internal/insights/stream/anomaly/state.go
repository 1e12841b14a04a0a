package anomaly

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The first byte of each kind of state. A change of the form takes a new number.
const (
	detectorState    = 0x11
	spikeState       = 0x21
	changePointState = 0x31
)

var errState = errors.New("state of a detector is cut short or damaged")

// writer appends numbers, little endian.
type writer struct{ b []byte }

func (w *writer) byte(x byte)     { w.b = append(w.b, x) }
func (w *writer) int(x int64)     { w.b = binary.LittleEndian.AppendUint64(w.b, uint64(x)) }
func (w *writer) float(x float64) { w.int(int64(math.Float64bits(x))) }
func (w *writer) word(x uint32)   { w.b = binary.LittleEndian.AppendUint32(w.b, x) }
func (w *writer) floats(x []float64) {
	for _, f := range x {
		w.float(f)
	}
}

// reader takes them back. After the first failure it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.b) < n {
		r.err = errState
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) kind(want byte) {
	if got := r.take(1)[0]; r.err == nil && got != want {
		r.err = fmt.Errorf("state of a detector has form %#x, this program reads %#x", got, want)
	}
}
func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) int() int64     { return int64(binary.LittleEndian.Uint64(r.take(8))) }
func (r *reader) word() uint32   { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) float() float64 { return math.Float64frombits(uint64(r.int())) }

// number is a float that has to be finite.
func (r *reader) number() float64 {
	f := r.float()
	if math.IsNaN(f) || math.IsInf(f, 0) {
		r.err = errState
		return 0
	}
	return f
}

func (r *reader) numbers(x []float64) {
	for i := range x {
		x[i] = r.number()
	}
}

// AppendState appends the detector's state, for a checkpoint.
func (d *Detector) AppendState(b []byte) []byte {
	w := writer{b}
	w.byte(detectorState)
	w.int(d.n)
	w.floats(d.lag[:])
	w.floats([]float64{d.mean4, d.mean12, d.step24, d.deviation12, d.trace, d.peak})
	w.int(d.youngEvents)
	w.int(d.youngStarted)
	w.int(d.raised)
	w.int(d.count)
	for i := range d.heights {
		w.word(math.Float32bits(d.heights[i]))
		w.int(d.starts[i])
	}
	w.grids(&d.young)
	if !d.hasOld {
		w.byte(0)
		return w.b
	}
	w.byte(1)
	w.grids(&d.old)
	return w.b
}

// ReadState puts a state back that AppendState wrote and returns the bytes behind
// it. The limit stays that of New. After an error the detector is as New made it.
func (d *Detector) ReadState(b []byte) ([]byte, error) {
	r := reader{b: b}
	r.kind(detectorState)
	s := Detector{limit: d.limit}
	s.n = r.int()
	r.numbers(s.lag[:])
	for _, f := range []*float64{&s.mean4, &s.mean12, &s.step24, &s.deviation12, &s.trace, &s.peak} {
		*f = r.number()
	}
	s.youngEvents, s.youngStarted, s.raised, s.count = r.int(), r.int(), r.int(), r.int()
	if s.n < 0 || s.youngEvents < 0 || s.count < 0 {
		r.err = errState
	}
	for i := range s.heights {
		s.heights[i], s.starts[i] = math.Float32frombits(r.word()), r.int()
	}
	r.grids(&s.young)
	if s.hasOld = r.byte() == 1; s.hasOld {
		r.grids(&s.old)
	}
	if r.err != nil {
		*d = Detector{limit: d.limit}
		return b, r.err
	}
	*d = s
	return r.b, nil
}

func (w *writer) grids(gs *[contexts]grid) {
	for i := range gs {
		g := &gs[i]
		w.floats([]float64{g.x.lo, g.x.hi, g.y.lo, g.y.hi})
		for _, row := range g.rows {
			w.word(row)
		}
	}
}

func (r *reader) grids(gs *[contexts]grid) {
	for i := range gs {
		g := &gs[i]
		g.x.lo, g.x.hi, g.y.lo, g.y.hi = r.number(), r.number(), r.number(), r.number()
		if g.x.lo > g.x.hi || g.y.lo > g.y.hi {
			r.err = errState
		}
		for k := range g.rows {
			g.rows[k] = r.word()
		}
	}
}
