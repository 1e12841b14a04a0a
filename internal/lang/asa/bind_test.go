package asa_test

import (
	"errors"
	"strings"
	"testing"

	"dunlin/internal/lang/asa"
	"dunlin/internal/lang/diag"
)

var catalog = asa.Catalog{Streams: []string{"input", "other", "i"}, References: []string{"ref"}, Functions: []string{"twice", "TWA"}}

func TestPlans(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"SELECT * FROM input WHERE Temperature > 30", `
r0 input = stream
r1 = select
  #0 from r0 as input
  where #0.[temperature] > 30
  all of #0
output output <- r1`},
		{"SELECT deviceId, AVG(t) AS a, AVG(t) * 2 AS b, COUNT(*) AS n, System.Timestamp() AS w INTO o FROM input TIMESTAMP BY time GROUP BY deviceId, TumblingWindow(minute, 1) HAVING a > 1 AND COUNT(*) > 2", `
r0 input = stream
r1 = select
  #0 from r0 as input timestamp by #0.[time]
  window TumblingWindow(Duration(minute, 1))
  key#0 = #0.[deviceid]
  aggregate#0 = AVG false false #0.[t] OVER ()
  aggregate#1 = COUNT true false  OVER ()
  having aggregate#0 > 1 AND aggregate#1 > 2
  deviceId = key#0
  a = aggregate#0
  b = aggregate#0 * 2
  n = aggregate#1
  w = time#-1
output o <- r1`},
		{"SELECT a.x, b.y FROM input a LEFT JOIN other b ON a.id = b.id AND DATEDIFF(second, a, b) BETWEEN 0 AND 5 AND a.v > b.v", `
r0 input = stream
r1 other = stream
r2 = select
  #0 from r0 as a
  #1 join outer r1 as b within 0..5 second of #0 to #1 where #0.[id] = #1.[id] and #0.[v] > #1.[v]
  x = #0.[x]
  y = #1.[y]
output output <- r2`},
		{"WITH s AS (SELECT id, LAG(v) OVER (PARTITION BY id LIMIT DURATION(hour, 1)) AS p FROM i) SELECT s.id, p, ref.name FROM s JOIN ref ON s.id = ref.id CROSS APPLY GetArrayElements(ref.tags) AS e WHERE e.ArrayValue = 'x'", `
r0 i = stream
r1 s = select
  #0 from r0 as i
  analytic#0 = LAG(#0.[v]) OVER (PARTITION BY #0.[id] LIMIT DURATION(hour, 1))
  id = #0.[id]
  p = analytic#0
r2 ref = reference data
r3 = select
  #0 from r1 as s
  #1 reference join r2 as ref where #0.[id] = #1.[id]
  #2 apply as e GetArrayElements of #1.[tags]
  where #2.[arrayvalue] = 'x'
  id = #0.[id]
  p = #0.[p]
  name = #1.[name]
output output <- r3`},
		{"SELECT COUNT(i) AS n FROM i GROUP BY System.Timestamp()", `
r0 i = stream
r1 = select
  #0 from r0 as i
  window System.Timestamp()
  aggregate#0 = COUNT true false  OVER ()
  n = aggregate#0
output output <- r1`},
		{"SELECT a FROM input UNION SELECT b FROM other", `
r0 input = stream
r1 = select
  #0 from r0 as input
  a = #0.[a]
r2 other = stream
r3 = select
  #0 from r2 as other
  b = #0.[b]
r4 = union of r1 r3
output output <- r4`},
		{"SELECT TopOne() OVER (ORDER BY v DESC) AS top, System.Window().Id AS w, uda.TWA(i) AS u FROM i GROUP BY Windows(Window('a', Tumbling(second, 1)), Window('b', Sliding(second, 2)))", `
r0 i = stream
r1 = select
  #0 from r0 as i
  window Windows(Window('a', TumblingWindow(Duration(second, 1))), Window('b', SlidingWindow(Duration(second, 2))))
  aggregate#0 = TopOne true false  OVER (ORDER BY #0.[v] DESC)
  aggregate#1 = uda.twa true false #0 OVER ()
  top = aggregate#0
  w = window#-1.Id
  u = aggregate#1
output output <- r1`},
		{"SELECT * FROM i MATCH_RECOGNIZE (LIMIT DURATION(minute, 1) PARTITION BY d MEASURES LAST(B.v) AS v PATTERN (A+ B) DEFINE A AS A.v < 3, B AS B.v > MAX(A.v)) AS m WHERE v > 1", `
r0 i = stream
r1 = select
  #0 from r0 as i
  #1 match as m
  match A+ B A: (a.[v]) < 3 B: (b.[v]) > MAX(a.[v]) v = LAST(b.[v])
  where #1.[v] > 1
  all of #1
output output <- r1`},
	} {
		s, _, err := asa.Parse(c.text)
		if err != nil {
			t.Errorf("%s\n%v", c.text, err)
			continue
		}
		p, _, err := asa.Bind(s, c.text, catalog)
		if err != nil {
			t.Errorf("%s\n%v", c.text, err)
			continue
		}
		if got, want := strings.TrimSpace(p.String()), strings.TrimSpace(c.want); got != want {
			t.Errorf("%s\ngot\n%s\nwant\n%s", c.text, got, want)
		}
	}
}

func TestUnbound(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT a FROM inptu":             "at character 15: there is no input or step 'inptu' (did you mean input?)",
		"SELECT AVG(a) AS x FROM input":   "AVG needs a window: a stream has no end",
		"SELECT STDEV(a) AS x FROM input": "STDEV can stand only in the SELECT and HAVING of a GROUP BY",
		"SELECT a, COUNT(*) AS n FROM input GROUP BY TumblingWindow(second, 1)":                                                   "at character 8: 'a' differs within a group (add it to GROUP BY, or use an aggregate such as MAX or TopOne)",
		"SELECT DATEDIFF(second, a, b) AS d FROM input a JOIN other b ON DATEDIFF(second, a, b) = 0 GROUP BY Tumbling(second, 1)": "the time of 'a' differs within a group",
		"SELECT a FROM input GROUP BY a":                                              "a window must be specified in GROUP BY",
		"SELECT a FROM input GROUP BY a, DATEADD(second, 1, System.Timestamp())":      "a window must be specified in GROUP BY",
		"SELECT 1 AS x FROM input GROUP BY Tumbling(second, 1), Tumbling(second, 2)":  "GROUP BY has two windows",
		"SELECT a FROM input WHERE a":                                                 "at character 27: a condition is expected, not a value (compare it with something, such as = 1)",
		"SELECT a > 1 AS x FROM input":                                                "a condition stands where a value is expected (write CASE WHEN ... THEN 1 ELSE 0 END)",
		"SELECT LENGTTH(a) AS x FROM input":                                           "there is no function 'LENGTTH'",
		"SELECT SUBSTRNG(a, 1, 2) AS x FROM input":                                    "there is no function 'SUBSTRNG' (did you mean SUBSTRING?)",
		"SELECT SUBSTRING(a, 1) AS x FROM input":                                      "SUBSTRING takes three arguments, not 2",
		"SELECT 'abc' * 2 AS x FROM input":                                            "'*' needs a number, not the text 'abc'",
		"SELECT ABS('x') AS x FROM input":                                             "ABS needs a number, not the text 'x'",
		"SELECT CAST(System.Timestamp() AS bigint) AS x FROM input":                   "a datetime cannot be cast to bigint",
		"SELECT System.Timestamp() + 1 AS x FROM input":                               "+ cannot be used with a datetime (use DATEADD or DATEDIFF)",
		"SELECT a FROM input WHERE System.Timestamp() > 5":                            "a datetime cannot be compared with a bigint",
		"SELECT a FROM input WHERE System.Timestamp() > 'yesterday'":                  "the text 'yesterday' cannot be compared with a datetime",
		"SELECT a AS x, b AS X FROM input":                                            "two columns have the name 'X'",
		"SELECT * FROM input a JOIN other b ON DATEDIFF(second, a, b) = 0":            "SELECT * does not say which of the joined sources is meant (write a.*)",
		"SELECT a.x FROM input a JOIN other b ON a.id = b.id":                         "a join of streams needs a bound in time",
		"SELECT a.x FROM input a JOIN other b ON DATEDIFF(second, a, b) < 5":          "the join is bounded in time in one direction only",
		"SELECT a.x FROM input a JOIN other b ON DATEDIFF(day, a, b) BETWEEN 0 AND 8": "the bound of the join is longer than 7 days",
		"SELECT x FROM input a JOIN other b ON DATEDIFF(second, a, b) = 0":            "'x' does not say which of the joined sources is meant (such as a.x)",
		"SELECT a.x FROM input a JOIN other a ON DATEDIFF(second, a, a) = 0":          "two sources have the name 'a'",
		"SELECT x FROM ref": "'ref' is reference data, which brings no events",
		"WITH s AS (SELECT a FROM input) SELECT b FROM s":                                                                            "'s' has no column 'b': it has a",
		"WITH s AS (SELECT a FROM input) SELECT a FROM s TIMESTAMP BY a":                                                             "TIMESTAMP BY belongs to an input, 's' is a step",
		"WITH s AS (SELECT a FROM t), t AS (SELECT a FROM input) SELECT a FROM s":                                                    "there is no input or step 't'",
		"WITH s AS (SELECT a FROM input), S AS (SELECT a FROM input) SELECT a FROM s":                                                "there is an input or step 'S' already",
		"SELECT a FROM input TIMESTAMP BY System.Timestamp()":                                                                        "TIMESTAMP BY can use only what the event brings",
		"SELECT LAG(a) AS x FROM input":                                                                                              "LAG needs to know how far to look back",
		"SELECT LAG(a, b) OVER (LIMIT DURATION(day, 1)) AS x FROM input":                                                             "LAG takes a whole number from 1 to 1048576 here",
		"SELECT LAG(a) OVER (LIMIT DURATION(day, 8)) AS x FROM input":                                                                "LIMIT DURATION is longer than 7 days",
		"SELECT LAG(LAG(a) OVER (LIMIT DURATION(day, 1))) OVER (LIMIT DURATION(day, 1)) AS x FROM input":                             "LAG cannot stand in an analytic function",
		"SELECT 1 AS x FROM input GROUP BY TumblingWindow(day, 8)":                                                                   "the window is longer than 7 days",
		"SELECT SUM(AVG(a)) AS x FROM input GROUP BY TumblingWindow(day, 1)":                                                         "AVG cannot stand in SUM",
		"SELECT PERCENTILE_CONT(2) OVER (ORDER BY a) AS x FROM input GROUP BY Tumbling(second, 1)":                                   "PERCENTILE_CONT takes a number from 0 to 1",
		"SELECT UDF.thrice(a) AS x FROM input":                                                                                       "there is no user-defined function 'thrice'",
		"SELECT my.ABS(a) AS x FROM input":                                                                                           "'my' is no prefix of functions",
		"SELECT a FROM input UNION SELECT a, b FROM other":                                                                           "the parts of a UNION have 1 and 2 columns",
		"CREATE TABLE input (a record); SELECT a + 1 AS x FROM input":                                                                "'+' needs a number, not a record",
		"CREATE TABLE inputs (a bigint); SELECT a FROM input":                                                                        "there is no input 'inputs' (did you mean input?)",
		"SELECT DATEPART(fortnight, a) AS x FROM input":                                                                              "'fortnight' is no unit of time",
		"SELECT a FROM input CROSS APPLY GetArrayElements(5) AS e":                                                                   "GetArrayElements takes an array, not a bigint",
		"SELECT a.b FROM input CROSS APPLY GetArrayElements(a) AS e WHERE e.ArrayVal = 1":                                            "'e' has no column 'ArrayVal'",
		"SELECT * FROM i MATCH_RECOGNIZE (LIMIT DURATION(minute, 1) MEASURES LAST(C.v) AS v PATTERN (A B) DEFINE A AS A.v = 1) AS m": "'C' is no variable of the pattern",
	} {
		s, _, err := asa.Parse(text)
		if err != nil {
			t.Errorf("%s\n%v", text, err)
			continue
		}
		_, _, err = asa.Bind(s, text, catalog)
		if _, ok := errors.AsType[*diag.Error](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

// FuzzBind looks for scripts that are read but end the binder badly.
func FuzzBind(f *testing.F) {
	for _, c := range scripts {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := asa.Parse(text)
		if err != nil {
			return
		}
		p, _, err := asa.Bind(s, text, asa.Catalog{})
		if err != nil {
			if _, ok := errors.AsType[*diag.Error](err); !ok {
				t.Fatalf("%v is no *diag.Error", err)
			}
			return
		}
		_ = p.String()
	})
}
