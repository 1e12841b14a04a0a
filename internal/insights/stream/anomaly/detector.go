package anomaly

import (
	"math"
	"time"
)

// The detector's constants. They are the same for every stream. Where a neighbour
// does as well the rounder one was taken; docs/anomaly.md says how they were
// chosen and how little most of them matter.
const (
	contexts   = 11      // grids in the ensemble
	warmUp     = 10      // first events, which have no score
	lags       = 16      // values that are remembered one by one
	keep       = 10_000  // events that a generation lasts at least
	youth      = 200     // events after which a score counts half of what it will
	linger     = 0.7     // share of the novelty before that is left at the next event
	episodes   = 16      // earlier episodes that are remembered
	quiet      = 30      // events without a new peak that end an episode
	overshoot  = 1.8     // how far above its score the peak of an episode starts
	alike      = 0.7     // an episode of at least this share of a score is like it
	fadeLike   = 5000    // events after which an earlier episode counts 1/e
	restShare  = 0.03    // the peak fades over this share of the events so far,
	restLeast  = 30      // but over no fewer
	restMost   = 200     // and no more events than these
	half       = 0.15    // the inner score that is published as 0.5
	largest    = 1e300   // values are cut to this magnitude
	ticksADay  = 864e9   // a tick is 100 ns
	stateBytes = 4 << 10 // the promise
)

// Detector gives each event of one stream a score. It takes a fixed 4 KB at most
// and allocates nothing. The zero value is not ready; use New. A Detector is for
// one goroutine.
type Detector struct {
	limit int64 // ticks
	n     int64 // events

	// The present.
	lag          [lags]float64 // lag[0] is the event before
	mean4        float64
	mean12       float64
	step24       float64 // mean size of the steps
	deviation12  float64
	trace        float64 // of the novelty of the events before
	young, old   [contexts]grid
	youngEvents  int64
	youngStarted int64 // ticks
	hasOld       bool

	// Episodes.
	peak    float64
	raised  int64 // event at which the present episode last rose
	count   int64 // episodes so far; the present one is the last
	heights [episodes]float32
	starts  [episodes]int64
}

// New returns a detector for a stream. limit is the LIMIT DURATION of the query.
func New(limit time.Duration) *Detector { return NewTicks(int64(limit / 100)) }

// NewTicks is New with the limit in ticks of 100 ns.
func NewTicks(limit int64) *Detector { return &Detector{limit: max(limit, 0)} }

// Score takes the next event and returns how unusual it is: 0 for nothing new, up
// to but not including 1. 0.5 is where we would set an alarm. Ticks are of 100 ns since year 1; the
// order of events counts, not their times, except for the hour of the day and for
// forgetting. NaN is no event: its score is 0 and nothing changes.
func (d *Detector) Score(ticks int64, v float64) float64 {
	if v != v {
		return 0
	}
	v = min(max(v, -largest), largest)
	s := d.episode(d.novelty(ticks, v))
	return s / (s + half)
}

// novelty is the mean over the contexts of how new the event is in each, to which
// the novelty of the events just before adds.
func (d *Detector) novelty(ticks int64, v float64) float64 {
	if d.n == 0 {
		for i := range d.lag {
			d.lag[i] = v
		}
		d.mean4, d.mean12 = v, v
		d.youngStarted = ticks
	}
	d.n++
	n := 1 / float64(d.n)
	step := v - d.lag[0]
	d.mean4 += max(n, 1./4) * (v - d.mean4)
	d.mean12 += max(n, 1./12) * (v - d.mean12)
	d.step24 += max(n, 1./24) * (math.Abs(step) - d.step24)
	d.deviation12 += max(n, 1./12) * (math.Abs(v-d.mean12) - d.deviation12)
	day := ticks % ticksADay
	if day < 0 {
		day += ticksADay
	}
	hour := float64(day)
	points := [contexts][2]float64{
		{v, d.lag[0]}, // steps, and noise where the value is calm
		{v, d.lag[3]},
		{v, d.lag[15]},
		{v, v - d.lag[7]}, // ramps
		{v, d.mean12},     // level shifts
		{v, hour},         // a value at the wrong time of the day
		{d.mean12, hour},
		{d.mean4, d.deviation12}, // more or less noise than usual at this level
		{d.mean4, v - d.lag[7]},
		{d.mean12, d.step24},
		{step, d.lag[0] - d.lag[1]}, // shapes of spikes
	}
	copy(d.lag[1:], d.lag[:lags-1])
	d.lag[0] = v

	if d.youngEvents >= keep && ticks-d.youngStarted >= d.limit {
		d.old, d.hasOld = d.young, true
		d.young = [contexts]grid{}
		d.youngEvents, d.youngStarted = 0, ticks
	}
	sum := 0.0
	for i := range points {
		x, y := points[i][0], points[i][1]
		far := d.young[i].see(d.youngEvents == 0, x, y)
		if d.hasOld {
			if of := d.old[i].see(false, x, y); d.youngEvents == 0 || of < far {
				far = of
			}
		}
		if far > 0 {
			// New or not is what counts most; how far, only a little.
			sum += math.Sqrt(math.Sqrt(far / 2))
		}
	}
	d.youngEvents++
	if d.n < warmUp {
		return 0
	}
	d.trace *= linger
	if sum == 0 {
		return 0
	}
	// At first all is new, and newness says little.
	s := sum / contexts * float64(d.n) / float64(d.n+youth)
	total := s + d.trace
	d.trace += (1 - linger) * s
	return total
}

// episode lets a raw score pass if it is above the peak of the episode before,
// and divides it by the number of like episodes.
func (d *Detector) episode(s float64) float64 {
	if s <= d.peak {
		d.peak -= d.peak / min(max(restShare*float64(d.n), restLeast), restMost)
		return 0
	}
	if s == 0 {
		return 0
	}
	if d.count == 0 || d.n-d.raised > quiet {
		at := d.count % episodes
		d.count++
		d.heights[at], d.starts[at] = 0, d.n
	}
	d.raised = d.n
	d.peak = s * overshoot
	now := (d.count - 1) % episodes
	like := 1.0
	for i := range min(d.count, episodes) {
		if i != now && float64(d.heights[i]) >= alike*s {
			like += math.Exp(float64(d.starts[i]-d.n) / fadeLike)
		}
	}
	d.heights[now] = max(d.heights[now], float32(s))
	return s / like
}
