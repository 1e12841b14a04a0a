package anomaly

import (
	"math"
	"math/bits"
)

// side is the number of cells along each axis of a grid.
const side = 32

// growth is how often an axis may double at one event. A value far outside is
// far outside however much the axis grows; that it cannot stretch the axis at
// once leaves the resolution to the ordinary values.
const growth = 2

// widest is the width from which an axis grows no more, so that no sum of its
// ends overflows.
const widest = 1e300

// axis is the span of values that the cells of one axis divide.
type axis struct{ lo, hi float64 }

// cell is the index of the cell that holds p, the nearest if none does.
func (a *axis) cell(p float64) int {
	w := a.hi - a.lo
	if w <= 0 {
		return 0
	}
	return min(max(int((p-a.lo)*(side/w)), 0), side-1)
}

// beyond is how many cells p is outside of the axis.
func (a *axis) beyond(p float64) float64 {
	w := a.hi - a.lo
	switch {
	case w <= 0:
		return 0
	case p < a.lo:
		return min((a.lo-p)/w, 1) * side
	case p > a.hi:
		return min((p-a.hi)/w, 1) * side
	}
	return 0
}

// grid remembers which cells of a plane have been seen. Row i has a bit for
// each cell (i, j).
type grid struct {
	x, y axis
	rows [side]uint32
}

// see returns how far the point is from the nearest cell that was seen before,
// in cells, and marks its own cell. A cell that was seen has distance 0.
func (g *grid) see(first bool, x, y float64) float64 {
	if first {
		g.x, g.y = axis{x, x}, axis{y, y}
		g.rows[0] = 1
		return 0
	}
	var ex, ey float64 // what stays outside however the axes grow
	if x < g.x.lo || x > g.x.hi {
		g.fit(&g.x, false, x)
		ex = g.x.beyond(x)
	}
	if y < g.y.lo || y > g.y.hi {
		g.fit(&g.y, true, y)
		ey = g.y.beyond(y)
	}
	i, j := g.x.cell(x), g.y.cell(y)
	d := 0
	if g.rows[i]>>j&1 == 0 {
		d = g.nearest(i, j)
		g.rows[i] |= 1 << j
	} else if ex == 0 && ey == 0 {
		return 0
	}
	return math.Sqrt(float64(d) + ex*ex + ey*ey)
}

// nearest is the square of the distance from (i, j) to the nearest marked cell.
func (g *grid) nearest(i, j int) int {
	best := 2 * side * side
	for k, row := range g.rows {
		if row == 0 {
			continue
		}
		dx := (k - i) * (k - i)
		if right := row >> j; right != 0 {
			d := bits.TrailingZeros32(right)
			best = min(best, dx+d*d)
		}
		if left := row << (side - 1 - j); left != 0 {
			d := bits.LeadingZeros32(left)
			best = min(best, dx+d*d)
		}
	}
	return best
}

// fit grows an axis towards p by doubling, which puts two cells into one.
func (g *grid) fit(a *axis, isY bool, p float64) {
	for range growth {
		if p >= a.lo && p <= a.hi {
			return
		}
		w := a.hi - a.lo
		if w > widest {
			return
		}
		if w == 0 {
			g.spread(a, isY, p)
			continue
		}
		offset := 0
		if p > a.hi {
			a.hi += w
		} else {
			a.lo -= w
			offset = side / 2
		}
		var rows [side]uint32
		for i, row := range g.rows {
			if isY {
				rows[i] = halve(row) << offset
			} else {
				rows[i/2+offset] |= row
			}
		}
		g.rows = rows
	}
}

// spread gives its first width to an axis of which all values were the same:
// that value and p come to lie a quarter from its ends.
func (g *grid) spread(a *axis, isY bool, p float64) {
	old := a.lo
	w := math.Abs(p - old)
	a.lo, a.hi = min(p, old)-w/2, max(p, old)+w/2
	at := 3 * side / 4
	if p > old {
		at = side / 4
	}
	if !isY {
		g.rows[at], g.rows[0] = g.rows[0], 0
		return
	}
	for i := range g.rows {
		g.rows[i] <<= at
	}
}

// halve puts each two neighbouring bits into one, in the lower half.
func halve(row uint32) uint32 {
	row = (row | row>>1) & 0x55555555
	row = (row | row>>1) & 0x33333333
	row = (row | row>>2) & 0x0f0f0f0f
	row = (row | row>>4) & 0x00ff00ff
	return (row | row>>8) & 0x0000ffff
}
