package scalar

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dunlin/internal/insights/stream/value"
	"dunlin/internal/lang/asa"
)

// TestAllFunctions: what the language has, there is.
func TestAllFunctions(t *testing.T) {
	for _, name := range asa.Names(asa.Scalar) {
		if Lookup(name) == nil {
			t.Errorf("there is no %s", name)
		}
	}
}

// arg reads JSON as a value, and what is no JSON as a text.
func arg(s string) value.Value {
	v, err := value.FromJSON(s)
	if err != nil {
		return value.String(s)
	}
	return v
}

// TestGeospatial has rows for section 13.6; the first of each function are
// those of the documentation.
func TestGeospatial(t *testing.T) {
	const (
		square = `{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]]]}`
		holed  = `POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0), (4 4, 6 4, 6 6, 4 6, 4 4))`
		pt     = `{"type":"Point","coordinates":[%v,%v]}`
	)
	for _, c := range []struct {
		call string // function and arguments, separated by |
		want string // empty: stops the job
	}{
		{"CreatePoint|3.0|-10.2", `{"type":"Point","coordinates":[-10.2,3.0]}`},
		{"CreatePoint|-87.33|20.2321", `{"type":"Point","coordinates":[20.2321,-87.33]}`},
		{"CreatePoint|4|5", `{"type":"Point","coordinates":[5.0,4.0]}`},
		{"CreatePoint|null|5", "null"},
		{"CreatePoint|1|null", "null"},
		{"CreatePoint|90.1|5", "null"},
		{"CreatePoint|north|5", ""},
		{"CreatePoint|1|NaN", "null"},
		{`CreatePoint|"1.5"|5`, `{"type":"Point","coordinates":[5.0,1.5]}`},
		{"CreateLineString|POINT(-10.2 3)|POINT(10 10)|POINT(10.5 10.5)", `{"type":"LineString","coordinates":[[-10.2,3.0],[10.0,10.0],[10.5,10.5]]}`},
		{"CreateLineString|POINT(1 2)|null", "null"},
		{"CreateLineString|POINT(1 2)|LINESTRING(1 2,3 4)", "null"},
		{"CreateLineString|" + fmt.Sprintf(pt, 1, 2) + "|" + fmt.Sprintf(pt, 3, 4), `{"type":"LineString","coordinates":[[1.0,2.0],[3.0,4.0]]}`},
		{"CreatePolygon|POINT(20.2321 -87.33)|POINT(10 10)|POINT(10.5 10.5)|POINT(20.2321 -87.33)", `{"type":"Polygon","coordinates":[[[20.2321,-87.33],[10.0,10.0],[10.5,10.5],[20.2321,-87.33]]]}`},
		{"CreatePolygon|POINT(0 0)|POINT(1 0)|POINT(1 1)", `{"type":"Polygon","coordinates":[[[0.0,0.0],[1.0,0.0],[1.0,1.0],[0.0,0.0]]]}`},
		{"CreatePolygon|POINT(0 0)|POINT(1 0)|POINT(0 0)", "null"},
		{"CreatePolygon|POINT(0 0)|POINT(1 0)|5", "null"},

		{"ST_DISTANCE|" + fmt.Sprintf(pt, -5.0, -5.0) + "|" + fmt.Sprintf(pt, 0.0, 0.0), "784028.740"},
		{"ST_DISTANCE|POINT(0 0)|POINT(0 0)", "0.000"},
		{"ST_DISTANCE|" + square + "|POINT(50 50)", "0.000"},
		{"ST_DISTANCE|POINT(0 91)|POINT(0 0)", "null"},
		{"ST_DISTANCE|null|POINT(0 0)", "null"},
		{"ST_DISTANCE|POINT EMPTY|POINT(0 0)", "null"},
		{"ST_DISTANCE|5|POINT(0 0)", "null"},
		{"ST_DISTANCE|POINT(0 0)|nonsense", "null"},
		{"ST_DISTANCE|POINT(179.5 0)|POINT(-179.5 0)", "111319.491"},
		{"ST_DISTANCE|LINESTRING(-10 1, 10 1)|POINT(0.3 0)", "110574.389"},
		{"ST_DISTANCE|LINESTRING(-10 0, 10 0)|LINESTRING(0 -1, 0 1)", "0.000"},
		{"ST_DISTANCE|LINESTRING(0 1, 0 2)|LINESTRING(1 0, 2 0)", "156899.568"},
		{"ST_DISTANCE|MULTIPOINT((50 50), (0 1))|POINT(0 0)", "110574.389"},

		{"ST_WITHIN|" + fmt.Sprintf(pt, 76.6, 10.1) + "|" + square, "0"},
		{`ST_WITHIN|{"type":"Point","coordinates":[15.0,15.0]}|{"type":"Polygon","coordinates":[[[10.0,10.0],[20.0,10.0],[20.0,20.0],[10.0,20.0],[10.0,10.0]]]}`, "1"},
		{"ST_WITHIN|POINT(10 5)|" + square, "0"},
		{"ST_WITHIN|POINT(0 0)|" + square, "0"},
		{"ST_WITHIN|POINT(5 5)|" + holed, "0"},
		{"ST_WITHIN|POINT(4 5)|" + holed, "0"},
		{"ST_WITHIN|POINT(3 5)|" + holed, "1"},
		{"ST_WITHIN|" + square + "|" + square, "1"},
		{"ST_WITHIN|POLYGON((4 4,4 6,6 6,6 4,4 4))|" + holed, "0"},
		{"ST_WITHIN|" + holed + "|" + square, "1"},
		{"ST_WITHIN|" + square + "|" + holed, "0"},
		{"ST_WITHIN|POLYGON((3 3,7 3,7 7,3 7,3 3))|" + holed, "0"},
		{"ST_WITHIN|POLYGON((0 0,0 5,5 5,0 0))|" + square, "1"},
		{"ST_WITHIN|LINESTRING(1 1,9 9)|" + square, "1"},
		{"ST_WITHIN|LINESTRING(1 1,9 9)|" + holed, "0"},
		{"ST_WITHIN|LINESTRING(0 0,10 0)|" + square, "0"},
		{"ST_WITHIN|LINESTRING(0 0,10 0,5 5)|" + square, "1"},
		{"ST_WITHIN|LINESTRING(1 1,11 1)|" + square, "0"},
		{"ST_WITHIN|LINESTRING(4 4,4 6)|" + holed, "0"},
		{"ST_WITHIN|POINT(5 5)|POLYGON((0 0,0 10,10 10,10 0,0 0))", "1"},
		{"ST_WITHIN|POINT(1 1)|POINT(1 1)", "null"},
		{"ST_WITHIN|null|" + square, "null"},
		{"ST_WITHIN|POINT(1 1)|POLYGON((0 0,1 1,0 0))", "null"},
		{"ST_WITHIN|POINT(1 1)|MULTIPOLYGON(((5 5,6 5,6 6,5 5)),((0 0,3 0,3 3,0 3)))", "1"},
		{"ST_WITHIN|MULTIPOINT(1 1,2 2)|" + square, "1"},
		{"ST_WITHIN|MULTIPOINT(1 1,20 2)|" + square, "0"},
		{"ST_WITHIN|GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(2 2,3 3))|" + square, "1"},

		{`ST_OVERLAPS|{"type":"Polygon","coordinates":[[0.0,0.0],[10.0,0.0],[10.0,10.0],[0.0,10.0],[0.0,0.0]]}|{"type":"Polygon","coordinates":[[30.0,30.0],[40.0,30.0],[40.0,40.0],[30.0,40.0],[30.0,30.0]]}`, "0"},
		{`ST_OVERLAPS|{"type":"Polygon","coordinates":[[0.0,0.0],[20.0,0.0],[20.0,20.0],[0.0,20.0],[0.0,0.0]]}|{"type":"Polygon","coordinates":[[10.0,10.0],[40.0,10.0],[40.0,40.0],[40.0,20.0],[40.0,40.0]]}`, "1"},
		{"ST_OVERLAPS|" + square + "|" + square, "0"},
		{"ST_OVERLAPS|" + square + "|POLYGON((1 1,2 1,2 2,1 2,1 1))", "0"},
		{"ST_OVERLAPS|POLYGON((1 1,2 1,2 2,1 2,1 1))|" + square, "0"},
		{"ST_OVERLAPS|" + square + "|POLYGON((10 0,20 0,20 10,10 10))", "0"},
		{"ST_OVERLAPS|" + square + "|POLYGON((4 -5,6 -5,6 15,4 15))", "1"},
		{"ST_OVERLAPS|" + square + "|POLYGON((4 0,6 0,6 15,4 15))", "1"},
		{"ST_OVERLAPS|" + holed + "|POLYGON((4 4,6 4,6 6,4 6))", "0"},
		{"ST_OVERLAPS|" + square + "|POINT(1 1)", "null"},
		{"ST_OVERLAPS|null|" + square, "null"},

		{`ST_INTERSECTS|{"type":"LineString","coordinates":[[-10.0,0.0],[0.0,0.0],[10.0,0.0]]}|{"type":"LineString","coordinates":[[0.0,10.0],[0.0,0.0],[0.0,-10.0]]}`, "1"},
		{`ST_INTERSECTS|{"type":"LineString","coordinates":[[-10.0,0.0],[0.0,0.0],[10.0,0.0]]}|{"type":"LineString","coordinates":[[-10.0,10.0],[0.0,10.0],[10.0,10.0]]}`, "0"},
		{"ST_INTERSECTS|LINESTRING(0 0,4 4)|LINESTRING(4 4,8 0)", "1"},
		{"ST_INTERSECTS|LINESTRING(0 0,4 4)|LINESTRING(2 2,8 8)", "1"},
		{"ST_INTERSECTS|LINESTRING(0 0,4 4)|LINESTRING(5 5,8 8)", "0"},
		{"ST_INTERSECTS|LINESTRING(0 0,4 4)|LINESTRING(0 1,3 4)", "0"},
		{"ST_INTERSECTS|LINESTRING(1 1,2 2)|" + square, "1"},
		{"ST_INTERSECTS|" + square + "|LINESTRING(-1 5,11 5)", "1"},
		{"ST_INTERSECTS|LINESTRING(4.5 4.5,5.5 5.5)|" + holed, "0"},
		{"ST_INTERSECTS|POINT(5 5)|LINESTRING(0 0,9 9)", "1"},
		{"ST_INTERSECTS|POINT(5 5)|POINT(5 5)", "1"},
		{"ST_INTERSECTS|POINT(5 5)|" + holed, "0"},
		{"ST_INTERSECTS|LINESTRING(1 1,2 2)|null", "null"},
		{`ST_INTERSECTS|{"type":"Feature","geometry":{"type":"MultiLineString","coordinates":[[[0,0],[1,1]]]}}|{"TYPE":"geometryCollection","Geometries":[{"type":"multipoint","coordinates":[[1,1,7]]}]}`, "1"},
		{`ST_INTERSECTS|{"type":"Circle","coordinates":[1,2]}|POINT(1 2)`, "null"},
		{`ST_INTERSECTS|{"type":"Point","coordinates":["1",2]}|POINT(1 2)`, "null"},
		{`ST_INTERSECTS|{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1]]]]}|POINT(0.5 0.25)`, "1"},
	} {
		parts := strings.Split(c.call, "|")
		var args []value.Value
		for _, p := range parts[1:] {
			args = append(args, arg(p))
		}
		prepared := Prepare(parts[0], func(int) (value.Value, bool) { return value.Value{}, false })
		for _, f := range []Func{Lookup(parts[0]), prepared, prepared} {
			v, err := f(args)
			got := Show(v)
			if v.Kind() == value.Float {
				got = fmt.Sprintf("%.3f", v.Float())
			}
			if err != nil {
				got = ""
			}
			if got != c.want {
				t.Errorf("%s: %s (%v), want %s", c.call, got, err, c.want)
			}
		}
	}
}

// TestWKT has the words of well-known text.
func TestWKT(t *testing.T) {
	for s, want := range map[string]string{
		"POINT(1 2)": "[{1 2}] [] []", " point ( -1.5e1   +2 ) ": "[{-15 2}] [] []", "POINT Z (1 2 3)": "[{1 2}] [] []", "POINTZ(1 2 3)": "[{1 2}] [] []", "POINT M(1 2 3)": "[{1 2}] [] []", "PointZM (1 2 3 4)": "[{1 2}] [] []", "POINT(1 2 3)": "[{1 2}] [] []",
		"POINT EMPTY": "[] [] []", "POINT Z EMPTY": "[] [] []", "SRID=4326;POINT(1 2)": "[{1 2}] [] []",
		"LINESTRING(1 2, 3 4)": "[] [[{1 2} {3 4}]] []", "LINESTRING(1 2,1 2)": "[{1 2}] [] []", "POLYGON((0 0,1 0,1 1))": "[] [] [[[{0 0} {1 0} {1 1} {0 0}]]]", "TRIANGLE((0 0,1 0,1 1,0 0))": "[] [] [[[{0 0} {1 0} {1 1} {0 0}]]]",
		"MULTIPOINT(1 2,3 4)": "[{1 2} {3 4}] [] []", "MULTIPOINT((1 2),EMPTY,(3 4))": "[{1 2} {3 4}] [] []", "MULTILINESTRING((1 2,3 4),EMPTY,(5 6,7 8))": "[] [[{1 2} {3 4}] [{5 6} {7 8}]] []",
		"MULTIPOLYGON(((0 0,1 0,1 1)),((5 5,6 5,6 6)))": "[] [] [[[{0 0} {1 0} {1 1} {0 0}]] [[{5 5} {6 5} {6 6} {5 5}]]]", "GEOMETRYCOLLECTION(POINT(1 2),GEOMETRYCOLLECTION(POINT Z(3 4 5),LINESTRING(1 2,3 4)),POINT EMPTY)": "[{1 2} {3 4}] [[{1 2} {3 4}]] []",
		"POLYGON((0 0,9 0,9 9,0 9,0 0),(1 1,2 1,2 2,1 1))": "[] [] [[[{0 0} {9 0} {9 9} {0 9} {0 0}] [{1 1} {2 1} {2 2} {1 1}]]]",

		"": "", "POINT": "", "POINT()": "", "POINT(1)": "", "POINT(1 2": "", "POINT(1 2) x": "", "POINT(1 2,3 4)": "", "POINT Z (1 2)": "", "POINT(1 2 3 4 5)": "", "POINT(a b)": "", "POINT(NaN 2)": "", "POINT(1e999 2)": "", "POINT(0x1 2)": "", "LINESTRING(1 2)": "", "LINESTRING(1 2,3 4 5)": "", "POLYGON((0 0,1 1))": "", "POLYGON(0 0,1 1,2 2)": "",
		"CIRCLE(1 2 3)": "", "SRID=3857;POINT(1 2)": "", "SRID;POINT(1 2)": "", "GEOMETRYCOLLECTION(1 2)": "", strings.Repeat("GEOMETRYCOLLECTION(", 40) + "POINT(1 2)" + strings.Repeat(")", 40): "", "MULTIPOINT((1 2)": "", "EMPTY": "",
	} {
		g, ok := readWKT(s)
		got := ""
		if ok {
			got = fmt.Sprint(g.points, g.lines, g.areas)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	}
}

func FuzzWKT(f *testing.F) {
	for _, s := range []string{"POINT Z (1 2 3)", "MULTIPOLYGON(((0 0,1 0,1 1)),((5 5,6 5,6 6)))", "GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(1 2,3 4))", "SRID=4326;POLYGON((0 0,9 0,9 9,0 9,0 0),(1 1,2 1,2 2,1 1))", "POINT(1e308 -1e-308)"} {
		f.Add(s)
	}
	fence, _ := readWKT("POLYGON((0 0,10 0,10 10,0 10))")
	f.Fuzz(func(t *testing.T, s string) {
		g, ok := readWKT(s)
		if !ok {
			return
		}
		for _, line := range g.edges() {
			for _, p := range line {
				if !p.finite() {
					t.Fatalf("%v is no point", p)
				}
			}
		}
		// Nothing that was read may do harm.
		for _, r := range relations {
			r(g, fence)
			r(fence, g)
			r(g, g)
		}
	})
}

// cells is a set of unit squares of a grid of 8 by 8: the plain model of areas.
type cells uint64

func (c cells) has(x, y int) bool { return x >= 0 && x < 8 && y >= 0 && y < 8 && c>>(8*y+x)&1 == 1 }

// drawShape draws a polygon of columns that stand on a line, up and down, or
// the same on its side, and the cells that it covers. Its corners may be many
// on one line, and its way either.
func drawShape(t *rapid.T, name string) ([]area, cells) {
	x0 := rapid.IntRange(0, 7).Draw(t, name+".x")
	n := rapid.IntRange(1, 8-x0).Draw(t, name+".n")
	foot := rapid.IntRange(1, 7).Draw(t, name+".foot")
	var c cells
	var top, bottom []xy
	for i := range n {
		up := rapid.IntRange(1, 8-foot).Draw(t, name+".up")
		down := rapid.IntRange(0, foot).Draw(t, name+".down")
		x := float64(x0 + i)
		top = append(top, xy{x, float64(foot + up)}, xy{x + 1, float64(foot + up)})
		bottom = append(bottom, xy{x, float64(foot - down)}, xy{x + 1, float64(foot - down)})
		for y := foot - down; y < foot+up; y++ {
			c |= 1 << (8*y + x0 + i)
		}
	}
	ring := append([]xy{}, bottom...)
	for _, t := range slices.Backward(top) {
		ring = append(ring, t)
	}
	if rapid.Bool().Draw(t, name+".turned") {
		var d cells
		for y := range 8 {
			for x := range 8 {
				if c.has(x, y) {
					d |= 1 << (8*x + y)
				}
			}
		}
		c = d
		for i, p := range ring {
			ring[i] = xy{p.y, p.x}
		}
	}
	g := new(geometry)
	if !g.addArea([][]xy{ring}) {
		t.Fatal("no ring")
	}
	return g.areas, c
}

// TestAreasOnGrid holds the relations of areas against those of sets of cells.
func TestAreasOnGrid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, ca := drawShape(t, "a")
		b, cb := drawShape(t, "b")
		if got, want := within(&geometry{areas: a}, b), ca&^cb == 0; got != want {
			t.Fatalf("%v within %v: %v, want %v", a, b, got, want)
		}
		if got, want := overlaps(a, b), ca&cb != 0 && ca&^cb != 0 && cb&^ca != 0; got != want {
			t.Fatalf("%v overlaps %v: %v, want %v", a, b, got, want)
		}
		touch := false
		for y := range 8 {
			for x := range 8 {
				for _, d := range [9][2]int{{0, 0}, {1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {1, -1}, {-1, 1}, {-1, -1}} {
					touch = touch || ca.has(x, y) && cb.has(x+d[0], y+d[1])
				}
			}
		}
		if got := intersects(&geometry{areas: a}, &geometry{areas: b}); got != touch {
			t.Fatalf("%v intersects %v: %v, want %v", a, b, got, touch)
		}
		// Points at corners, middles of edges and middles of cells.
		for y := range 17 {
			for x := range 17 {
				p := xy{float64(x) / 2, float64(y) / 2}
				in, near := true, false
				for _, cy := range []int{(y - 1) / 2, y / 2} {
					for _, cx := range []int{(x - 1) / 2, x / 2} {
						if x == 0 && cx == 0 || y == 0 && cy == 0 {
							in = false // the edge of the grid
						}
						in = in && ca.has(cx, cy)
						near = near || ca.has(cx, cy)
					}
				}
				if x == 0 || y == 0 {
					in = false
				}
				want := outside
				switch {
				case in:
					want = inside
				case near:
					want = onBoundary
				}
				if got := locate(p, a); got != want {
					t.Fatalf("%v in %v: %v, want %v", p, a, got, want)
				}
			}
		}
	})
}

// TestSegments holds meet against the plain formula on whole numbers, which is
// exact there.
func TestSegments(t *testing.T) {
	n := rapid.IntRange(-4, 4)
	rapid.Check(t, func(t *rapid.T) {
		var p [4][2]int
		var q [4]xy
		// Far away, the same lines must meet: there the differences are exact.
		shift := rapid.SampledFrom([]float64{0, 1 << 40}).Draw(t, "shift")
		for i := range p {
			p[i] = [2]int{n.Draw(t, "x"), n.Draw(t, "y")}
			q[i] = xy{float64(p[i][0]) + shift, float64(p[i][1]) - shift}
		}
		// Two segments meet when some a+s(b-a) = c+t(d-c); tried for the
		// fractions that whole numbers of this size allow.
		cross := func(a, b, c [2]int) int { return (b[0]-a[0])*(c[1]-a[1]) - (b[1]-a[1])*(c[0]-a[0]) }
		on := func(a, b, c [2]int) bool {
			return cross(a, b, c) == 0 && min(a[0], b[0]) <= c[0] && c[0] <= max(a[0], b[0]) && min(a[1], b[1]) <= c[1] && c[1] <= max(a[1], b[1])
		}
		a, b, c, d := p[0], p[1], p[2], p[3]
		want := on(a, b, c) || on(a, b, d) || on(c, d, a) || on(c, d, b) ||
			cross(a, b, c)*cross(a, b, d) < 0 && cross(c, d, a)*cross(c, d, b) < 0
		if got := meet(q[0], q[1], q[2], q[3]); got != want {
			t.Fatalf("%v: %v, want %v", p, got, want)
		}
	})
}

// TestTurnIsExact: on a line that no float meets, the signs still fit.
func TestTurnIsExact(t *testing.T) {
	a, b := xy{0.1, 0.1}, xy{0.3, 0.3}
	for _, f := range []float64{0.2, 0.7, 1e-300, 1e300, 12345.678} {
		up := math.Nextafter(f, math.Inf(1))
		if turn(a, b, xy{f, f}) != 0 || turn(a, b, xy{f, up}) != 1 || turn(a, b, xy{up, f}) != -1 {
			t.Errorf("at %v: %d %d %d", f, turn(a, b, xy{f, f}), turn(a, b, xy{f, up}), turn(a, b, xy{up, f}))
		}
	}
}

func BenchmarkWithin(b *testing.B) {
	var fence strings.Builder
	fence.WriteString("POLYGON((")
	for i := range 100 {
		sin, cos := math.Sincos(float64(i) * 2 * math.Pi / 100)
		fmt.Fprintf(&fence, "%.6f %.6f,", 10+sin, 50+cos)
	}
	fence.WriteString("10 51))")
	args := []value.Value{value.RawRecord(`{"type":"Point","coordinates":[10.2,50.3]}`), value.String(fence.String())}
	for name, f := range map[string]Func{"anew": Lookup("ST_WITHIN"), "remembered": Prepare("ST_WITHIN", nil)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if v, err := f(args); err != nil || v.Int() != 1 {
					b.Fatal(v, err)
				}
			}
		})
	}
}
