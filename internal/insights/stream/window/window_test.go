package window_test

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/insights/stream/window"
)

// at makes events of one key at times in seconds.
func at(times ...float64) (list []event) {
	for i, t := range times {
		list = append(list, event{int64(t*second + 0.5), map[string]value.Value{"k": value.String("a"), "x": value.Int(int64(i + 1))}})
	}
	return list
}

// Section 7, and the limits of windows.
func TestWindows(t *testing.T) {
	tests := []struct {
		name, window string
		times        []float64
		want         string // end, count, sum of the numbers of the events
	}{
		{"tumbling excludes its start", "TumblingWindow(second, 5)", []float64{0, 0.0000001, 5, 5.0000001, 10}, "0: 1 1\n5: 2 5\n10: 2 9\n"},
		{"tumbling, gap", "TumblingWindow(second, 5)", []float64{1, 1000}, "5: 1 1\n1000: 1 2\n"},
		{"tumbling, Offset(millisecond, -1)", "TumblingWindow(Duration(second, 5), Offset(millisecond, -1))", []float64{0, 4.999, 5, 9.999, 10}, "4.999: 2 3\n9.999: 2 7\n14.999: 1 5\n"},
		{"hopping", "HoppingWindow(second, 10, 5)", []float64{5, 5.5, 12, 20}, "5: 1 1\n10: 2 3\n15: 2 5\n20: 2 7\n25: 1 4\n"},
		{"hopping, no multiple", "HoppingWindow(second, 5, 3)", []float64{1, 3, 4, 7}, "3: 2 3\n6: 2 5\n9: 1 4\n"},
		{"hop longer than size", "HoppingWindow(second, 2, 5)", []float64{1, 3, 3.5, 5, 6, 9}, "5: 2 7\n10: 1 6\n"},
		{"hopping, offset", "HoppingWindow(Duration(second, 10), Hop(second, 5), Offset(second, 2))", []float64{2, 3}, "2: 1 1\n7: 2 3\n12: 1 2\n"},
		{"sliding, worked", "SlidingWindow(second, 10)", []float64{10, 11.5, 15, 15, 26.5}, "10: 1 1\n11.5: 2 3\n15: 4 10\n20: 3 9\n21.5: 2 7\n26.5: 1 5\n"},
		{"sliding, enter and leave at once", "SlidingWindow(second, 10)", []float64{10, 20, 20}, "10: 1 1\n20: 2 5\n"},
		{"session, worked", "SessionWindow(second, 5, 10)", []float64{12.5, 15, 19, 23.5, 26}, "30: 5 15\n"},
		{"session, timeout", "SessionWindow(second, 5, 60)", []float64{1, 6, 11.0000001, 20}, "11: 2 3\n16.0000001: 1 3\n25: 1 4\n"},
		{"session, at the check", "SessionWindow(second, 5, 10)", []float64{2, 7, 12, 17, 20, 20.5}, "20: 5 15\n25.5: 1 6\n"},
		{"session, opened on a multiple", "SessionWindow(second, 8, 10)", []float64{10, 18, 20, 21}, "20: 3 6\n29: 1 4\n"},
		{"snapshot", "System.Timestamp()", []float64{1, 1, 2}, "1: 2 3\n2: 1 3\n"},
		{"several", "Windows(TumblingWindow(second, 2), TumblingWindow(second, 3), HoppingWindow(second, 4, 2))", []float64{1, 2.5, 6}, "2: 1 1\n2: 1 1\n3: 2 3\n4: 1 2\n4: 2 3\n6: 1 3\n6: 1 3\n6: 2 5\n8: 1 3\n"},
		{"mixed", "Windows(SlidingWindow(second, 2), TumblingWindow(second, 2), System.Timestamp(), SessionWindow(second, 1, 5))", []float64{1, 2}, "1: 1 1\n1: 1 1\n2: 2 3\n2: 2 3\n2: 1 2\n3: 1 2\n3: 2 3\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := queryOf(t, "SELECT COUNT(*) AS n, SUM(x) AS s FROM i GROUP BY "+test.window)
			for _, batches := range []bool{false, true} {
				g := newGrouping(t, q)
				events := at(test.times...)
				if batches {
					for _, e := range events {
						if err := g.add(e); err != nil {
							t.Fatal(err)
						}
						g.restart()
					}
				} else if err := g.add(events...); err != nil {
					t.Fatal(err)
				}
				if err := g.Reached(1e6 * second); err != nil {
					t.Fatal(err)
				}
				if got := strings.ReplaceAll(g.String(), " null", ""); got != test.want {
					t.Errorf("batches %t:\n%s\nwant\n%s", batches, got, test.want)
				}
				if g.Groups() > 1 {
					t.Errorf("%d groups", g.Groups())
				}
			}
		})
	}
}

func TestWindowNames(t *testing.T) {
	q := queryOf(t, "SELECT COUNT(*) AS n, System.Window().Id AS w FROM i GROUP BY Windows(Window('one', TumblingWindow(second, 1)), Window('snap', System.Timestamp()))")
	g := newGrouping(t, q)
	if err := g.add(at(0.5, 1)...); err != nil {
		t.Fatal(err)
	}
	if err := g.Reached(5 * second); err != nil {
		t.Fatal(err)
	}
	const want = "0.5: 1 {\"Id\":\"snap\"}\n1: 2 {\"Id\":\"one\"}\n1: 1 {\"Id\":\"snap\"}\n"
	if g.String() != want {
		t.Errorf("%s", g)
	}
}

// Section 7: sessions with keys of their own hold all groups.
func TestSessionOver(t *testing.T) {
	q := queryOf(t, "SELECT k, COUNT(*) AS n FROM i GROUP BY k, SessionWindow(second, 5, 100) OVER (PARTITION BY l)")
	g := newGrouping(t, q)
	row := func(s float64, k, l string) event {
		return event{int64(s * second), map[string]value.Value{"k": value.String(k), "l": value.String(l)}}
	}
	if err := g.add(row(1, "a", "x"), row(2, "b", "x"), row(3, "a", "y"), row(5, "a", "x"), row(9, "b", "x"), row(14, "a", "x")); err != nil {
		t.Fatal(err)
	}
	g.restart()
	if err := g.Reached(100 * second); err != nil {
		t.Fatal(err)
	}
	const want = "8: \"a\" 1 null\n19: \"a\" 3 null\n19: \"b\" 2 null\n"
	if g.String() != want {
		t.Errorf("%s", g)
	}
}

// Section 8.
func TestAggregates(t *testing.T) {
	null, i, f, s := value.Value{}, value.Int, value.Number, value.String
	at := func(n int64) value.Value { return value.Time(n * second) }
	tests := []struct {
		aggregate string
		values    []value.Value
		want      string
	}{
		{"COUNT(*)", []value.Value{null, i(1)}, "2"},
		{"COUNT(x)", []value.Value{null, i(1), s("a")}, "2"},
		{"COUNT(x)", []value.Value{null}, "0"},
		{"COUNT(DISTINCT x)", []value.Value{i(1), f(1), null, i(2), s("1"), value.Bool(true)}, "4"},
		{"COUNT(DISTINCT i)", []value.Value{i(1), f(1), null, i(2)}, "4"},
		{"SUM(x)", []value.Value{i(1), null, i(2)}, "3"},
		{"SUM(x)", []value.Value{i(1), f(2.5)}, "3.5"},
		{"SUM(x)", []value.Value{s("2"), s(" 3.5 ")}, "5.5"},
		{"SUM(x)", []value.Value{value.Bool(true), i(1)}, "2"},
		{"SUM(x)", []value.Value{null, null}, "null"},
		{"SUM(x)", []value.Value{i(1<<63 - 1), i(1<<63 - 1), i(-1 << 63)}, "9223372036854775806"},
		{"SUM(x)", []value.Value{i(1<<63 - 1), i(1)}, "Arithmetic overflow: the result of SUM is no bigint."},
		{"SUM(x)", []value.Value{s("a")}, "Cannot cast value 'a' of type 'nvarchar(max)' to type 'float'."},
		{"AVG(x)", []value.Value{i(98), i(95)}, "96.5"},
		{"AVG(x)", []value.Value{i(1 << 62), i(1 << 62), i(1 << 62)}, "4.61168602e+18"},
		{"AVG(x)", []value.Value{null}, "null"},
		{"MIN(x)", []value.Value{i(2), f(1.5), null}, "1.5"},
		{"MAX(x)", []value.Value{i(2), f(1.5), null}, "2"},
		{"MAX(x)", []value.Value{value.Bool(false), value.Bool(true)}, "true"},
		{"MIN(x)", []value.Value{at(7), at(3)}, `"0001-01-01T00:00:03.0000000Z"`},
		{"MAX(x)", []value.Value{s("9"), s("10")}, "10"},
		{"MAX(CAST(x AS nvarchar(max)))", []value.Value{i(9), i(10), null}, `"9"`},
		{"MIN(CAST(x AS nvarchar(max)))", []value.Value{i(9), i(10), null}, `"10"`},
		{"MIN(x)", []value.Value{i(1), at(3)}, "Cannot cast value"},
		{"VAR(x)", []value.Value{i(2), i(4), i(4), i(4), i(5), i(5), i(7), i(9)}, "4.57142857"},
		{"VARP(x)", []value.Value{i(2), i(4), i(4), i(4), i(5), i(5), i(7), f(9)}, "4"},
		{"STDEV(x)", []value.Value{i(1)}, "null"},
		{"STDEVP(x)", []value.Value{i(1)}, "0"},
		{"STDEVP(x)", []value.Value{i(2), i(4), i(4), i(4), i(5), i(5), i(7), i(9), null}, "2"},
		{"VARP(x)", []value.Value{f(1e9 + 4), f(1e9 + 7), f(1e9 + 13), f(1e9 + 16)}, "22.5"},
		{"PERCENTILE_CONT(0.5) OVER (ORDER BY x)", []value.Value{i(10), i(1), null, i(2), i(4)}, "3"},
		{"PERCENTILE_CONT(0.25) OVER (ORDER BY x DESC)", []value.Value{i(1), i(2), i(3), i(4), i(5)}, "4"},
		{"PERCENTILE_DISC(0.5) OVER (ORDER BY x)", []value.Value{i(10), i(1), i(2), i(4)}, "2"},
		{"PERCENTILE_DISC(0.5) OVER (ORDER BY x DESC)", []value.Value{i(10), i(1), i(2), i(4)}, "4"},
		{"PERCENTILE_DISC(0) OVER (ORDER BY x)", []value.Value{f(10.5), i(1)}, "1"},
		{"PERCENTILE_DISC(1) OVER (ORDER BY x)", []value.Value{f(10.5), i(1)}, "10.5"},
		{"PERCENTILE_DISC(0.7) OVER (ORDER BY x)", []value.Value{i(1), i(2), i(3), i(4), i(5), i(6), i(7), i(8), i(9), i(10)}, "7"},
		{"PERCENTILE_CONT(0.5) OVER (ORDER BY x)", []value.Value{null}, "null"},
		{"Collect(x)", []value.Value{i(1), null, s("a")}, `[1,"a"]`},
		{"Collect(x)", []value.Value{null}, "null"},
		{"Collect()", []value.Value{i(1)}, `[{"x":1,"y":0}]`},
		{"TopOne(x) OVER (ORDER BY x)", []value.Value{i(3), null, i(1)}, "null"},
		{"TopOne(y) OVER (ORDER BY x DESC)", []value.Value{i(3), i(3), i(1)}, "0"},
		{"TopOne() OVER (ORDER BY x DESC, y DESC)", []value.Value{i(3), f(3), i(1)}, `{"x":3.0,"y":1}`},
		{"CollectTop(2) OVER (ORDER BY x)", []value.Value{i(3), i(2), i(1)}, `[{"rank":1,"value":{"x":1,"y":2}},{"rank":2,"value":{"x":2,"y":1}}]`},
		{"CollectTop(5, y) OVER (ORDER BY x DESC)", []value.Value{i(1), i(2)}, `[{"rank":1,"value":1},{"rank":2,"value":0}]`},
		{"uda.last(x)", []value.Value{i(1), i(2), null}, "200000600"},
	}
	windows := []string{"TumblingWindow(second, 100)", "HoppingWindow(second, 100, 3)", "SlidingWindow(second, 99)", "SessionWindow(second, 50, 100)", "System.Timestamp()"}
	for _, test := range tests {
		for _, w := range windows {
			t.Run(test.aggregate+" "+w, func(t *testing.T) {
				g := newGrouping(t, queryOf(t, "SELECT "+test.aggregate+" AS a FROM i GROUP BY "+w))
				var failed error
				for n, v := range test.values {
					e := event{100, map[string]value.Value{"x": v, "y": i(int64(n))}}
					if failed = g.add(e); failed != nil {
						break
					}
				}
				if failed == nil {
					failed = g.Reached(100 * second)
				}
				if failed != nil {
					var stop *scalar.Error
					if !errors.As(failed, &stop) || !strings.Contains(stop.Message, strings.TrimSuffix(test.want, ".")) {
						t.Errorf("%v", failed)
					}
					return
				}
				want := test.want
				if strings.HasPrefix(test.aggregate, "uda") {
					want = "200000200"
				}
				if len(g.out) == 0 || g.out[0].text != want+" null" {
					t.Errorf("%s\nwant %s", g, want)
				}
			})
		}
	}
}

func TestKeys(t *testing.T) {
	q := queryOf(t, "SELECT k, l, COUNT(*) AS n FROM i GROUP BY k, l, TumblingWindow(second, 10)")
	g := newGrouping(t, q)
	row := func(k, l value.Value) event {
		return event{second, map[string]value.Value{"k": k, "l": l}}
	}
	null, i, f, s := value.Value{}, value.Int, value.Number, value.String
	err := g.add(row(i(1), s("a")), row(f(1), s("a")), row(null, s("a")), row(null, null), row(f(0.5), s("")), row(s("1"), s("a")), row(value.Bool(true), s("a")),
		row(f(2), s("a")), row(i(2), s("a")), row(value.Time(1), s("a")), row(s("a"), s("b")), row(s("ab"), s("")), row(f(math.Copysign(0, -1)), null), row(i(0), null))
	if err != nil {
		t.Fatal(err)
	}
	g.restart()
	if err := g.Reached(10 * second); err != nil {
		t.Fatal(err)
	}
	const want = `10: 1 "a" 2 null
10: null "a" 1 null
10: null null 1 null
10: 0.5 "" 1 null
10: "1" "a" 1 null
10: true "a" 1 null
10: 2 "a" 2 null
10: "0001-01-01T00:00:00.0000001Z" "a" 1 null
10: "a" "b" 1 null
10: "ab" "" 1 null
10: 0 null 2 null
`
	if g.String() != want {
		t.Errorf("%s", g)
	}
	var stop *scalar.Error
	if err := g.add(event{20 * second, map[string]value.Value{"k": value.RawRecord("{}")}}); !errors.As(err, &stop) {
		t.Errorf("%v", err)
	}
}

// Keys that are idle go, and those in use keep what is known of them.
func TestKeysGo(t *testing.T) {
	for _, w := range []string{
		"TumblingWindow(second, 10)", "HoppingWindow(second, 10, 2)", "SlidingWindow(second, 3)", "SessionWindow(second, 3, 10)", "System.Timestamp()",
		"Windows(TumblingWindow(second, 10), SessionWindow(second, 2, 5) OVER (PARTITION BY l))",
	} {
		t.Run(w, func(t *testing.T) {
			g := newGrouping(t, queryOf(t, "SELECT k, COUNT(*) AS n, COUNT(DISTINCT x) AS d FROM i GROUP BY k, "+w))
			var most, first int64
			for n := range 300 {
				var events []event
				for j := range 100 {
					k := value.String(fmt.Sprintf("key %d", n*100+j))
					if j == 0 {
						k = value.String("always")
					}
					events = append(events, event{int64(n+1) * second, map[string]value.Value{"k": k, "l": k, "x": k}})
				}
				if err := g.add(events...); err != nil {
					t.Fatal(err)
				}
				if most = max(most, g.Bytes()); n == 50 {
					first = most
				}
				if n%37 == 0 {
					g.restart()
				}
			}
			if most > 3*first {
				t.Errorf("%d bytes at first, %d later", first, most)
			}
			if n := g.Groups(); n > 6000 {
				t.Errorf("%d groups are known", n)
			}
			if err := g.Reached(1000 * second); err != nil {
				t.Fatal(err)
			}
			always := 0
			for _, r := range g.out {
				if strings.HasPrefix(r.text, `"always"`) {
					always++
				}
			}
			if always < 10 {
				t.Errorf("%d rows of the key that is always there", always)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	for _, w := range []string{"TumblingWindow(day, 1)", "HoppingWindow(day, 1, 1)", "SlidingWindow(day, 1)", "SessionWindow(day, 1, 2)"} {
		for _, a := range []string{"COUNT(*)", "Collect()", "COUNT(DISTINCT k)", "PERCENTILE_DISC(0.5) OVER (ORDER BY x)", "CollectTop(1000) OVER (ORDER BY x)"} {
			g := newGrouping(t, queryOf(t, "SELECT k, "+a+" AS n FROM i GROUP BY k, "+w))
			g.spec.Limit = 1 << 20
			var err error
			for n := 0; err == nil && n < 1000; n++ {
				var events []event
				for j := range 1000 {
					events = append(events, event{int64(n+1) * second, map[string]value.Value{"k": value.String(fmt.Sprint("key", n*1000+j)), "x": value.Int(1)}})
				}
				err = g.add(events...)
			}
			var limit *window.LimitError
			if !errors.As(err, &limit) || limit.Limit != 1<<20 || limit.Used > 3<<20 || !strings.Contains(err.Error(), "memory limit") {
				t.Errorf("%s %s: %v", a, w, err)
			}
		}
	}
}

func TestOrder(t *testing.T) {
	g := newGrouping(t, queryOf(t, "SELECT COUNT(*) AS n FROM i GROUP BY TumblingWindow(second, 1)"))
	if err := g.add(at(5, 5)...); err != nil {
		t.Fatal(err)
	}
	if err := g.add(at(5)...); err != nil {
		t.Errorf("the same time again: %v", err)
	}
	var order *window.OrderError
	if err := g.add(at(4.9)...); !errors.As(err, &order) {
		t.Errorf("%v", err)
	}
	if err := g.Reached(7 * second); err != nil {
		t.Fatal(err)
	}
	if err := g.add(at(7)...); !errors.As(err, &order) {
		t.Errorf("%v", err)
	}
	if err := g.add(at(7.0000001)...); err != nil {
		t.Errorf("%v", err)
	}
	// The end of time.
	if err := g.add(event{at: value.MaxTicks}); err != nil {
		t.Fatal(err)
	}
	if err := g.Reached(1<<63 - 1); err != nil {
		t.Fatal(err)
	}
	if n := len(g.out); n != 3 || g.out[2].end != value.MaxTicks {
		t.Errorf("%s", g)
	}
}

func TestStateRefused(t *testing.T) {
	g := newGrouping(t, queryOf(t, "SELECT k, COUNT(*) AS n, Collect(x) AS c FROM i GROUP BY k, HoppingWindow(second, 10, 3)"))
	if err := g.add(at(1, 5, 9)...); err != nil {
		t.Fatal(err)
	}
	state := g.AppendState(nil)
	for n := range state {
		g.make()
		if err := g.ReadState(state[:n]); !errors.Is(err, window.ErrState) {
			t.Fatalf("%d of %d bytes: %v", n, len(state), err)
		}
	}
	g.make()
	if err := g.ReadState(append(state, 0)); !errors.Is(err, window.ErrState) {
		t.Error(err)
	}
	other := newGrouping(t, queryOf(t, "SELECT k, COUNT(*) AS n, Collect(x) AS c FROM i GROUP BY k, HoppingWindow(second, 10, 2)"))
	if err := other.ReadState(state); !errors.Is(err, window.ErrState) {
		t.Error(err)
	}
	state[0] = 99
	if err := g.ReadState(state); !errors.Is(err, window.ErrState) {
		t.Error(err)
	}
}

// Many small groupings that wait for something to happen.
func TestIdleSize(t *testing.T) {
	for _, w := range []string{"TumblingWindow(second, 5)", "HoppingWindow(second, 10, 1)", "SlidingWindow(second, 5)", "SessionWindow(second, 5, 10)"} {
		q := queryOf(t, "SELECT k, AVG(x) AS a, MAX(x) AS b, COUNT(*) AS n FROM i GROUP BY k, "+w)
		const n = 500
		all := make([]*grouping, n)
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		for i := range all {
			all[i] = newGrouping(t, q)
			if err := all[i].add(at(1, 2, 3)...); err != nil {
				t.Fatal(err)
			}
		}
		each := int64(heap()-before) / n
		if each > 8<<10 {
			t.Errorf("%s: %d bytes", w, each)
		}
		t.Logf("%s: %d bytes, by its own count %d", w, each, all[0].Bytes())
		runtime.KeepAlive(all)
	}
}
