package anomaly_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dunlin/internal/insights/stream/anomaly"
)

// documented is either of the two documented functions.
type documented interface {
	Score(ticks int64, v, confidence float64) (bool, float64)
	AppendState(b []byte) []byte
	ReadState(b []byte) ([]byte, error)
}

func run(d documented, confidence float64, values []float64) (at []int) {
	for i, v := range values {
		if found, _ := d.Score(start+int64(i)*second, v, confidence); found {
			at = append(at, i)
		}
	}
	return at
}

func series(seed uint64, n int, f func(i int, noise float64) float64) []float64 {
	r := rand.New(rand.NewPCG(seed, 9))
	out := make([]float64, n)
	for i := range out {
		out[i] = f(i, r.NormFloat64())
	}
	return out
}

func within(at []int, from, to int) (n int) {
	for _, i := range at {
		if i >= from && i < to {
			n++
		}
	}
	return n
}

// TestSpikeAndDip is section 15: each mode finds its own kind in the standard
// series, and no other.
func TestSpikeAndDip(t *testing.T) {
	const odd = 400
	spike := func(height float64) []float64 {
		return series(1, 500, func(i int, noise float64) float64 {
			if i == odd {
				return height
			}
			return 20 + noise
		})
	}
	season := func(height float64) []float64 {
		return series(2, 500, func(i int, noise float64) float64 {
			v := 10*math.Sin(2*math.Pi*float64(i)/24) + noise/2
			if i == odd {
				v = height
			}
			return v
		})
	}
	flat := func(height float64) []float64 {
		return series(3, 500, func(i int, _ float64) float64 {
			if i == odd {
				return height
			}
			return 5
		})
	}
	for _, c := range []struct {
		name   string
		values []float64
		sides  anomaly.Sides
		want   bool
	}{
		{"spike", spike(30), anomaly.Spikes, true},
		{"spike among dips", spike(30), anomaly.Dips, false},
		{"spike, both", spike(30), anomaly.SpikesAndDips, true},
		{"dip", spike(10), anomaly.Dips, true},
		{"dip among spikes", spike(10), anomaly.Spikes, false},
		{"dip, both", spike(10), anomaly.SpikesAndDips, true},
		{"neither", spike(20), anomaly.SpikesAndDips, false},
		{"season, spike", season(25), anomaly.Spikes, true},
		{"season, dip", season(-25), anomaly.Dips, true},
		{"season, neither", season(8), anomaly.SpikesAndDips, false},
		{"constant, spike", flat(6), anomaly.Spikes, true},
		{"constant, dip", flat(4), anomaly.Dips, true},
		{"constant", flat(5), anomaly.SpikesAndDips, false},
		{"huge", spike(1e300), anomaly.Spikes, true},
		{"infinite", spike(math.Inf(-1)), anomaly.Dips, true},
		{"NaN", spike(math.NaN()), anomaly.SpikesAndDips, false},
	} {
		at := run(anomaly.NewSpikeAndDip(120, day, c.sides), 98, c.values)
		if got := within(at, odd, odd+1) == 1; got != c.want {
			t.Errorf("%s: found is %v, want %v", c.name, got, c.want)
		}
		if n := len(at); n > 18 { // 2 % of 500, and some
			t.Errorf("%s: %d anomalies in all", c.name, n)
		}
	}
}

// TestSpikeIsNoLevel checks that a level that stays is no spike for long.
func TestSpikeIsNoLevel(t *testing.T) {
	values := series(4, 600, func(i int, noise float64) float64 { return float64(i/300)*50 + noise })
	at := run(anomaly.NewSpikeAndDip(100, day, anomaly.Spikes), 95, values)
	if within(at, 300, 302) == 0 || within(at, 320, 400) > 8 {
		t.Errorf("anomalies at %v", at)
	}
}

// TestChangePoint is section 15: lasting changes are found soon, and lone spikes,
// noise and seasons are none.
func TestChangePoint(t *testing.T) {
	const at, n = 500, 1000
	for _, c := range []struct {
		name    string
		within  int // events until it is found; 0 if there is nothing to find
		history int
		quiet   int // events of which nothing is said, if there is nothing to find
		f       func(i int, noise float64) float64
	}{
		{"noise", 0, 120, 0, func(_ int, noise float64) float64 { return noise }},
		{"constant", 0, 120, 0, func(int, float64) float64 { return 3 }},
		{"two values", 0, 120, 0, func(_ int, noise float64) float64 { return math.Round(noise / 3) }},
		{"lone spikes", 0, 120, 0, func(i int, noise float64) float64 {
			if i%100 == 99 {
				return 50
			}
			return noise
		}},
		{"short season", 0, 120, 0, func(i int, noise float64) float64 {
			return 10*math.Sin(2*math.Pi*float64(i)/24) + noise/2
		}},
		{"long season", 0, 600, 288, func(i int, noise float64) float64 {
			return 10*math.Sin(2*math.Pi*float64(i)/144) + noise/10
		}},
		{"level up", 20, 120, 0, func(i int, noise float64) float64 { return noise + 5*float64(i/at) }},
		{"level down", 20, 120, 0, func(i int, noise float64) float64 { return noise - 5*float64(i/at) }},
		{"level of a constant", 20, 120, 0, func(i int, _ float64) float64 { return 3 + float64(i/at) }},
		{"slow ramp", 200, 120, 0, func(i int, noise float64) float64 { return noise + 0.05*float64(max(0, i-at)) }},
		{"more noise", 60, 120, 0, func(i int, noise float64) float64 { return noise * float64(1+9*(i/at)) }},
		{"season and level", 200, 240, 0, func(i int, noise float64) float64 {
			return 10*math.Sin(2*math.Pi*float64(i)/24) + noise/2 + 40*float64(i/at)
		}},
		{"huge level", 20, 120, 0, func(i int, noise float64) float64 { return noise + 1e300*float64(i/at) }},
	} {
		found, loud := 0, 0
		const seeds = 5
		for seed := range uint64(seeds) {
			d := anomaly.NewChangePoint(c.history, day)
			got := run(d, 95, series(seed, n, c.f))
			if c.within > 0 {
				if within(got, at, at+c.within) > 0 {
					found++
				}
				loud += within(got, 0, at)
			} else {
				loud += within(got, c.quiet, n)
			}
		}
		if c.within > 0 && found < seeds {
			t.Errorf("%s: found in %d of %d", c.name, found, seeds)
		}
		if loud > 2 {
			t.Errorf("%s: %d false alarms", c.name, loud)
		}
	}
}

// TestChangePointGrows checks that the score is about 1 in peace and grows
// without bound in a change.
func TestChangePointGrows(t *testing.T) {
	d := anomaly.NewChangePoint(120, day)
	peace, war := 0.0, 0.0
	for i, v := range series(7, 600, func(i int, noise float64) float64 { return noise + 10*float64(i/500) }) {
		_, s := d.Score(start+int64(i)*second, v, 95)
		if i < 500 {
			peace += s / 500
		} else {
			war = max(war, s)
		}
	}
	if peace > 20 || war < 1e6 {
		t.Errorf("mean %g before the change, %g at most in it", peace, war)
	}
}

// TestConfidence is section 15: the higher the confidence, the fewer anomalies;
// each that a higher one finds a lower one finds too.
func TestConfidence(t *testing.T) {
	shapes := map[string]func(i int, noise float64) float64{
		"noise":  func(_ int, noise float64) float64 { return noise },
		"levels": func(i int, noise float64) float64 { return noise + 6*float64(i/200%2) },
		"spikes": func(i int, noise float64) float64 { return noise * noise * noise },
		"ramp":   func(i int, noise float64) float64 { return noise + float64(i)/50 },
	}
	make_ := map[string]func() documented{
		"spikes and dips": func() documented { return anomaly.NewSpikeAndDip(100, day, anomaly.SpikesAndDips) },
		"spikes":          func() documented { return anomaly.NewSpikeAndDip(100, day, anomaly.Spikes) },
		"change point":    func() documented { return anomaly.NewChangePoint(100, day) },
	}
	for kind, fresh := range make_ {
		for shape, f := range shapes {
			values := series(11, 1000, f)
			var before []int
			for confidence := 1.0; confidence <= 100; confidence += 11 {
				at := run(fresh(), confidence, values)
				if confidence > 1 {
					was := map[int]bool{}
					for _, i := range before {
						was[i] = true
					}
					for _, i := range at {
						if !was[i] {
							t.Fatalf("%s of %s: event %d is an anomaly at %g and not below", kind, shape, i, confidence)
						}
					}
				}
				before = at
			}
			// Nothing but noise has no change at any confidence.
			if first := run(fresh(), 1, values); len(first) <= len(before) && (kind != "change point" || shape == "levels") {
				t.Errorf("%s of %s: %d anomalies at 1, %d at 100", kind, shape, len(first), len(before))
			}
		}
	}
}

// TestDocumentedBounds covers histories and limits at their ends, and odd input.
func TestDocumentedBounds(t *testing.T) {
	odd := []float64{0, 5e-324, 1e300, -1e300, math.MaxFloat64, -math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 1, 2}
	for _, history := range []int{-1, 0, 1, 2, 11, 1 << 20} {
		for _, limit := range []int64{0, 1, second, day} {
			for _, d := range []documented{anomaly.NewSpikeAndDip(history, limit, anomaly.SpikesAndDips), anomaly.NewChangePoint(history, limit)} {
				r := rand.New(rand.NewPCG(1, 2))
				for i := range 3000 {
					_, s := d.Score(start+int64(i)*second/4, odd[r.IntN(len(odd))], float64(r.IntN(103)))
					if !(s >= 0) {
						t.Fatalf("%T, history %d, limit %d: score %g", d, history, limit, s)
					}
				}
			}
		}
	}
	// A limit that leaves nothing to compare with finds nothing.
	if at := run(anomaly.NewSpikeAndDip(100, 1, anomaly.Spikes), 50, series(1, 300, func(_ int, x float64) float64 { return x })); len(at) > 0 {
		t.Errorf("anomalies without a history: %v", at)
	}
}

// TestDocumentedMemory holds the bound of a history of a million events.
func TestDocumentedMemory(t *testing.T) {
	s := anomaly.NewSpikeAndDip(1<<20, 0, anomaly.Spikes)
	c := anomaly.NewChangePoint(1<<20, 0)
	for i := range 1 << 12 {
		s.Score(int64(i), float64(i%17), 95)
		c.Score(int64(i), float64(i%17), 95)
	}
	if s.Bytes() > 40<<10 || c.Bytes() > 80<<10 {
		t.Errorf("%d and %d bytes", s.Bytes(), c.Bytes())
	}
	small := anomaly.NewSpikeAndDip(120, 0, anomaly.Spikes)
	for i := range 500 {
		small.Score(int64(i), float64(i%17), 95)
	}
	i := int64(500)
	if n := testing.AllocsPerRun(1000, func() { i++; small.Score(i, float64(i%19), 95) }); n != 0 {
		t.Errorf("%g allocations an event", n)
	}
}

// TestDocumentedState checks that what was written and read goes on as what was
// not.
func TestDocumentedState(t *testing.T) {
	values := series(11, 3000, func(i int, noise float64) float64 { return noise + 6*float64(i/700%2) })
	for _, history := range []int{50, 1500} {
		for _, fresh := range []func() documented{
			func() documented { return anomaly.NewSpikeAndDip(history, day, anomaly.SpikesAndDips) },
			func() documented { return anomaly.NewChangePoint(history, day) },
		} {
			a, b := fresh(), fresh()
			for i, v := range values {
				at := start + int64(i)*second
				fa, sa := a.Score(at, v, 90)
				fb, sb := b.Score(at, v, 90)
				if fa != fb || sa != sb {
					t.Fatalf("%T at %d: %v %g and %v %g", a, i, fa, sa, fb, sb)
				}
				if i%311 == 0 {
					state := append(b.AppendState(nil), "rest"...)
					b = fresh()
					rest, err := b.ReadState(state)
					if err != nil || string(rest) != "rest" {
						t.Fatal(err, rest)
					}
					for _, cut := range []int{0, 1, 9, len(state) - 5} {
						if _, err := fresh().ReadState(state[:cut]); err == nil && cut < len(state)-4 {
							t.Errorf("%T: %d bytes of %d are read", a, cut, len(state)-4)
						}
					}
				}
			}
		}
	}
}

func FuzzDocumentedState(f *testing.F) {
	c := anomaly.NewChangePoint(20, day)
	s := anomaly.NewSpikeAndDip(20, day, anomaly.Dips)
	values := series(1, 60, func(_ int, x float64) float64 { return x })
	run(c, 90, values)
	run(s, 90, values)
	f.Add(c.AppendState(nil))
	f.Add(s.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, d := range []documented{anomaly.NewSpikeAndDip(10, day, anomaly.Dips), anomaly.NewChangePoint(10, day)} {
			_, err := d.ReadState(b)
			run(d, 90, values)
			_ = err
		}
	})
}

func BenchmarkDocumented(b *testing.B) {
	values := series(1, 1<<12, func(_ int, x float64) float64 { return x })
	for _, history := range []int{120, 1024} {
		for name, d := range map[string]documented{
			"spike":  anomaly.NewSpikeAndDip(history, day, anomaly.SpikesAndDips),
			"change": anomaly.NewChangePoint(history, day),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, history), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					d.Score(start+int64(i)*second, values[i&(1<<12-1)], 95)
					i++
				}
			})
		}
	}
}
