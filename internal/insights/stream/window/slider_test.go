package window_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/value"
	"dunlin/internal/insights/stream/window"
	"dunlin/internal/lang/asa"
)

func analyticOf(t failer, text string) window.Aggregate {
	t.Helper()
	q := queryOf(t, text)
	a, err := window.AnalyticOf(q.Analytic[0])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Section 9: aggregates over the history of a key, in (t-d, t].
func TestSlider(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.SampledFrom([]string{
			"COUNT(*)", "COUNT(x)", "SUM(x)", "AVG(x)", "AVG(y)", "MIN(x)", "MAX(x)", "MAX(y)", "MAX(CAST(x AS nvarchar(max)))", "Collect(x)", "Collect()",
			"TopOne(y)", "TopOne()", "CollectTop(2)", "CollectTop(3, x)",
		}).Draw(t, "f")
		order := ""
		if strings.Contains(f, "Top") {
			order = rapid.SampledFrom([]string{"ORDER BY x ", "ORDER BY x DESC, y "}).Draw(t, "order")
		}
		limit := int64(rapid.IntRange(1, 8).Draw(t, "limit"))
		text := fmt.Sprintf("SELECT %s OVER (%sLIMIT DURATION(second, %d)) AS a FROM i", f, order, limit)
		a := analyticOf(t, text)
		s := window.NewSlider(a, limit*second)
		events := randomEvents(t, 60)
		for i, e := range events {
			var args []value.Value
			for _, x := range a.Args {
				args = append(args, e.value(x))
			}
			if err := s.Expire(e.at); err != nil {
				t.Fatal(err)
			}
			if err := s.Add(e.at, args); err != nil {
				t.Fatal(err)
			}
			if i%7 == 3 {
				s = again(t, s, a, limit*second)
			}
			var in []event
			for _, x := range events[:i+1] {
				if x.at > e.at-limit*second {
					in = append(in, x)
				}
			}
			got, err := s.Result()
			if err != nil {
				t.Fatal(err)
			}
			if n := s.Len(); n != len(in) {
				t.Fatalf("%d rows, not %d", n, len(in))
			}
			if g, w := normal([]value.Value{got}), normal([]value.Value{modelAggregate(&a, in)}); g != w {
				t.Fatalf("%s at %d: %s, not %s", text, i, g, w)
			}
		}
		if err := s.Expire(1 << 60); err != nil {
			t.Fatal(err)
		}
		if s.Len() != 0 || s.Bytes() > 20000 {
			t.Fatalf("%d rows, %d bytes", s.Len(), s.Bytes())
		}
	})
}

func again(t failer, s *window.Slider, a window.Aggregate, limit int64) *window.Slider {
	t.Helper()
	n := window.NewSlider(a, limit)
	rest, err := n.ReadState(append(s.AppendState(nil), 1, 2, 3))
	if err != nil || len(rest) != 3 {
		t.Fatal(err, rest)
	}
	return n
}

// A float that is far larger than the others leaves nothing behind when it
// goes.
func TestSliderForgets(t *testing.T) {
	a := window.Aggregate{Func: window.Sum, Args: []asa.Expr{nil}}
	s := window.NewSlider(a, 2)
	for i, f := range []float64{0.1, 1e300, 0.2, 0.3, 0.4} {
		if err := s.Expire(int64(i)); err != nil {
			t.Fatal(err)
		}
		if err := s.Add(int64(i), []value.Value{value.Number(f)}); err != nil {
			t.Fatal(err)
		}
	}
	if v, err := s.Result(); err != nil || v.Float() != 0.7 {
		t.Errorf("%v %v", v.Float(), err)
	}
}
