package scalar

import "math"

// The WGS84 ellipsoid: its radius at the equator, in metres, and what follows
// from its flattening.
const (
	equatorRadius = 6378137.0
	flattening    = 1 / 298.257223563
	polarRadius   = equatorRadius * (1 - flattening)
	eccentricity2 = flattening * (2 - flattening) // first, squared
	second2       = eccentricity2 / ((1 - flattening) * (1 - flattening))
	third         = flattening / (2 - flattening)
)

// geodesicDistance is the length, in metres, of the shortest line on the
// ellipsoid between two points, given in degrees.
//
// The method is that of C. F. F. Karney, Algorithms for geodesics, J. Geodesy
// 87 (2013): on the auxiliary sphere a geodesic is a great circle, and of those
// that leave the first point the one is looked for that arrives at the
// longitude of the second. Other than there the angle is kept between bounds
// all the time, so that points opposite to each other need no start of their
// own: as the bounds close in, the search ends for them, too.
func geodesicDistance(lat1, lon1, lat2, lon2 float64) float64 {
	lambda := math.Abs(degreesBetween(lon1, lon2))
	lat1, lat2 = onEquator(lat1), onEquator(lat2)
	// By symmetry: the first point is the one further from the equator, and on
	// the southern side.
	if math.Abs(lat1) < math.Abs(lat2) {
		lat1, lat2 = lat2, lat1
	}
	if lat1 > 0 {
		lat1, lat2 = -lat1, -lat2
	}
	g := course{}
	g.sin1, g.cos1 = reduced(lat1)
	g.sin2, g.cos2 = reduced(lat2)
	// On the equator the sign of zero tells that the arc comes from the south.
	g.sin1 = math.Copysign(g.sin1, -1)
	switch {
	case lambda == 0:
		return g.meridian(1)
	case lambda == 180 || lat1 == -90:
		// Over the pole: on an oblate ellipsoid nothing is shorter.
		return g.meridian(math.Cos(lambda * math.Pi / 180))
	}
	lambda *= math.Pi / 180
	if lat1 == 0 && lambda <= math.Pi*(1-flattening) {
		return equatorRadius * lambda // along the equator
	}
	return g.solve(lambda)
}

// onEquator takes latitudes of less than a nanometre for zero: their squares
// would be lost.
func onEquator(lat float64) float64 {
	if math.Abs(lat) < 1e-14 {
		return 0
	}
	return lat
}

// degreesBetween gives the way from one longitude to another, from -180 to 180,
// exactly for longitudes of usual size.
func degreesBetween(from, to float64) float64 {
	return math.Remainder(math.Remainder(to, 360)-math.Remainder(from, 360), 360)
}

// reduced gives sine and cosine of the reduced latitude.
func reduced(lat float64) (sin, cos float64) {
	if math.Abs(lat) == 90 {
		return math.Copysign(1, lat), 0
	}
	s, c := math.Sincos(lat * math.Pi / 180)
	s *= 1 - flattening
	h := math.Hypot(s, c)
	return s / h, c / h
}

// course is the search for the azimuth at the first point. Both points are
// given by sine and cosine of their reduced latitudes.
type course struct {
	sin1, cos1, sin2, cos2 float64
}

// meridian is the distance along a meridian, or two that are opposite: cosine
// is that of the difference in longitude.
func (g *course) meridian(cosine float64) float64 {
	north := 1.0 // the line leaves to the north
	if cosine < 0 {
		north = -1
	}
	sigma1 := math.Atan2(g.sin1, north*g.cos1)
	sigma2 := math.Atan2(g.sin2, g.cos2)
	return polarRadius * arcLength(second2, sigma1, sigma2)
}

// path is the geodesic that leaves the first point with an azimuth and has
// come to the latitude of the second.
type path struct {
	k2             float64
	sigma1, sigma2 float64 // arcs from the equator, on the auxiliary sphere
	lambda         float64 // difference in longitude
	cosAlpha2      float64
	sinAlpha2      float64
}

// at gives the path for the azimuth π/2 + turn, in [0, π]: small turns from
// east keep all their digits.
func (g *course) at(turn float64) path {
	sinA, cosA := math.Cos(turn), -math.Sin(turn)
	sin0 := sinA * g.cos1 // azimuth at the equator
	cos0 := math.Hypot(cosA, sinA*g.sin1)
	var p path
	// The azimuth at the second point follows from that of the first, without
	// loss where both are close to east.
	var rest float64
	if g.cos1 < -g.sin1 {
		rest = (g.cos2 - g.cos1) * (g.cos1 + g.cos2)
	} else {
		rest = (g.sin1 - g.sin2) * (g.sin1 + g.sin2)
	}
	p.sinAlpha2 = sin0 / g.cos2
	p.cosAlpha2 = math.Sqrt(max(0, cosA*cosA*g.cos1*g.cos1+rest)) / g.cos2
	north1, north2 := cosA*g.cos1, p.cosAlpha2*g.cos2
	p.sigma1, p.sigma2 = math.Atan2(g.sin1, north1), math.Atan2(g.sin2, north2)
	omega := max(0, math.Atan2(sin0*g.sin2, north2)-math.Atan2(sin0*g.sin1, north1))
	p.k2 = second2 * cos0 * cos0
	p.lambda = omega - flattening*sin0*longitudeLag(p.k2, p.sigma1, p.sigma2)
	return p
}

// solve finds the path that arrives at a difference in longitude; that grows
// with the azimuth, from 0 to π.
func (g *course) solve(lambda float64) float64 {
	lo, hi := -math.Pi/2, math.Pi/2
	turn := g.guess(lambda)
	var p path
	const enough = 1e-13
	last := math.Inf(1)
	for range 200 {
		p = g.at(turn)
		miss := p.lambda - lambda
		if math.Abs(miss)*g.cos2 <= enough {
			break
		}
		if miss > 0 {
			hi = turn
		} else {
			lo = turn
		}
		next := turn - miss*p.slope(g)
		// Newton's step counts only within the bounds and while it gets closer
		// fast; else the bounds are halved.
		if !(next > lo && next < hi) || math.Abs(miss) > last/2 {
			next = lo + (hi-lo)/2
		}
		if next == turn || next == lo || next == hi {
			break
		}
		turn, last = next, math.Abs(miss)
	}
	// What is left of the difference in longitude is a step sideways.
	side := (lambda - p.lambda) * g.cos2 * p.sinAlpha2 * equatorRadius
	return max(0, polarRadius*arcLength(p.k2, p.sigma1, p.sigma2)+side)
}

// slope is the turn per difference in longitude: the inverse of the reduced
// length of the path, here to the first order of flattening, as it only
// directs the search.
func (p *path) slope(g *course) float64 {
	sin1, cos1 := math.Sincos(p.sigma1)
	sin2, cos2 := math.Sincos(p.sigma2)
	arc := p.sigma2 - p.sigma1
	j := p.k2 / 2 * (arc - (sin2*cos2 - sin1*cos1))
	m := (1 - flattening) * (math.Sqrt(1+p.k2*sin2*sin2)*cos1*sin2 - math.Sqrt(1+p.k2*sin1*sin1)*sin1*cos2 - cos1*cos2*j)
	return p.cosAlpha2 * g.cos2 / m
}

// guess is the azimuth on a sphere.
func (g *course) guess(lambda float64) float64 {
	mean := (g.cos1 + g.cos2) / 2
	omega := lambda / math.Sqrt(1-eccentricity2*mean*mean)
	if omega > math.Pi-0.01 {
		omega = math.Pi - 0.01
	}
	sin, cos := math.Sincos(omega)
	east := g.cos2 * sin
	north := g.cos1*g.sin2 - g.sin1*g.cos2*cos
	return math.Atan2(-north, east)
}

// arcLength is the length of a geodesic, in polar radii, between two arcs: the
// integral of √(1 + k² sin²σ), as its Fourier series in the small number ε.
func arcLength(k2, sigma1, sigma2 float64) float64 {
	e := epsilon(k2)
	e2 := e * e
	scale := (1 + e2*(1./4+e2*(1./64+e2/256))) / (1 - e)
	c := [6]float64{
		e * (-1./2 + e2*(3./16-e2/32)),
		e2 * (-1./16 + e2*(1./32-e2*9/2048)),
		e * e2 * (-1./48 + e2*3/256),
		e2 * e2 * (-5./512 + e2*3/512),
		e * e2 * e2 * -7 / 1280,
		e2 * e2 * e2 * -7 / 2048,
	}
	return scale * (sigma2 - sigma1 + sines(&c, sigma2) - sines(&c, sigma1))
}

// longitudeLag is by how much less the longitude of the ellipsoid grows than
// that of the sphere, per flattening and sine of the azimuth at the equator:
// the integral of (2-f) / (1 + (1-f) √(1 + k² sin²σ)).
func longitudeLag(k2, sigma1, sigma2 float64) float64 {
	const n = third
	e := epsilon(k2)
	scale := 1 - e*((1./2-n/2)+e*((1./4+n/8-3./8*n*n)+e*((1./16+3./16*n+n*n/16)+e*((3./64+n/32)+e*3/128))))
	c := [6]float64{
		e * ((1./4 - n/4) + e*((1./8-n*n/8)+e*((3./64+3./64*n-n*n/64)+e*((5./128+n/64)+e*3/128)))),
		e * e * ((1./16 - 3./32*n + n*n/32) + e*((3./64-n/32-3./64*n*n)+e*((3./128+n/128)+e*5/256))),
		e * e * e * ((5./192 - 3./64*n + 5./192*n*n) + e*((3./128-5./192*n)+e*7/512)),
		e * e * e * e * ((7./512 - 7./256*n) + e*7/512),
		e * e * e * e * e * 21 / 2560,
	}
	return scale * (sigma2 - sigma1 + sines(&c, sigma2) - sines(&c, sigma1))
}

// epsilon is the number in which the series are small.
func epsilon(k2 float64) float64 {
	r := 1 + math.Sqrt(1+k2)
	return k2 / (r * r)
}

// sines is the sum of c[i-1] sin 2iσ, by Clenshaw's rule.
func sines(c *[6]float64, sigma float64) float64 {
	sin, cos := math.Sincos(sigma)
	x := 2 * (cos - sin) * (cos + sin)
	var b1, b2 float64
	for i := len(c) - 1; i >= 0; i-- {
		b1, b2 = x*b1-b2+c[i], b1
	}
	return 2 * sin * cos * b1
}
