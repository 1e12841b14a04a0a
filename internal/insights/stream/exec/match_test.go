package exec

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/value"
)

// TestMatchModel compares MATCH_RECOGNIZE with regular expressions: the events
// of a key are letters, as each satisfies one definition only.
func TestMatchModel(t *testing.T) {
	var pattern func(depth int) *rapid.Generator[string]
	pattern = func(depth int) *rapid.Generator[string] {
		return rapid.Custom(func(t *rapid.T) string {
			kind := rapid.IntRange(0, 5).Draw(t, "kind")
			if depth == 0 || kind < 2 {
				return rapid.SampledFrom([]string{"A", "B", "C", "."}).Draw(t, "variable") + rapid.SampledFrom([]string{"", "", "?", "*", "+"}).Draw(t, "times")
			}
			sign := " "
			if kind == 2 {
				sign = " | "
			}
			return "(" + pattern(depth-1).Draw(t, "left") + sign + pattern(depth-1).Draw(t, "right") + ")" + rapid.SampledFrom([]string{"", "", "?", "*", "+"}).Draw(t, "times")
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		list := samples("a").Draw(t, "events")
		p := pattern(3).Draw(t, "pattern")
		seconds := rapid.Int64Range(1, 60).Draw(t, "duration")
		query := fmt.Sprintf("SELECT k, c FROM a MATCH_RECOGNIZE (LIMIT DURATION(second, %d) PARTITION BY k MEASURES Classifier() AS c "+
			"PATTERN (%s A?) DEFINE A AS A.v < 0, B AS B.v >= 0 AND B.v < 5, C AS C.v >= 5) AS m", seconds, p)
		if !strings.Contains(p, "B") {
			query = strings.Replace(query, "B AS B.v >= 0 AND B.v < 5, ", "", 1)
		}
		if !strings.Contains(p, "C") {
			query = strings.Replace(query, ", C AS C.v >= 5", "", 1)
		}
		re := regexp.MustCompile("^(?:" + strings.ReplaceAll(p, " ", "") + "A?)")
		re.Longest()

		type found struct {
			ticks int64
			row   string
		}
		var want []found
		for i, first := range list {
			var letters []byte
			var times []int64
			for _, e := range list[i:] {
				if e.k != first.k || e.ticks-first.ticks >= seconds*value.Second {
					continue
				}
				switch {
				case e.v < 0:
					letters = append(letters, 'A')
				case e.v < 5:
					letters = append(letters, 'B')
				default:
					letters = append(letters, 'C')
				}
				times = append(times, e.ticks)
			}
			m := re.Find(letters)
			if len(m) == 0 {
				continue
			}
			key := "null"
			if first.k != 0 {
				key = fmt.Sprint(first.k)
			}
			want = append(want, found{times[len(m)-1], fmt.Sprintf("%s %d", key, len(m))})
		}
		slices.SortStableFunc(want, func(a, b found) int { return cmp.Compare(a.ticks, b.ticks) })
		var texts []string
		for _, f := range want {
			texts = append(texts, fmt.Sprintf("%d %s", f.ticks, f.row))
		}
		var rows []string
		j := begin(t, planOf(t, query), &rows)
		feed(t, j, list, func() bool { return rapid.Bool().Draw(t, "cut") })
		end(t, j)
		// What counts is how many events a match has: "." may be any letter.
		for i, r := range rows {
			at := strings.IndexByte(r, '[')
			rows[i] = r[:at] + fmt.Sprint(strings.Count(r[at:], ",")+1)
		}
		if !slices.IsSortedFunc(rows, func(a, b string) int { return cmp.Compare(timeOf(a), timeOf(b)) }) {
			t.Fatal("not in the order of time: ", strings.Join(rows, "\n"))
		}
		slices.Sort(rows)
		slices.Sort(texts)
		expect(t, query, rows, texts)
		if n := j.StateBytes(); n != 0 {
			t.Fatal("something is kept at the end: ", n)
		}
	})
}

// TestMatchOrder checks that a match that is found late is in its place, and
// that the time that is handed on waits for it.
func TestMatchOrder(t *testing.T) {
	var rows []string
	j := begin(t, planOf(t, "SELECT k FROM a MATCH_RECOGNIZE (LIMIT DURATION(hour, 1) PARTITION BY k MEASURES A.v AS v PATTERN (A B*) DEFINE A AS A.v = 1, B AS B.v = 2) AS m"), &rows)
	give := func(k, v, second int64) {
		feed(t, j, []sample{{"a", second * value.Second, k, v}}, func() bool { return true })
	}
	give(1, 1, 10) // may become longer
	give(2, 1, 20)
	give(2, 3, 30) // ends the match of 20, which has to wait for that of 10
	if len(rows) != 0 {
		t.Fatal(rows)
	}
	give(1, 3, 40)
	give(3, 3, 50) // time goes on: both are out
	expect(t, "", rows, []string{"100000000 1", "200000000 2"})
	end(t, j)
}

// TestMatchTooManyWays refuses definitions that can be met in too many ways,
// and names the limit.
func TestMatchTooManyWays(t *testing.T) {
	query := "SELECT c FROM a MATCH_RECOGNIZE (LIMIT DURATION(hour, 1) MEASURES Classifier() AS c PATTERN ((A | B)+ C) " +
		"DEFINE A AS A.v > 0, B AS B.v > 0, C AS LAST(A.v) + FIRST(A.v) + LAST(B.v) + FIRST(B.v) < 0) AS m"
	var rows []string
	j := begin(t, planOf(t, query), &rows)
	for i := range 200 {
		if err := j.inputs[0].Event(fmt.Sprintf(`{"v":%d}`, i+1), int64(i+1)*value.Second, value.Value{}); err != nil {
			t.Fatal(err)
		}
	}
	err := j.inputs[0].Flush()
	if err == nil || !strings.Contains(err.Error(), "1000") {
		t.Fatal(err)
	}
}
