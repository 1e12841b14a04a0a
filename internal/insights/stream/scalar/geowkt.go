package scalar

import (
	"strconv"
	"strings"
)

// readWKT reads well-known text: the seven kinds of the simple features, rings
// and triangles, EMPTY, and the ordinates Z and M, which are passed by. A
// leading SRID=n; is taken when it names WGS84. Curves are not known.
func readWKT(s string) (*geometry, bool) {
	r := wktReader{s: s}
	if w := r.word(); w == "SRID" {
		if !r.sign('=') {
			return nil, false
		}
		if n, ok := r.number(); !ok || n != 4326 || !r.sign(';') {
			return nil, false
		}
	} else {
		r.pos = 0
	}
	g := new(geometry)
	if !r.geometry(g, 0) {
		return nil, false
	}
	r.skip()
	return g, r.pos == len(r.s)
}

type wktReader struct {
	s   string
	pos int
	// width is the number of ordinates that a point is to have; 0: it is taken
	// from the first.
	width int
}

func (r *wktReader) skip() {
	for r.pos < len(r.s) && strings.IndexByte(" \t\r\n", r.s[r.pos]) >= 0 {
		r.pos++
	}
}

// word reads letters, and gives them in capitals.
func (r *wktReader) word() string {
	r.skip()
	start := r.pos
	for r.pos < len(r.s) && r.s[r.pos]|0x20-'a' < 26 {
		r.pos++
	}
	return strings.ToUpper(r.s[start:r.pos])
}

func (r *wktReader) sign(c byte) bool {
	if r.skip(); r.pos < len(r.s) && r.s[r.pos] == c {
		r.pos++
		return true
	}
	return false
}

func (r *wktReader) number() (float64, bool) {
	r.skip()
	start := r.pos
	for r.pos < len(r.s) && strings.IndexByte("+-.0123456789eE", r.s[r.pos]) >= 0 {
		r.pos++
	}
	f, err := strconv.ParseFloat(r.s[start:r.pos], 64)
	return f, err == nil
}

// geometry reads one geometry with its name.
func (r *wktReader) geometry(g *geometry, depth int) bool {
	name := r.word()
	for _, suffix := range []string{"ZM", "Z", "M"} {
		// POINTZ is written for POINT Z, too.
		if base, ok := strings.CutSuffix(name, suffix); ok && wktKinds[base] {
			name = base
			r.pos -= len(suffix)
			break
		}
	}
	if !wktKinds[name] {
		return false
	}
	r.width = 0
	mark := r.pos
	switch r.word() {
	case "Z", "M":
		r.width = 3
	case "ZM":
		r.width = 4
	case "EMPTY":
		return true
	default:
		r.pos = mark
	}
	if r.empty() {
		return true
	}
	return r.body(name, g, depth)
}

var wktKinds = map[string]bool{
	"POINT": true, "LINESTRING": true, "LINEARRING": true, "POLYGON": true, "TRIANGLE": true,
	"MULTIPOINT": true, "MULTILINESTRING": true, "MULTIPOLYGON": true, "GEOMETRYCOLLECTION": true,
}

func (r *wktReader) body(name string, g *geometry, depth int) bool {
	switch name {
	case "POINT":
		p, ok := r.points()
		if !ok || len(p) != 1 {
			return false
		}
		g.points = append(g.points, p[0])
		return true
	case "LINESTRING", "LINEARRING":
		return r.line(g)
	case "POLYGON", "TRIANGLE":
		return r.polygon(g)
	case "MULTIPOINT":
		return r.list(func() bool {
			if r.empty() {
				return true
			}
			inner := r.sign('(')
			p, ok := r.point()
			g.points = append(g.points, p)
			return ok && (!inner || r.sign(')'))
		})
	case "MULTILINESTRING":
		return r.list(func() bool { return r.empty() || r.line(g) })
	case "MULTIPOLYGON":
		return r.list(func() bool { return r.empty() || r.polygon(g) })
	}
	return depth < maxNested && r.list(func() bool { return r.geometry(g, depth+1) })
}

// empty takes the word EMPTY, if it stands here.
func (r *wktReader) empty() bool {
	mark := r.pos
	if r.word() == "EMPTY" {
		return true
	}
	r.pos = mark
	return false
}

func (r *wktReader) line(g *geometry) bool {
	points, ok := r.points()
	return ok && g.addLine(points)
}

func (r *wktReader) polygon(g *geometry) bool {
	var rings [][]xy
	return r.list(func() bool {
		ring, ok := r.points()
		rings = append(rings, ring)
		return ok
	}) && g.addArea(rings)
}

// list reads elements in parentheses.
func (r *wktReader) list(element func() bool) bool {
	if !r.sign('(') {
		return false
	}
	for {
		if !element() {
			return false
		}
		if !r.sign(',') {
			return r.sign(')')
		}
	}
}

func (r *wktReader) points() (list []xy, ok bool) {
	ok = r.list(func() bool {
		p, ok := r.point()
		list = append(list, p)
		return ok
	})
	return list, ok
}

func (r *wktReader) point() (xy, bool) {
	var p xy
	n := 0
	for ; n < 4; n++ {
		mark := r.pos
		f, ok := r.number()
		if !ok {
			r.pos = mark
			break
		}
		switch n {
		case 0:
			p.x = f
		case 1:
			p.y = f
		}
	}
	if r.width == 0 {
		r.width = n
	}
	return p, n >= 2 && n == r.width && p.finite()
}
