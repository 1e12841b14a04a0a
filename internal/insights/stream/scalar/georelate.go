package scalar

import (
	"cmp"
	"math"
	"math/big"
	"slices"
)

// Relations of geometries on a plane. Whether points lie to the left or the
// right of a line is decided exactly; where two lines cross in between two
// numbers, the place is rounded.

// turn tells on which side of the line from a to b the point c lies: positive
// to the left, negative to the right, zero on it.
func turn(a, b, c xy) int {
	left := (a.x - c.x) * (b.y - c.y)
	right := (a.y - c.y) * (b.x - c.x)
	det := left - right
	// What rounding can have done is less than this, unless numbers are so
	// small or large that they are lost.
	bound := 4e-16*(math.Abs(left)+math.Abs(right)) + 1e-300
	if math.Abs(det) > bound && !math.IsInf(bound, 0) {
		return sgn(det)
	}
	if a == b || b == c || a == c {
		return 0
	}
	var p, q, r, s big.Rat
	difference := func(to *big.Rat, x, y float64) *big.Rat {
		var u, v big.Rat
		u.SetFloat64(x)
		v.SetFloat64(y)
		return to.Sub(&u, &v)
	}
	p.Mul(difference(&p, a.x, c.x), difference(&q, b.y, c.y))
	r.Mul(difference(&r, a.y, c.y), difference(&s, b.x, c.x))
	return p.Cmp(&r)
}

func sgn(x float64) int {
	switch {
	case x > 0:
		return 1
	case x < 0:
		return -1
	}
	return 0
}

// between reports whether p, which is on the line through a and b, lies
// between them.
func between(p, a, b xy) bool {
	return min(a.x, b.x) <= p.x && p.x <= max(a.x, b.x) && min(a.y, b.y) <= p.y && p.y <= max(a.y, b.y)
}

func onSegment(p, a, b xy) bool { return between(p, a, b) && turn(a, b, p) == 0 }

// apart reports whether the boxes around two segments have nothing in common.
func apart(a, b, c, d xy) bool {
	return max(a.x, b.x) < min(c.x, d.x) || max(c.x, d.x) < min(a.x, b.x) ||
		max(a.y, b.y) < min(c.y, d.y) || max(c.y, d.y) < min(a.y, b.y)
}

// meet reports whether two segments have a point in common.
func meet(a, b, c, d xy) bool {
	if apart(a, b, c, d) {
		return false
	}
	t1, t2 := turn(a, b, c), turn(a, b, d)
	if t1*t2 > 0 {
		return false
	}
	t3, t4 := turn(c, d, a), turn(c, d, b)
	if t3*t4 > 0 {
		return false
	}
	if t1 != 0 || t2 != 0 || t3 != 0 || t4 != 0 {
		return true
	}
	return between(c, a, b) || between(d, a, b) || between(a, c, d)
}

// side says where a point is, seen from areas.
type side int8

const (
	outside side = iota
	onBoundary
	inside
)

func locate(p xy, areas []area) side {
	at := outside
	for _, a := range areas {
		at = max(at, a.locate(p))
	}
	return at
}

// locate counts the edges that a line to the right of p crosses: rings within
// rings are holes.
func (a area) locate(p xy) side {
	in := false
	for _, ring := range a {
		for i := 1; i < len(ring); i++ {
			u, v := ring[i-1], ring[i]
			if u.y > v.y {
				u, v = v, u
			}
			if p.y < u.y || p.y > v.y || p.x > max(u.x, v.x) {
				continue
			}
			var t int
			if p.x >= min(u.x, v.x) || u.y == v.y {
				if t = turn(u, v, p); t == 0 && between(p, u, v) {
					return onBoundary
				}
			} else {
				t = 1 // to the left of the whole edge
			}
			if u.y <= p.y && p.y < v.y && t > 0 {
				in = !in
			}
		}
	}
	if in {
		return inside
	}
	return outside
}

// trace says where the parts of lines are, seen from areas.
type trace struct{ in, out bool }

// follow cuts lines where they meet the edges of areas and looks where each
// piece is.
func follow(lines [][]xy, areas []area) (t trace) {
	var cuts []float64
	var along [][2]float64 // pieces that run along an edge
	for _, line := range lines {
		for i := 1; i < len(line); i++ {
			a, b := line[i-1], line[i]
			if a == b {
				continue
			}
			cuts, along = append(cuts[:0], 0, 1), along[:0]
			for _, r := range areas {
				for _, ring := range r {
					for j := 1; j < len(ring); j++ {
						c, d := ring[j-1], ring[j]
						if apart(a, b, c, d) {
							continue
						}
						tc, td := turn(a, b, c), turn(a, b, d)
						switch {
						case tc == 0 && td == 0:
							p, q := clip01(fraction(a, b, c)), clip01(fraction(a, b, d))
							cuts = append(cuts, p, q)
							along = append(along, [2]float64{min(p, q), max(p, q)})
						case tc == 0:
							cuts = append(cuts, clip01(fraction(a, b, c)))
						case td == 0:
							cuts = append(cuts, clip01(fraction(a, b, d)))
						case tc != td && turn(c, d, a) != turn(c, d, b):
							cuts = append(cuts, clip01(crossing(a, b, c, d)))
						}
					}
				}
			}
			slices.Sort(cuts)
			for k := 1; k < len(cuts); k++ {
				lo, hi := cuts[k-1], cuts[k]
				if lo == hi || slices.ContainsFunc(along, func(s [2]float64) bool { return s[0] <= lo && hi <= s[1] }) {
					continue
				}
				switch locate(a.toward(b, lo+(hi-lo)/2), areas) {
				case inside:
					t.in = true
				case outside:
					t.out = true
				case onBoundary:
				}
			}
			if t.in && t.out {
				return t
			}
		}
	}
	return t
}

func clip01(t float64) float64 { return max(0, min(1, t)) }

func (p xy) toward(q xy, t float64) xy { return xy{p.x + (q.x-p.x)*t, p.y + (q.y-p.y)*t} }

// fraction tells how far on the way from a to b the point p is, which lies on
// that line.
func fraction(a, b, p xy) float64 {
	if math.Abs(b.x-a.x) >= math.Abs(b.y-a.y) {
		return (p.x - a.x) / (b.x - a.x)
	}
	return (p.y - a.y) / (b.y - a.y)
}

// crossing tells how far on the way from a to b the line through c and d is.
func crossing(a, b, c, d xy) float64 {
	dx, dy := d.x-c.x, d.y-c.y
	from := (a.x-c.x)*dy - (a.y-c.y)*dx
	to := (b.x-c.x)*dy - (b.y-c.y)*dx
	return from / (from - to)
}

func rings(areas []area) (lines [][]xy) {
	for _, a := range areas {
		lines = append(lines, a...)
	}
	return lines
}

// inner gives a point inside an area: the middle of the widest stretch at a
// height at which there is no corner. A flat area has none.
func (a area) inner() (xy, bool) {
	var heights []float64
	for _, ring := range a {
		for _, p := range ring {
			heights = append(heights, p.y)
		}
	}
	slices.Sort(heights)
	heights = slices.Compact(heights)
	best, width := xy{}, 0.0
	var at []float64
	// The tallest bands are the best; a few of them are enough.
	bands := make([]int, max(0, len(heights)-1))
	for i := range bands {
		bands[i] = i
	}
	slices.SortFunc(bands, func(i, j int) int {
		return cmp.Compare(heights[j+1]-heights[j], heights[i+1]-heights[i])
	})
	for tried, i := range bands {
		if tried > 8 && width > 0 {
			break
		}
		y := heights[i] + (heights[i+1]-heights[i])/2
		at = at[:0]
		for _, ring := range a {
			for j := 1; j < len(ring); j++ {
				u, v := ring[j-1], ring[j]
				if (u.y < y) != (v.y < y) {
					at = append(at, u.x+(v.x-u.x)*((y-u.y)/(v.y-u.y)))
				}
			}
		}
		slices.Sort(at)
		for j := 1; j < len(at); j += 2 {
			p := xy{at[j-1] + (at[j]-at[j-1])/2, y}
			if w := at[j] - at[j-1]; w > width && a.locate(p) == inside {
				best, width = p, w
			}
		}
	}
	return best, width > 0
}

// covered reports whether areas of a lie in b, and meets whether something
// inside of one is inside of the other.
func compareAreas(a, b []area) (covered, meets bool) {
	of, back := follow(rings(a), b), follow(rings(b), a)
	covered = !of.out && !back.in
	meets = of.in || back.in
	for _, x := range a {
		if p, ok := x.inner(); ok {
			switch locate(p, b) {
			case inside:
				meets = true
			case outside, onBoundary:
				covered = false
			}
		}
	}
	return covered, meets
}

// within: nothing of g is outside of the areas, and something is inside, not
// only on their boundary.
func within(g *geometry, areas []area) bool {
	in := false
	for _, p := range g.points {
		switch locate(p, areas) {
		case outside:
			return false
		case inside:
			in = true
		case onBoundary:
		}
	}
	t := follow(g.lines, areas)
	if t.out {
		return false
	}
	in = in || t.in
	if len(g.areas) > 0 {
		covered, meets := compareAreas(g.areas, areas)
		if !covered {
			return false
		}
		in = in || meets
	}
	return in
}

// overlaps: they share an inside, and neither is within the other.
func overlaps(a, b []area) bool {
	first, meets := compareAreas(a, b)
	second, also := compareAreas(b, a)
	return (meets || also) && !first && !second
}

// intersects: they have a point in common.
func intersects(a, b *geometry) bool {
	for _, g := range [2][2]*geometry{{a, b}, {b, a}} {
		if slices.ContainsFunc(g[0].points, g[1].has) {
			return true
		}
		// What does not cross an edge is inside as a whole, or not at all.
		for _, line := range g[0].edges() {
			if locate(line[0], g[1].areas) != outside {
				return true
			}
		}
	}
	for _, s := range a.edges() {
		for _, u := range b.edges() {
			for i := 1; i < len(s); i++ {
				for j := 1; j < len(u); j++ {
					if meet(s[i-1], s[i], u[j-1], u[j]) {
						return true
					}
				}
			}
		}
	}
	return false
}

// edges are the lines of a geometry and the rings of its areas.
func (g *geometry) edges() [][]xy { return append(rings(g.areas), g.lines...) }

// has reports whether a point belongs to a geometry.
func (g *geometry) has(p xy) bool {
	if slices.Contains(g.points, p) || locate(p, g.areas) != outside {
		return true
	}
	for _, line := range g.lines {
		for i := 1; i < len(line); i++ {
			if onSegment(p, line[i-1], line[i]) {
				return true
			}
		}
	}
	return false
}

// onEarth reports whether all latitudes are such.
func (g *geometry) onEarth() bool {
	for _, p := range g.points {
		if math.Abs(p.y) > 90 {
			return false
		}
	}
	for _, line := range g.lines {
		for _, p := range line {
			if math.Abs(p.y) > 90 {
				return false
			}
		}
	}
	return true
}

// distance is the least distance, in metres, of points and lines, which are
// straight in longitude and latitude.
func distance(a, b *geometry) float64 {
	if len(a.lines)+len(b.lines) > 0 && intersects(a, b) {
		return 0
	}
	least := math.Inf(1)
	for _, p := range a.points {
		for _, q := range b.points {
			least = min(least, geodesicDistance(p.y, p.x, q.y, q.x))
		}
	}
	// Lines that do not meet are closest at the end of a piece of one of them,
	// but for the curvature of the Earth over a piece.
	for _, g := range [2][2]*geometry{{a, b}, {b, a}} {
		for _, line := range g[0].lines {
			for i := 1; i < len(line); i++ {
				for _, p := range g[1].points {
					least = min(least, toSegment(p, line[i-1], line[i]))
				}
				for _, other := range g[1].lines {
					for _, p := range other {
						least = min(least, toSegment(p, line[i-1], line[i]))
					}
				}
			}
		}
	}
	return least
}

// toSegment is the least distance of a point and a segment: the best of some
// places, and then by the golden section around it.
func toSegment(p, a, b xy) float64 {
	at := func(t float64) float64 {
		q := a.toward(b, t)
		return geodesicDistance(p.y, p.x, q.y, q.x)
	}
	const places = 8
	best, least := 0, math.Inf(1)
	for i := range places + 1 {
		if d := at(float64(i) / places); d < least {
			best, least = i, d
		}
	}
	lo, hi := max(0, float64(best-1)/places), min(1, float64(best+1)/places)
	const golden = 0.6180339887498949
	x, y := hi-golden*(hi-lo), lo+golden*(hi-lo)
	dx, dy := at(x), at(y)
	for range 50 {
		if dx < dy {
			hi, y, dy = y, x, dx
			x = hi - golden*(hi-lo)
			dx = at(x)
		} else {
			lo, x, dx = x, y, dy
			y = lo + golden*(hi-lo)
			dy = at(y)
		}
	}
	return min(least, dx, dy)
}
