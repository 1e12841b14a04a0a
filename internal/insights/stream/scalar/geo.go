package scalar

import (
	"math"
	"slices"
	"strings"

	"dunlin/internal/insights/stream/value"
)

// The geospatial functions, section 13.6 of the language. What is no geometry,
// or none of the kind that a function takes, gives null. Predicates take
// longitude and latitude as coordinates on a plane; distances are those on the
// WGS84 ellipsoid.

// xy is a point: longitude and latitude in degrees, both finite.
type xy struct{ x, y float64 }

// area is a polygon: closed rings, first the outer one. Their direction does
// not matter.
type area [][]xy

// geometry is a union of points, lines and areas.
type geometry struct {
	points []xy
	lines  [][]xy // of two points or more, not all the same
	areas  []area
}

// addLine adds a line; one that stays where it is is a point.
func (g *geometry) addLine(line []xy) bool {
	if len(line) < 2 {
		return false
	}
	for _, p := range line {
		if p != line[0] {
			g.lines = append(g.lines, line)
			return true
		}
	}
	g.points = append(g.points, line[0])
	return true
}

// addArea adds a polygon, whose rings it closes; none is nothing.
func (g *geometry) addArea(rings [][]xy) bool {
	if len(rings) == 0 {
		return true
	}
	a := make(area, len(rings))
	for i, r := range rings {
		if len(r) > 0 && r[0] != r[len(r)-1] {
			r = append(slices.Clip(r), r[0])
		}
		if len(r) < 4 {
			return false
		}
		a[i] = r
	}
	g.areas = append(g.areas, a)
	return true
}

// toGeometry reads a GeoJSON record, or a text in WKT.
func toGeometry(v value.Value) (*geometry, bool) {
	switch v.Kind() {
	case value.Text:
		return readWKT(v.Text())
	case value.Record:
		g := new(geometry)
		return g, g.addJSON(v, 0)
	case value.Null, value.Bigint, value.Float, value.Bit, value.Datetime, value.Array:
	}
	return nil, false
}

// maxNested is how deep collections may stand in each other.
const maxNested = 32

func (g *geometry) addJSON(v value.Value, depth int) bool {
	if v.Kind() != value.Record || depth > maxNested {
		return false
	}
	kind := Member(v, "type")
	if kind.Kind() != value.Text {
		return false
	}
	at := Member(v, "coordinates")
	switch name := lower(kind.Text()); name {
	case "feature":
		return g.addJSON(Member(v, "geometry"), depth+1)
	case "geometrycollection", "featurecollection":
		list := Member(v, "geometries")
		if name == "featurecollection" {
			list = Member(v, "features")
		}
		return each(list, func(x value.Value) bool { return g.addJSON(x, depth+1) })
	case "point":
		p, ok := position(at)
		g.points = append(g.points, p)
		return ok
	case "multipoint":
		points, ok := positions(at)
		g.points = append(g.points, points...)
		return ok
	case "linestring":
		line, ok := positions(at)
		return ok && g.addLine(line)
	case "multilinestring":
		return each(at, func(x value.Value) bool {
			line, ok := positions(x)
			return ok && g.addLine(line)
		})
	case "polygon":
		// Some write the only ring where the list of rings belongs.
		if ring, ok := positions(at); ok && len(ring) > 0 {
			return g.addArea([][]xy{ring})
		}
		return g.addPolygon(at)
	case "multipolygon":
		return each(at, g.addPolygon)
	}
	return false
}

func (g *geometry) addPolygon(v value.Value) bool {
	var rings [][]xy
	return each(v, func(x value.Value) bool {
		ring, ok := positions(x)
		rings = append(rings, ring)
		return ok
	}) && g.addArea(rings)
}

// each calls f for the elements of an array, while it says yes.
func each(v value.Value, f func(value.Value) bool) bool {
	if v.Kind() != value.Array {
		return false
	}
	for _, x := range v.Tree().Values {
		if !f(x) {
			return false
		}
	}
	return true
}

func positions(v value.Value) (list []xy, ok bool) {
	ok = each(v, func(x value.Value) bool {
		p, ok := position(x)
		list = append(list, p)
		return ok
	})
	return list, ok
}

// position reads [longitude, latitude]; more, such as the height, is passed by.
func position(v value.Value) (xy, bool) {
	if v.Kind() != value.Array {
		return xy{}, false
	}
	c := v.Tree().Values
	if len(c) < 2 || !c[0].Kind().Numeric() || !c[1].Kind().Numeric() {
		return xy{}, false
	}
	p := xy{c[0].AsFloat(), c[1].AsFloat()}
	return p, p.finite()
}

func (p xy) finite() bool { return !math.IsInf(p.x-p.x+p.y-p.y, 0) && p.x-p.x+p.y-p.y == 0 }

func (p xy) json() value.Value {
	return value.ArrayOf([]value.Value{value.Number(p.x), value.Number(p.y)})
}

func geoJSON(kind string, coordinates value.Value) value.Value {
	return value.RecordOf(&value.Tree{
		Names:  []string{"type", "coordinates"},
		Values: []value.Value{value.String(kind), coordinates},
	})
}

func listOf(points []xy) value.Value {
	list := make([]value.Value, len(points))
	for i, p := range points {
		list[i] = p.json()
	}
	return value.ArrayOf(list)
}

// createPoint takes latitude before longitude; GeoJSON has them the other way.
func createPoint(args []value.Value) (value.Value, error) {
	lat, err := ToFloat(args[0])
	if err != nil || lat.IsNull() {
		return value.Value{}, err
	}
	lon, err := ToFloat(args[1])
	if err != nil || lon.IsNull() {
		return value.Value{}, err
	}
	p := xy{lon.Float(), lat.Float()}
	if !p.finite() || math.Abs(p.y) > 90 {
		return value.Value{}, nil
	}
	return geoJSON("Point", p.json()), nil
}

// pointsOf reads arguments each of which is one point.
func pointsOf(args []value.Value) ([]xy, bool) {
	points := make([]xy, len(args))
	for i, a := range args {
		g, ok := toGeometry(a)
		if !ok || len(g.points) != 1 || len(g.lines)+len(g.areas) > 0 {
			return nil, false
		}
		points[i] = g.points[0]
	}
	return points, true
}

func createLineString(args []value.Value) (value.Value, error) {
	points, ok := pointsOf(args)
	if !ok || len(points) < 2 {
		return value.Value{}, nil
	}
	return geoJSON("LineString", listOf(points)), nil
}

// createPolygon closes the ring. The points stay in their order: where the
// inside is to the right of the way, that means the same on a plane.
func createPolygon(args []value.Value) (value.Value, error) {
	points, ok := pointsOf(args)
	if !ok {
		return value.Value{}, nil
	}
	if len(points) > 0 && points[0] != points[len(points)-1] {
		points = append(points, points[0])
	}
	if len(points) < 4 {
		return value.Value{}, nil
	}
	return geoJSON("Polygon", value.ArrayOf([]value.Value{listOf(points)})), nil
}

// relation makes a function of two geometries; f says no when it does not take
// geometries of their kind.
func relation(f func(a, b *geometry) (value.Value, bool)) Func {
	return func(args []value.Value) (value.Value, error) {
		a, ok := toGeometry(args[0])
		if !ok {
			return value.Value{}, nil
		}
		b, ok := toGeometry(args[1])
		if !ok {
			return value.Value{}, nil
		}
		v, ok := f(a, b)
		if !ok {
			return value.Value{}, nil
		}
		return v, nil
	}
}

// relations are the functions that Prepare gives a memory: a fence is often
// the same for event after event.
var relations = map[string]func(a, b *geometry) (value.Value, bool){
	"ST_DISTANCE":   stDistance,
	"ST_WITHIN":     stWithin,
	"ST_OVERLAPS":   stOverlaps,
	"ST_INTERSECTS": stIntersects,
}

// remembering is relation for one call of a query: it reads a text again only
// when it is not that of the row before.
func remembering(f func(a, b *geometry) (value.Value, bool)) Func {
	var last [2]struct {
		text string
		g    *geometry
		ok   bool
	}
	return func(args []value.Value) (value.Value, error) {
		var g [2]*geometry
		for i, v := range args[:2] {
			text := v.JSON()
			if v.Kind() == value.Text {
				text = v.Text()
			}
			m := &last[i]
			if text == "" {
				m.g, m.ok = toGeometry(v)
				m.text = ""
			} else if text != m.text {
				m.text = strings.Clone(text) // it is a part of a batch
				m.g, m.ok = toGeometry(v)
			}
			if !m.ok {
				return value.Value{}, nil
			}
			g[i] = m.g
		}
		v, ok := f(g[0], g[1])
		if !ok {
			return value.Value{}, nil
		}
		return v, nil
	}
}

func truth(b bool) value.Value {
	if b {
		return value.Int(1)
	}
	return value.Int(0)
}

func (g *geometry) empty() bool { return len(g.points)+len(g.lines)+len(g.areas) == 0 }

func stDistance(a, b *geometry) (value.Value, bool) {
	if len(a.areas)+len(b.areas) > 0 {
		return value.Number(0), true
	}
	if a.empty() || b.empty() || !a.onEarth() || !b.onEarth() {
		return value.Value{}, false
	}
	return value.Number(distance(a, b)), true
}

func stWithin(a, b *geometry) (value.Value, bool) {
	if len(b.areas) == 0 || a.empty() {
		return value.Value{}, false
	}
	return truth(within(a, b.areas)), true
}

func stOverlaps(a, b *geometry) (value.Value, bool) {
	if len(a.areas) == 0 || len(b.areas) == 0 {
		return value.Value{}, false
	}
	return truth(overlaps(a.areas, b.areas)), true
}

func stIntersects(a, b *geometry) (value.Value, bool) {
	if a.empty() || b.empty() {
		return value.Value{}, false
	}
	return truth(intersects(a, b)), true
}
