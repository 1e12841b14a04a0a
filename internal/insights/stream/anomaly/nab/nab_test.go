package nab

import (
	"math"
	"testing"
	"time"
)

// TestScore works the published rules out by hand on a series of 100 events with
// one window from event 40 to 59.
func TestScore(t *testing.T) {
	s := Series{Name: "a/b.csv"}
	at := time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range 100 {
		s.Times = append(s.Times, at.Add(time.Duration(i)*time.Minute))
		s.Values = append(s.Values, 0)
	}
	s.Windows = []Window{{s.Times[40], s.Times[59]}}
	sig := func(x float64) float64 { return 2/(1+math.Exp(5*x)) - 1 }
	for _, c := range []struct {
		name   string
		alarms []int
		p      Profile
		want   float64 // before the scale: -1 or -2 is nothing found, 1 perfect
	}{
		{"nothing", nil, Standard, -1},
		{"nothing, low FN", nil, LowFN, -2},
		{"at the left edge", []int{40}, Standard, 1},
		{"in the middle", []int{50}, Standard, sig(-0.5) / sig(-1)},
		{"the earliest counts", []int{55, 50, 51}, Standard, sig(-0.5) / sig(-1)},
		{"at the right edge", []int{59}, Standard, sig(-1./20) / sig(-1)},
		{"early false alarm", []int{20, 40}, Standard, 1 - 0.11},
		{"early false alarm, low FP", []int{20, 40}, LowFP, 1 - 0.22},
		{"just behind the window", []int{40, 62}, Standard, 1 + 0.11*sig(3./19)},
		{"probation", []int{5, 14, 40}, Standard, 1},
		{"first after probation", []int{15, 40}, Standard, 1 - 0.11},
	} {
		scores := make([]float64, 100)
		for _, i := range c.alarms {
			scores[i] = 1
		}
		got := At([]Series{s}, [][]float64{scores}, c.p, 0.5)
		want := 100 * (c.want + c.p.FalseNegative) / (1 + c.p.FalseNegative)
		if math.Abs(got.Score-want) > 1e-9 {
			t.Errorf("%s: %.4f, want %.4f", c.name, got.Score, want)
		}
	}
}

// TestBest checks that the threshold is the one that serves the whole corpus best.
func TestBest(t *testing.T) {
	at := time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
	var s Series
	for i := range 100 {
		s.Times = append(s.Times, at.Add(time.Duration(i)*time.Minute))
		s.Values = append(s.Values, 0)
	}
	s.Windows = []Window{{s.Times[40], s.Times[59]}}
	scores := make([]float64, 100)
	for i := range scores {
		scores[i] = 0.1
	}
	scores[30], scores[45] = 0.6, 0.7
	r := Best([]Series{s, s}, [][]float64{scores, scores}, Standard)
	if r.Threshold != 0.7 || r.Found != 2 || r.False != 0 || r.Windows != 2 {
		t.Errorf("%+v", r)
	}
}
