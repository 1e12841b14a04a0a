package anomaly

import (
	"math"
	"slices"
)

// ChangePoint tells lasting changes of a stream, as the language's
// AnomalyDetection_ChangePoint.
//
// It bets against exchangeability (Vovk, Nouretdinov, Gammerman, "Testing
// exchangeability on-line", ICML 2003; Fedorova et al., "Plug-in martingales",
// ICML 2012): each event gets a conformal p-value, its rank in the history, and
// each bet that p-values be small multiplies a capital by e*p^(e-1), which nobody
// can expect to grow as long as the order of the events is of no account. There
// are three bets, on high, on low and on far-off values; the score is the mean of
// their capitals, each of which starts again from 1 when it falls below, as a
// CUSUM does (Volkhonskiy et al., "Inductive conformal martingales for
// change-point detection", 2017). So the score is about 1 as long as all is as it
// was, and grows without bound in a change.
//
// An event is an anomaly if the score is above history/(1 - confidence/100): by
// Ville's inequality the confidence then is roughly that of a whole history
// without a false alarm. The score does not depend on the confidence; what is an
// anomaly at one confidence is one at every lower one. When the score has passed
// the bound of confidence 99.99 the change is settled: the score is 1 for half a
// history, until the new state of affairs is known.
//
// An event is compared with the history but its last quarter, so that a change
// does not become part of what it is compared with before it is found.
//
// Events of a series with memory (a season, a random walk) are not exchangeable.
// The bets are therefore smaller the more like its neighbour an event usually is:
// one independent event's worth for as many events as it takes to get one. A
// season should still fit into the history a few times, and the first one is a
// change as any other.
type ChangePoint struct {
	sample  sample // what events are compared with
	steps   sample // sizes of the steps between its values
	recent  sample // the last quarter of the history
	last    float64
	started bool
	logs    [3]float64 // logarithms of the capitals: high, low, far off
	hold    int        // events until bets are made again
}

// bet is e of the bets.
const bet = 0.25

// NewChangePoint looks at the last history events that are not older than limit
// ticks. Of a history of more than 1024 events it keeps an even sample.
func NewChangePoint(history int, limit int64) *ChangePoint {
	whole := newSample(history, limit)
	d := &ChangePoint{sample: whole, steps: whole, recent: whole}
	d.recent.size = max(whole.size/4, 1)
	d.sample.size = max(whole.size-d.recent.size, 1)
	d.steps.size = d.sample.size
	// The recent events are one of stride already when they go on.
	d.sample.stride, d.steps.stride = 1, 1
	return d
}

// settled is the risk at whose bound a change is over.
const settled = 1e-4

// Score takes the next event and returns whether it is an anomaly and the
// martingale's value. NaN is no event; its value is 1. confidence is in percent.
func (d *ChangePoint) Score(ticks int64, v, confidence float64) (bool, float64) {
	if v != v {
		return false, 1
	}
	v = cut(v)
	for _, s := range []*sample{&d.sample, &d.steps, &d.recent} {
		s.expire(ticks)
	}
	n := d.sample.len()
	switch {
	case d.hold > 0:
		d.hold--
	case n >= min(fewest, d.sample.size) && n > 1:
		d.play(v)
	}
	m := 0.0
	for _, l := range d.logs {
		m += math.Exp(l)
	}
	m /= float64(len(d.logs))
	if d.recent.skip == 0 && d.recent.len() == d.recent.size {
		d.learn()
	}
	d.recent.add(ticks, v, 0)
	history := (d.sample.size + d.recent.size) * d.recent.stride
	bound := float64(max(history, fewest))
	if m <= bound/settled {
		return m > bound/max(risk(confidence), settled), m
	}
	for d.recent.len() > 0 {
		d.learn()
	}
	d.logs, d.hold = [3]float64{}, history/2
	return true, m
}

// learn takes the oldest recent event to those that others are compared with.
func (d *ChangePoint) learn() {
	k := *d.recent.at(0)
	d.recent.pop()
	d.sample.add(k.ticks, k.value, 0)
	if d.started {
		d.steps.add(k.ticks, math.Abs(k.value-d.last), 0)
	}
	d.last, d.started = k.value, true
}

// play makes the three bets on the next value.
func (d *ChangePoint) play(v float64) {
	below, upTo := d.sample.ranks(v)
	n := float64(d.sample.len())
	// Ties count half: an event that equals all others says nothing.
	low := (float64(below) + float64(upTo-below+1)/2) / (n + 1)
	high := 1 - low
	p := [3]float64{high, low, 2 * min(low, high)}
	memory := d.memory()
	for i := range p {
		d.logs[i] += (math.Log(bet) + (bet-1)*math.Log(max(p[i], 0.5/(n+1)))) / memory
		d.logs[i] = max(d.logs[i], 0)
	}
}

// memory is how many events it takes to get an independent one, if the series
// has the memory of a first order autoregression with its usual step. It is told
// by medians, which a change does not move before it is half of the history.
func (d *ChangePoint) memory() float64 {
	n, k := d.sample.len(), d.steps.len()
	if k < 4 {
		return 1
	}
	// The spread of a difference of independent values, and of the steps.
	spread := d.sample.spread() * math.Sqrt2
	step := d.steps.sorted[k/2] / 0.6745
	if spread <= 0 || step >= spread {
		return 1
	}
	gap := (step / spread) * (step / spread) // one less the correlation
	return min((2-gap)/max(gap, 1e-9), float64(max(n/12, 1)))
}

// Bytes is roughly the memory it takes.
func (d *ChangePoint) Bytes() int64 {
	return 256 + d.sample.bytes() + d.steps.bytes() + d.recent.bytes()
}

// AppendState appends the state, for a checkpoint.
func (d *ChangePoint) AppendState(b []byte) []byte {
	w := writer{b}
	w.byte(changePointState)
	w.float(d.last)
	started := byte(0)
	if d.started {
		started = 1
	}
	w.byte(started)
	w.floats(d.logs[:])
	w.int(int64(d.hold))
	w.sample(&d.sample)
	w.sample(&d.steps)
	w.sample(&d.recent)
	return w.b
}

// ReadState puts a state back that AppendState wrote and returns the bytes behind
// it. After an error there is no history.
func (d *ChangePoint) ReadState(b []byte) ([]byte, error) {
	r := reader{b: b}
	r.kind(changePointState)
	d.clear()
	d.last, d.started = r.number(), r.byte() == 1
	r.numbers(d.logs[:])
	d.hold = int(r.int())
	for _, s := range []*sample{&d.sample, &d.steps, &d.recent} {
		r.sample(s)
	}
	if d.hold < 0 || slices.Min(d.logs[:]) < 0 {
		r.err = errState
	}
	if r.err != nil {
		d.clear()
		return b, r.err
	}
	return r.b, nil
}

// clear forgets all.
func (d *ChangePoint) clear() {
	d.sample.clear()
	d.steps.clear()
	d.recent.clear()
	d.logs, d.hold, d.last, d.started = [3]float64{}, 0, 0, false
}
