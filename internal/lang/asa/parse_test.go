package asa_test

import (
	"errors"
	"strings"
	"testing"

	"dunlin/internal/lang/asa"
	"dunlin/internal/lang/diag"
)

// scripts are queries of every form, each with what the printer makes of it.
var scripts = []struct{ text, want string }{
	{"select * from input", "SELECT *\nFROM input"},
	{"SELECT a, b AS c, [d e] f, g = a + 1 INTO out FROM input i", "SELECT a, b AS c, [d e] AS f, a + 1 AS g INTO out\nFROM input AS i"},
	{"SELECT i.*, i.rec.* FROM i INTO o;", "SELECT i.*, i.rec.* INTO o\nFROM i"},
	{"SELECT rules.filter.[0] , \"[my][Field]\" FROM input", "SELECT rules.filter.[0], [[my]][Field]]]\nFROM input"},
	{
		"SELECT 1+2*3, (1+2)*3, 1-(2-3), -a, - -1, ~(-1), a%2, -9223372036854775808, 1e3, .5, 2.0 FROM i",
		"SELECT 1 + 2 * 3, (1 + 2) * 3, 1 - (2 - 3), - a, -(-1), ~(-1), a % 2, -9223372036854775808, 1000.0, 0.5, 2.0\nFROM i",
	},
	{
		"SELECT a FROM i WHERE NOT a = 1 AND (b > 2 OR c !< 3) AND d <> 'it''s' OR e !> 1 OR f != 2",
		"SELECT a\nFROM i\nWHERE NOT a = 1 AND (b > 2 OR c >= 3) AND d <> 'it''s' OR e <= 1 OR f <> 2",
	},
	{
		"SELECT a FROM i WHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN 3 AND 4 AND c IN ('x', 'y') AND d NOT IN (1) AND e LIKE 'a%' AND f NOT LIKE '_' AND g IS NULL AND h IS NOT NULL",
		"SELECT a\nFROM i\nWHERE a BETWEEN 1 AND 2 AND b NOT BETWEEN 3 AND 4 AND c IN ('x', 'y') AND d NOT IN (1) AND e LIKE 'a%' AND f NOT LIKE '_' AND g IS NULL AND h IS NOT NULL",
	},
	{
		"SELECT CASE WHEN a > 1 THEN 'x' ELSE NULL END, CASE a WHEN 1 THEN 2 ELSE 3 END, CAST(a AS nvarchar(max)), TRY_CAST(b AS bigint) FROM i",
		"SELECT CASE WHEN a > 1 THEN 'x' ELSE NULL END, CASE a WHEN 1 THEN 2 ELSE 3 END, CAST(a AS nvarchar(max)), TRY_CAST(b AS bigint)\nFROM i",
	},
	{
		"SELECT COUNT(*), COUNT(DISTINCT a), SUM(ALL b), System.Timestamp, System.Timestamp() AS t, System.Window().Id, udf.f(a, 2), LEFT(a, 2) FROM i TIMESTAMP BY t OVER k, PartitionId PARTITION BY PartitionId INTO 4 INTO o GROUP BY TumblingWindow(second, 10)",
		"SELECT COUNT(*), COUNT(DISTINCT a), SUM(b), System.Timestamp(), System.Timestamp() AS t, System.Window().Id, udf.f(a, 2), LEFT(a, 2) INTO o\nFROM i TIMESTAMP BY t OVER k, PartitionId PARTITION BY PartitionId INTO 4\nGROUP BY TumblingWindow(Duration(second, 10))",
	},
	{
		"SELECT a FROM i PARTITION BY a TIMESTAMP BY DATEADD(second, 1, t) OVER (k) GROUP BY a, HoppingWindow(mi, 10, 5, -1), b",
		"SELECT a\nFROM i TIMESTAMP BY DATEADD(second, 1, t) OVER k PARTITION BY a\nGROUP BY a, HoppingWindow(Duration(minute, 10), Hop(minute, 5), Offset(minute, -1)), b",
	},
	{
		"SELECT 1 FROM i GROUP BY Hopping(Duration(hours, 1), Hop(minutes, 5), Offset(millisecond, -1))",
		"SELECT 1\nFROM i\nGROUP BY HoppingWindow(Duration(hour, 1), Hop(minute, 5), Offset(millisecond, -1))",
	},
	{
		"SELECT 1 FROM i GROUP BY SessionWindow(second, 5, 10) OVER (PARTITION BY k), SlidingWindow(duration(ss, 3))",
		"SELECT 1\nFROM i\nGROUP BY SessionWindow(Timeout(second, 5), MaxDuration(second, 10)) OVER (PARTITION BY k), SlidingWindow(Duration(second, 3))",
	},
	{
		"SELECT 1 FROM i GROUP BY Windows(Window('a', Tumbling(minute, 1)), Window('b', System.Timestamp()))",
		"SELECT 1\nFROM i\nGROUP BY Windows(Window('a', TumblingWindow(Duration(minute, 1))), Window('b', System.Timestamp()))",
	},
	{
		"SELECT LAG(*, 2) OVER (PARTITION BY d LIMIT DURATION(minute, 5) WHEN a > 1), TopOne() OVER (ORDER BY a DESC, b ASC), PERCENTILE_CONT(0.5) OVER (ORDER BY a), ISFIRST(mi, 10) FROM i HAVING a > 1",
		"SELECT LAG(*, 2) OVER (PARTITION BY d LIMIT DURATION(minute, 5) WHEN a > 1), TopOne() OVER (ORDER BY a DESC, b), PERCENTILE_CONT(0.5) OVER (ORDER BY a), ISFIRST(mi, 10)\nFROM i\nHAVING a > 1",
	},
	{
		"WITH s AS (SELECT a FROM i UNION SELECT b FROM j), [t u] AS (SELECT * FROM s) SELECT a INTO o FROM s UNION SELECT b FROM [t u]; SELECT * INTO p FROM s",
		"WITH s AS (\nSELECT a\nFROM i\nUNION\nSELECT b\nFROM j\n)\n, [t u] AS (\nSELECT *\nFROM s\n)\nSELECT a INTO o\nFROM s\nUNION\nSELECT b\nFROM [t u];\nSELECT * INTO p\nFROM s",
	},
	{"CREATE TABLE i (a bigint, [b c] nvarchar(max), d datetime); SELECT * FROM i", "CREATE TABLE i (a bigint, [b c] nvarchar(max), d datetime);\nSELECT *\nFROM i"},
	{
		"SELECT a.x FROM (i a JOIN j b ON DATEDIFF(second, a, b) BETWEEN 0 AND 5) LEFT OUTER JOIN k ON a.x = k.x AND DATEDIFF(s, a, k) = 0 CROSS APPLY GetArrayElements(a.list) AS e OUTER APPLY GetRecordProperties(e.ArrayValue) p",
		"SELECT a.x\nFROM i AS a\nINNER JOIN j AS b ON DATEDIFF(second, a, b) BETWEEN 0 AND 5\nLEFT JOIN k ON a.x = k.x AND DATEDIFF(s, a, k) = 0\nCROSS APPLY GetArrayElements(a.list) AS e\nOUTER APPLY GetRecordProperties(e.ArrayValue) AS p",
	},
	{
		"SELECT * FROM i TIMESTAMP BY t MATCH_RECOGNIZE (LIMIT DURATION(minute, 1) PARTITION BY d MEASURES LAST(B.v) AS v, Classifier() AS c AFTER MATCH SKIP TO NEXT ROW PATTERN (A+ (B | C?)* .) DEFINE A AS A.v < 3, B AS B.v > MAX(A.v), C AS C.v = 0) AS m",
		"SELECT *\nFROM i TIMESTAMP BY t\nMATCH_RECOGNIZE (LIMIT DURATION(minute, 1) PARTITION BY d MEASURES LAST(B.v) AS v, Classifier() AS c AFTER MATCH SKIP TO NEXT ROW PATTERN (A+ (B | C?)* .) DEFINE A AS A.v < 3, B AS B.v > MAX(A.v), C AS C.v = 0) AS m",
	},
	{"-- a comment\nSELECT /* another */ a AS 'x' FROM i -- the end", "SELECT a AS [x]\nFROM i"},
	{"SELECT timestamp, partition, [order], time, user FROM timestamp TIMESTAMP BY timestamp", "SELECT timestamp, partition, [order], time, user\nFROM timestamp TIMESTAMP BY timestamp"},
}

func TestScripts(t *testing.T) {
	for _, c := range scripts {
		s, _, err := asa.Parse(c.text)
		if err != nil {
			t.Errorf("%s\n%v", c.text, err)
			continue
		}
		if got := s.String(); got != c.want {
			t.Errorf("%s\ngot  %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "at character 1: SELECT is expected, not the end of the text"},
		{"SELEC a FROM i", "at character 1: SELECT is expected, not 'SELEC' (did you mean SELECT?)"},
		{"SELECT a\nFRM i", "at line 2, column 5: FROM is expected, not 'i'"},
		{"SELECT a", "at character 9: FROM is expected, not the end of the text"},
		{"SELECT a FROM i WHER a = 1", "at character 22: 'a' does not belong here"},
		{"SELECT a FROM i b WHER a = 1", "at character 19: 'WHER' does not belong here (did you mean WHERE?)"},
		{"SELECT a FROM i WHERE a = 'x", "at character 27: this text does not end (end it with ')"},
		{"SELECT CASE WHEN a = 1 THEN 2 END FROM i", "at character 31: CASE needs an ELSE in this language (write ELSE NULL before END)"},
		{"SELECT a FROM i GROUP BY TumblingWindow(parsec, 1)", "at character 41: 'parsec' is no unit for windows (day, hour, minute, second, millisecond and microsecond are)"},
		{"SELECT a FROM i GROUP BY TumblingWindow(second, 0)", "at character 49: the size of the window cannot be 0"},
		{"SELECT a FROM i GROUP BY TumblingWindow(second, 1, 2, 3)", "at character 55: TumblingWindow has no further argument"},
		{"SELECT a FROM i GROUP BY HoppingWindow(second, 10)", "at character 26: the hop of the window of HoppingWindow is missing"},
		{"SELECT a FROM (SELECT b FROM i)", "at character 15: a SELECT within FROM does not exist in this language (name it as a step of WITH)"},
		{"SELECT a FROM i RIGHT JOIN j ON 1 = 1", "at character 17: RIGHT JOIN does not exist in this language (exchange the sources and use LEFT JOIN)"},
		{"WITH s AS (SELECT a INTO o FROM i) SELECT * FROM s", "at character 21: a step of WITH has no INTO (write it in the SELECT that reads the step)"},
		{"SELECT CAST(a AS integer) FROM i", "at character 18: a type is expected, not 'integer'"},
		{"SELECT CAST(a AS floot) FROM i", "at character 18: a type is expected, not 'floot' (did you mean float?)"},
		{"SELECT 99999999999999999999 FROM i", "at character 8: the number 99999999999999999999 is too large (a bigint has 64 bits; write a float with a point)"},
		{"SELECT a FROM i WHERE a = b = c", "at character 29: a comparison cannot be compared again (join two comparisons with AND)"},
		{"SELECT a FROM i /* never", "at character 17: this comment does not end (end it with */)"},
		{"SELECT 1a FROM i", "at character 8: '1a' is not a number (names that begin with a digit are written [name])"},
		{"SELECT TOP 5 a FROM i", "at character 8: SELECT TOP does not exist in this language"},
		{"SELECT f(x) OVER (PARTITON BY a) FROM i", "at character 19: PARTITION BY, ORDER BY, LIMIT DURATION, WHEN or ')' is expected, not 'PARTITON' (did you mean PARTITION?)"},
		{"SELECT " + strings.Repeat("(", 10000) + "1" + strings.Repeat(")", 10000) + " FROM i", "more than 200 levels of brackets and operators stand in each other"},
		{"SELECT " + strings.Repeat("-", 1) + strings.Repeat("~", 10000) + "1 FROM i", "more than 200 levels"},
		{"SELECT " + strings.Repeat("1+", 100000) + "1 FROM i", "more than 5000 operands stand in a row"},
		{strings.Repeat(" ", 1<<20), "the text has 1048576 bytes, more than the 524288 that are allowed"},
		{"SELECT a FROM i\xff", "not valid UTF-8"},
	} {
		_, _, err := asa.Parse(c.text)
		if _, ok := errors.AsType[*diag.Error](err); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.100s\ngot  %v\nwant %s", c.text, err, c.want)
		}
	}
}

// FuzzParse looks for texts that end badly, and for trees that are not read
// back as they were printed.
func FuzzParse(f *testing.F) {
	for _, c := range scripts {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, _, err := asa.Parse(text)
		if err != nil {
			if _, ok := errors.AsType[*diag.Error](err); !ok {
				t.Fatalf("%v is no *diag.Error", err)
			}
			return
		}
		printed := s.String()
		again, _, err := asa.Parse(printed)
		if err != nil {
			t.Fatalf("%s\nis printed as\n%s\nwhich is refused: %v", text, printed, err)
		}
		if p := again.String(); p != printed {
			t.Fatalf("%s\nis printed as\n%s\nand then as\n%s", text, printed, p)
		}
	})
}
