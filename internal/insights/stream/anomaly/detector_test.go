package anomaly_test

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"

	"dunlin/internal/insights/stream/anomaly"
)

const (
	second = int64(1e7)
	minute = 60 * second
	day    = 24 * 60 * minute
	start  = 735_000 * day // in 2013
	week   = 7 * 24 * time.Hour
)

// alarm is the score from which the tests call an event an alarm.
const alarm = 0.5

// feed gives the detector n events that are five minutes apart and returns their
// scores.
func feed(d *anomaly.Detector, n int, f func(i int) float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = d.Score(start+int64(i)*5*minute, f(i))
	}
	return out
}

func alarms(scores []float64) (at []int) {
	for i, s := range scores {
		if s >= alarm {
			at = append(at, i)
		}
	}
	return at
}

// daily is a day's curve with noise.
func daily(r *rand.Rand) func(i int) float64 {
	return func(i int) float64 {
		return 50 + 20*math.Sin(2*math.Pi*float64(i)/288) + r.NormFloat64()
	}
}

// TestFindsWhatIsOdd puts one oddity into an ordinary series, long after its
// start. It must be found within a few events, and a month without it must be
// nearly silent.
func TestFindsWhatIsOdd(t *testing.T) {
	const n, odd = 8640, 6000
	base := func(seed uint64) func(i int) float64 { return daily(rand.New(rand.NewPCG(seed, 1))) }
	for _, c := range []struct {
		name   string
		within int
		change func(i int, v float64) float64
	}{
		{"spike", 1, func(i int, v float64) float64 {
			if i == odd {
				return v + 60
			}
			return v
		}},
		{"dip", 1, func(i int, v float64) float64 {
			if i == odd {
				return v - 60
			}
			return v
		}},
		{"level shift", 3, func(i int, v float64) float64 {
			if i >= odd {
				return v + 60
			}
			return v
		}},
		{"stuck", 24, func(i int, v float64) float64 {
			if i >= odd && i < odd+100 {
				return 55
			}
			return v
		}},
		{"noise", 12, func(i int, v float64) float64 {
			if i >= odd && i < odd+50 && i%2 == 0 {
				return v + 12
			}
			return v
		}},
		{"right value, wrong hour", 40, func(i int, v float64) float64 {
			if i >= odd && i < odd+72 {
				return v - 40*math.Sin(2*math.Pi*float64(i)/288)
			}
			return v
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found, loud := 0, 0
			for seed := range uint64(5) {
				b := base(seed)
				scores := feed(anomaly.New(week), n, func(i int) float64 { return c.change(i, b(i)) })
				hit := false
				for _, at := range alarms(scores) {
					switch {
					case at < 1500: // it still learns
					case at >= odd && at < odd+c.within:
						hit = true
					case at < odd || at > odd+400:
						loud++
					}
				}
				if hit {
					found++
				}
			}
			if found < 5 || loud > 10 {
				t.Errorf("found in %d of 5 series, %d false alarms in all", found, loud)
			}
		})
	}
}

// TestStaysSilent has series in which nothing is odd, or what is odd is to be got
// used to.
func TestStaysSilent(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name string
		most int // alarms after the first 1,500 of 20,000 events
		f    func(i int) float64
	}{
		{"constant", 0, func(int) float64 { return 7 }},
		{"zero", 0, func(int) float64 { return 0 }},
		{"square wave", 0, func(i int) float64 { return float64(i / 144 % 2) }},
		{"sine", 2, func(i int) float64 { return math.Sin(2 * math.Pi * float64(i) / 288) }},
		{"noise", 8, func(int) float64 { return r.NormFloat64() }},
		{"daily", 8, daily(r)},
		{"counter", 8, func(i int) float64 { return float64(i) * 3 }},
		{"slow drift", 8, func(i int) float64 { return float64(i)/1000 + r.NormFloat64() }},
		{"a spike a day", 4, func(i int) float64 {
			if i%288 == 100 {
				return 100
			}
			return r.Float64()
		}},
		{"two levels", 4, func(i int) float64 { return float64(i/2500%2)*50 + r.Float64() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			scores := feed(anomaly.New(week), 20_000, c.f)
			if at := alarms(scores[1500:]); len(at) > c.most {
				t.Errorf("%d alarms, at most %d expected: %v", len(at), c.most, at)
			}
		})
	}
}

// TestAdapts checks that a new level is reported when it comes, and is soon as
// ordinary as the old one.
func TestAdapts(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	scores := feed(anomaly.New(week), 9000, func(i int) float64 {
		v := r.NormFloat64()
		if i >= 5000 {
			v += 1000
		}
		return v
	})
	at := alarms(scores)
	soon, late := 0, 0
	for _, i := range at {
		if i >= 5000 && i < 5003 {
			soon++
		}
		if i >= 5200 {
			late++
		}
	}
	if soon == 0 || late > 3 {
		t.Errorf("alarms at %v: one was expected at 5000 and few after 5200", at)
	}
}

// TestForgets lets one wild value in and looks whether the detector still sees
// small oddities later on.
func TestForgets(t *testing.T) {
	for _, wild := range []float64{1e6, 1e300, math.Inf(1), math.Inf(-1), math.MaxFloat64} {
		r := rand.New(rand.NewPCG(5, 6))
		scores := feed(anomaly.New(24*time.Hour), 30_000, func(i int) float64 {
			switch i {
			case 3000:
				return wild
			case 28_000:
				return 25
			}
			return r.NormFloat64()
		})
		if scores[3000] < alarm || scores[28_000] < alarm {
			t.Errorf("%g scored %.2f, the later spike %.2f", wild, scores[3000], scores[28_000])
		}
	}
}

func TestBadInput(t *testing.T) {
	d := anomaly.New(time.Hour)
	before := d.AppendState(nil)
	if s := d.Score(start, math.NaN()); s != 0 {
		t.Errorf("NaN scored %g", s)
	}
	if !bytes.Equal(before, d.AppendState(nil)) {
		t.Error("NaN changed the state")
	}
	r := rand.New(rand.NewPCG(1, 2))
	odd := []float64{
		0, math.Copysign(0, -1), 5e-324, -5e-324, 1e300, -1e300, math.MaxFloat64, -math.MaxFloat64,
		math.Inf(1), math.Inf(-1), math.NaN(), 1, -1, 1e-300, 1 << 53, 1<<53 + 2,
	}
	times := []int64{0, -1, math.MinInt64, math.MaxInt64, start, start, start + day}
	for range 200_000 {
		s := d.Score(times[r.IntN(len(times))], odd[r.IntN(len(odd))])
		if !(s >= 0 && s < 1) {
			t.Fatalf("score %g", s)
		}
	}
	for range 1000 { // many events at one time
		if s := d.Score(start, r.Float64()); !(s >= 0 && s < 1) {
			t.Fatalf("score %g", s)
		}
	}
}

// TestState checks that a detector that was written and read goes on as the one
// that was not, and that no damaged state gets through.
func TestState(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a := anomaly.New(time.Hour)
	f := daily(r)
	for i := range 25_000 {
		v := f(i)
		if i%997 == 0 {
			v += 100
		}
		at := start + int64(i)*minute
		if i%5003 == 0 {
			state := append(a.AppendState([]byte("x"))[1:], "rest"...)
			if len(state) > 4<<10 {
				t.Errorf("state of %d bytes", len(state))
			}
			b := anomaly.New(time.Hour)
			rest, err := b.ReadState(state)
			if err != nil || string(rest) != "rest" {
				t.Fatal(err, rest)
			}
			for _, cut := range []int{0, 1, 100, len(state) - 5} {
				if _, err := anomaly.New(0).ReadState(state[:cut]); err == nil {
					t.Errorf("%d bytes of %d are read", cut, len(state)-4)
				}
			}
			a = b
		}
		c := *a // a copy is a state too
		if got, want := a.Score(at, v), c.Score(at, v); got != want {
			t.Fatal(got, want)
		}
	}
}

func FuzzState(f *testing.F) {
	d := anomaly.New(time.Hour)
	feed(d, 100, func(i int) float64 { return float64(i % 7) })
	f.Add(d.AppendState(nil))
	f.Add([]byte{0x11})
	f.Fuzz(func(t *testing.T, b []byte) {
		d := anomaly.New(time.Hour)
		_, err := d.ReadState(b)
		for i := range 50 {
			if s := d.Score(start, float64(i)); !(s >= 0 && s <= 1) && err == nil {
				t.Fatalf("score %g", s)
			}
		}
	})
}

// TestBudget holds the promises of memory and of allocations.
func TestBudget(t *testing.T) {
	if n := unsafe.Sizeof(anomaly.Detector{}); n > 4<<10 {
		t.Errorf("a detector takes %d bytes", n)
	}
	d := anomaly.New(time.Hour)
	r := rand.New(rand.NewPCG(1, 2))
	i := int64(0)
	if n := testing.AllocsPerRun(30_000, func() {
		i++
		d.Score(start+i*minute, r.NormFloat64())
	}); n != 0 {
		t.Errorf("%g allocations an event", n)
	}
}

func BenchmarkScore(b *testing.B) {
	for _, c := range []struct {
		name string
		f    func(r *rand.Rand) func(i int) float64
	}{
		{"daily", daily},
		{"noise", func(r *rand.Rand) func(int) float64 { return func(int) float64 { return r.NormFloat64() } }},
		{"counter", func(*rand.Rand) func(int) float64 { return func(i int) float64 { return float64(i) } }},
	} {
		b.Run(c.name, func(b *testing.B) {
			f := c.f(rand.New(rand.NewPCG(1, 2)))
			values := make([]float64, 1<<16)
			for i := range values {
				values[i] = f(i)
			}
			d := anomaly.New(time.Hour)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				d.Score(start+int64(i)*minute, values[i&(1<<16-1)])
				i++
			}
		})
	}
}
