package exec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/batch"
	"dunlin/internal/insights/stream/clock"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

type testingT interface {
	Helper()
	Fatal(args ...any)
}

func planOf(t testingT, query string) *asa.Plan {
	t.Helper()
	s, _, err := asa.Parse(query)
	if err != nil {
		t.Fatal(query, err)
	}
	p, _, err := asa.Bind(s, query, asa.Catalog{})
	if err != nil {
		t.Fatal(query, err)
	}
	return p
}

// begin starts a job that appends its rows to rows.
func begin(t testingT, p *asa.Plan, rows *[]string) *Job {
	t.Helper()
	policy := clock.Default()
	policy.Late = value.Hour
	j, err := New(p, Options{Policy: policy, Output: func(_ string, names []string, b *batch.Batch) error {
		for i, at := range b.Time {
			var s strings.Builder
			fmt.Fprintf(&s, "%d", at)
			for c := range names {
				s.WriteString(" " + scalar.Show(b.Cols[c].At(i)))
			}
			*rows = append(*rows, s.String())
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// sample is an event of one of the inputs a and b.
type sample struct {
	input string
	ticks int64
	k, v  int64 // k of 0 is null
}

func (e *sample) json() string {
	if e.k == 0 {
		return fmt.Sprintf(`{"v":%d}`, e.v)
	}
	return fmt.Sprintf(`{"k":%d,"v":%d}`, e.k, e.v)
}

func samples(inputs ...string) *rapid.Generator[[]sample] {
	return rapid.Custom(func(t *rapid.T) (list []sample) {
		now := int64(63_000_000_000) * value.Second
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			now += rapid.SampledFrom([]int64{0, 1, value.Millisecond, value.Second / 2, value.Second, 3 * value.Second, 20 * value.Second}).Draw(t, "gap")
			list = append(list, sample{
				rapid.SampledFrom(inputs).Draw(t, "input"), now, rapid.Int64Range(0, 3).Draw(t, "k"), rapid.Int64Range(-4, 9).Draw(t, "v"),
			})
		}
		return list
	})
}

// feed gives events to a job, in batches that end where cut says.
func feed(t testingT, j *Job, list []sample, cut func() bool) {
	t.Helper()
	for i := range list {
		e := &list[i]
		in := j.Input(e.input)
		if err := in.Event(e.json(), e.ticks, value.Value{}); err != nil {
			t.Fatal(err)
		}
		if i == len(list)-1 || list[i+1].input != e.input || cut() {
			if err := in.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func end(t testingT, j *Job) {
	t.Helper()
	if err := j.End(); err != nil {
		t.Fatal(err)
	}
}

func expect(t testingT, query string, have, want []string) {
	t.Helper()
	if !slices.Equal(have, want) {
		t.Fatal(query, "\nhave", strings.Join(have, "\n     "), "\nwant", strings.Join(want, "\n     "))
	}
}

// TestJoinModel compares joins with looking at all pairs.
func TestJoinModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := samples("a", "b").Draw(t, "events")
		unit := rapid.SampledFrom([]string{"second", "millisecond", "minute"}).Draw(t, "unit")
		lo := rapid.Int64Range(-4, 3).Draw(t, "lo")
		hi := lo + rapid.Int64Range(0, 5).Draw(t, "length")
		outer, keys, rest := rapid.Bool().Draw(t, "outer"), rapid.Bool().Draw(t, "keys"), rapid.Bool().Draw(t, "rest")
		on := fmt.Sprintf("DATEDIFF(%s, a, b) BETWEEN %d AND %d", unit, lo, hi)
		kind := ""
		if outer {
			kind = "LEFT "
		}
		if keys {
			on += " AND a.k = b.k"
		}
		if rest {
			on += " AND a.v < b.v"
		}
		query := "SELECT a.k AS ak, a.v AS av, b.k AS bk, b.v AS bv, DATEDIFF(millisecond, a, b) AS d FROM a " + kind + "JOIN b ON " + on

		type pair struct {
			at  int64
			row string
		}
		var want []pair
		show := func(n int64) string {
			if n == 0 {
				return "null"
			}
			return fmt.Sprint(n)
		}
		for _, a := range list {
			if a.input != "a" {
				continue
			}
			found := false
			for _, b := range list {
				d := scalar.Boundaries(unit, a.ticks, b.ticks)
				if b.input != "b" || d < lo || d > hi || keys && (a.k != b.k || a.k == 0) || rest && a.v >= b.v {
					continue
				}
				found = true
				want = append(want, pair{max(a.ticks, b.ticks), fmt.Sprintf("%s %d %s %d %d", show(a.k), a.v, show(b.k), b.v, scalar.Boundaries("millisecond", a.ticks, b.ticks))})
			}
			if !found && outer {
				last := a.ticks
				for scalar.Boundaries(unit, a.ticks, last+value.Second) <= hi {
					last += value.Second
				}
				for _, step := range []int64{value.Second, value.Millisecond, 1} {
					for scalar.Boundaries(unit, a.ticks, last+step) <= hi {
						last += step
					}
				}
				want = append(want, pair{last, fmt.Sprintf("%s %d null null null", show(a.k), a.v)})
			}
		}
		var rows []string
		j := begin(t, planOf(t, query), &rows)
		feed(t, j, list, func() bool { return rapid.Bool().Draw(t, "cut") })
		end(t, j)
		if !slices.IsSortedFunc(rows, func(a, b string) int { return cmp.Compare(timeOf(a), timeOf(b)) }) {
			t.Fatal("not in the order of time: ", strings.Join(rows, "\n"))
		}
		var texts []string
		for _, p := range want {
			texts = append(texts, fmt.Sprintf("%d %s", p.at, p.row))
		}
		slices.Sort(texts)
		slices.Sort(rows)
		expect(t, query, rows, texts)
		if n := j.states[0].(*join); n.left.store.kept()+n.right.store.kept() != 0 || len(n.buckets) != 0 {
			t.Fatal("rows are kept at the end")
		}
	})
}

func timeOf(row string) string { return row[:strings.IndexByte(row, ' ')] }

// TestAnalyticModel compares analytic functions with looking at all events
// before.
func TestAnalyticModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := samples("a").Draw(t, "events")
		seconds := rapid.Int64Range(1, 30).Draw(t, "duration")
		back := rapid.Int64Range(1, 4).Draw(t, "back")
		when, by := rapid.Bool().Draw(t, "when"), rapid.Bool().Draw(t, "by")
		over, top := "", "ORDER BY v DESC "
		if by {
			over = "PARTITION BY k "
		}
		limit := fmt.Sprintf("LIMIT DURATION(second, %d)", seconds)
		if when {
			limit += " WHEN v > 0"
		}
		query := "SELECT v"
		for i, f := range []string{fmt.Sprintf("LAG(v, %d, -99)", back), "LAST(v)", "COUNT(*)", "SUM(v)", "MIN(v)", "MAX(v)", "TopOne(v)"} {
			order := ""
			if f == "TopOne(v)" {
				order = top
			}
			query += fmt.Sprintf(", %s OVER (%s%s%s) AS c%d", f, over, order, limit, i)
		}
		query += " FROM a"
		var want []string
		for i, e := range list {
			var past []int64 // before the event itself
			for _, p := range list[:i] {
				if p.ticks > e.ticks-seconds*value.Second && (!by || p.k == e.k) && (!when || p.v > 0) {
					past = append(past, p.v)
				}
			}
			lag := int64(-99)
			if n := int64(len(past)); n >= back {
				lag = past[n-back]
			}
			if !when || e.v > 0 {
				past = append(past, e.v)
			}
			row := fmt.Sprintf("%d %d %d", e.ticks, e.v, lag)
			if len(past) == 0 {
				want = append(want, row+" null 0 null null null null")
				continue
			}
			sum := int64(0)
			for _, v := range past {
				sum += v
			}
			want = append(want, row+fmt.Sprintf(" %d %d %d %d %d %d", past[len(past)-1], len(past), sum, slices.Min(past), slices.Max(past), slices.Max(past)))
		}
		var rows []string
		j := begin(t, planOf(t, query), &rows)
		feed(t, j, list, func() bool { return rapid.Bool().Draw(t, "cut") })
		end(t, j)
		expect(t, query, rows, want)
		if n := j.StateBytes(); n != 0 {
			t.Fatal("keys are kept at the end: ", n)
		}
	})
}

// statefulQueries are those whose steps keep something.
var statefulQueries = []string{
	"SELECT v, LAG(v, 2) OVER (PARTITION BY k LIMIT DURATION(second, 9)) AS l, LAST(v, 0) OVER (LIMIT DURATION(second, 5) WHEN v > 2) AS a, ISFIRST(second, 4) AS f FROM a",
	"SELECT v, SUM(v / 3.0) OVER (PARTITION BY k LIMIT DURATION(second, 9)) AS s, AVG(v) OVER (LIMIT DURATION(second, 4)) AS m, COUNT(k) OVER (LIMIT DURATION(second, 5) WHEN v > 2) AS c FROM a",
	"SELECT v, MIN(v) OVER (PARTITION BY k LIMIT DURATION(second, 9)) AS s, MAX(v) OVER (LIMIT DURATION(second, 4)) AS m, Collect(v) OVER (LIMIT DURATION(second, 5)) AS c FROM a",
	"SELECT v, TopOne() OVER (PARTITION BY k ORDER BY v LIMIT DURATION(second, 9)) AS s, CollectTop(2, v) OVER (ORDER BY v DESC LIMIT DURATION(second, 4)) AS m FROM a",
	"SELECT a.v AS x, b.v AS y FROM a JOIN b ON a.k = b.k AND DATEDIFF(second, a, b) BETWEEN -2 AND 4",
	"SELECT a.v AS x, b.v AS y FROM a LEFT JOIN b ON a.k = b.k AND DATEDIFF(second, a, b) BETWEEN -2 AND 4 AND a.v < b.v",
	"SELECT k, f, l, c FROM a MATCH_RECOGNIZE (LIMIT DURATION(second, 9) PARTITION BY k MEASURES FIRST(A.v) AS f, LAST(B.v) AS l, Classifier() AS c AFTER MATCH SKIP TO NEXT ROW PATTERN (A+ B*) DEFINE A AS A.v > 0, B AS B.v > LAST(A.v)) AS m",
}

// TestStateModel stops a job, gives its state to another of the same plan, and
// compares with a job that goes on.
func TestStateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		query := rapid.SampledFrom(statefulQueries).Draw(t, "query")
		plan := planOf(t, query)
		inputs := []string{"a"}
		if strings.Contains(query, "JOIN") {
			inputs = []string{"a", "b"}
		}
		list := samples(inputs...).Draw(t, "events")
		never := func() bool { return false }
		var want, have []string
		j := begin(t, plan, &want)
		feed(t, j, list, never)
		end(t, j)

		at := rapid.IntRange(0, len(list)).Draw(t, "stop")
		j = begin(t, plan, &have)
		feed(t, j, list[:at], never)
		other := begin(t, plan, &have)
		for i, s := range j.states {
			r := &stateReader{b: s.appendState(nil)}
			other.states[i].readState(r)
			if r.err != nil || len(r.b) > 0 {
				t.Fatal(r.err, len(r.b), " bytes are left")
			}
			if a, b := s.stateBytes(), other.states[i].stateBytes(); a == 0 != (b == 0) {
				t.Fatal("sizes ", a, " and ", b)
			}
		}
		feed(t, other, list[at:], never)
		end(t, other)
		expect(t, query, have, want)
	})
}

// FuzzState reads states that nobody has written.
func FuzzState(f *testing.F) {
	var rows []string
	for i, q := range statefulQueries {
		j := begin(f, planOf(f, q), &rows)
		for n, in := range j.inputs {
			if err := in.Event(`{"k":1,"v":5}`, int64(1000+n), value.Value{}); err != nil {
				f.Fatal(err)
			}
			if err := in.Flush(); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(i, j.states[0].appendState(nil))
	}
	f.Fuzz(func(t *testing.T, query int, state []byte) {
		var rows []string
		if query < 0 || query >= len(statefulQueries) {
			return
		}
		j := begin(t, planOf(t, statefulQueries[query]), &rows)
		r := &stateReader{b: state}
		j.states[0].readState(r)
	})
}
