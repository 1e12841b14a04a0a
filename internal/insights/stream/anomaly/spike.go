package anomaly

import "math"

// Sides says which way an anomaly may go.
type Sides uint8

// The modes of AnomalyDetection_SpikeAndDip.
const (
	Spikes Sides = 1 << iota
	Dips
	SpikesAndDips = Spikes | Dips
)

// SpikeAndDip tells single values that the last events do not explain, as the
// language's AnomalyDetection_SpikeAndDip.
//
// It estimates the density of the history by kernels whose width adapts: narrow
// where values are many and wide where they are few (Abramson 1982; Silverman,
// "Density Estimation", 1986, sections 3.4 and 5.3). The score is the p-value of
// the event under that density: the probability to be as far out on the side or
// sides that count. An event is an anomaly if its p-value is below 1 -
// confidence/100; what is an anomaly at one confidence is one at every lower one.
// At 100 the bound is one in a million.
//
// The event then belongs to the history itself, so that a level that stays is
// soon no spike any more. There is no anomaly before there are 12 events.
type SpikeAndDip struct {
	sides  Sides
	sample sample
}

// fewest is the history that must be there before an event can be an anomaly.
const fewest = 12

// NewSpikeAndDip looks at the last history events that are not older than limit
// ticks. Of a history of more than 1024 events it keeps an even sample.
func NewSpikeAndDip(history int, limit int64, sides Sides) *SpikeAndDip {
	return &SpikeAndDip{sides: sides, sample: newSample(history, limit)}
}

// Score takes the next event and returns whether it is an anomaly and its
// p-value. NaN is no event; its p-value is 1. confidence is in percent.
func (d *SpikeAndDip) Score(ticks int64, v, confidence float64) (bool, float64) {
	if v != v {
		return false, 1
	}
	v = cut(v)
	d.sample.expire(ticks)
	n := d.sample.len()
	width := d.width()
	above, below, density := d.tails(v, width)
	p := 1.0
	if n >= min(fewest, d.sample.size) && n > 1 {
		switch d.sides {
		case Spikes:
			p = above
		case Dips:
			p = below
		default:
			p = min(2*min(above, below), 1)
		}
	}
	d.sample.add(ticks, v, d.factor(density))
	return p < risk(confidence), p
}

// width is the width of the kernels before it is adapted: Silverman's rule, with
// a floor for series of which most values are equal.
func (d *SpikeAndDip) width() float64 {
	n := d.sample.len()
	if n == 0 {
		return 1
	}
	w := 0.9 * d.sample.spread() * math.Pow(float64(n), -0.2)
	return max(w, 1e-9*math.Abs(d.sample.sorted[n/2]), 1e-300)
}

// tails is the probability above and below v, and the density at v in units of
// one over the width. The kernels are logistic: of them the probability and the
// density cost one exponential.
func (d *SpikeAndDip) tails(v, width float64) (above, below, density float64) {
	n := d.sample.len()
	if n == 0 {
		return 0.5, 0.5, 1
	}
	const shape = math.Pi / 1.7320508075688772 // gives the kernel a deviation of 1
	for _, part := range d.sample.parts() {
		for i := range part {
			k := &part[i]
			z := shape * (v - k.value) / (width * k.extra)
			switch {
			case z > 36:
				below++
			case z < -36:
				above++
			default:
				upper := 1 / (1 + math.Exp(z))
				above += upper
				below += 1 - upper
				density += shape * upper * (1 - upper) / k.extra
			}
		}
	}
	return above / float64(n), below / float64(n), density / float64(n)
}

// factor is how much wider than usual the kernel of a value of this density is.
func (d *SpikeAndDip) factor(density float64) float64 {
	const usual = 0.25 // density in the bulk of ordinary data, in the same unit
	return min(max(math.Sqrt(usual/max(density, 1e-6)), 0.5), 3)
}

// Bytes is roughly the memory it takes.
func (d *SpikeAndDip) Bytes() int64 { return 128 + d.sample.bytes() }

// AppendState appends the state, for a checkpoint.
func (d *SpikeAndDip) AppendState(b []byte) []byte {
	w := writer{b}
	w.byte(spikeState)
	w.sample(&d.sample)
	return w.b
}

// ReadState puts a state back that AppendState wrote and returns the bytes behind
// it. After an error there is no history.
func (d *SpikeAndDip) ReadState(b []byte) ([]byte, error) {
	r := reader{b: b}
	r.kind(spikeState)
	d.sample.clear()
	r.sample(&d.sample)
	if r.err != nil {
		d.sample.clear()
		return b, r.err
	}
	return r.b, nil
}
