package scalar

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestDistances has distances that others have published: the sample of the
// language's documentation, and those of the test suites of GeographicLib.
func TestDistances(t *testing.T) {
	for _, c := range []struct{ lat1, lon1, lat2, lon2, want, within float64 }{
		// The documentation's figure is a millimetre longer than the geodesic.
		{0, 0, -5, -5, 784028.74077501823, 1e-3},
		{35.60777, -139.44815, -11.17491, -69.95921, 8935244.5604818305, 1e-7},
		{55.52454, 106.05087, 77.03196, 197.18234, 4105086.1713924406, 1e-7},
		{-21.97856, 142.59065, 41.84138, 98.56635, 8394328.894657671, 1e-7},
		{-66.99028, 112.2363, -12.70631, 285.90344, 11150344.2312080241, 1e-7},
		{-17.42761, 173.34268, -15.84784, 5.93557, 16076603.1631180673, 1e-7},
		{32.84994, 48.28919, -56.28556, 202.29132, 16727068.9438164461, 1e-7},
		{6.96833, 52.74123, -7.39675, 206.17291, 17102477.2496958388, 1e-7},
		{-50.56724, -16.30485, -33.56571, -94.97412, 6455670.5118668696, 1e-7},
		{-68.82867, -74.28391, -50.63005, -8.36685, 3956936.926063544, 1e-7},
		{-87.85331, 85.66836, 66.48646, 16.09921, 17286615.3147144645, 1e-7},
		{1.74708, 128.32011, -11.16617, 11.87109, 12942901.1241347408, 1e-7},
		{-25.72959, -144.90758, -57.70581, -269.17879, 9413446.7452453107, 1e-7},
		{-41.22777, 122.32875, -7.57291, 130.37946, 3812686.035106021, 1e-7},
		{-29.47124, 95.14681, -27.46601, -69.15955, 13487015.8381145492, 1e-7},
		{40.6, -73.8, 49.01666667, 2.55, 5853226, 0.5},
		{36.493349428792, 0, 36.49334942879201, 0.0000008, 0.072, 0.5e-3},
		// Near the opposite point.
		{88.202499451857, 0, -88.202499451857, 179.981022032992859592, 20003898.214, 0.5e-3},
		{89.262080389218, 0, -89.262080389218, 179.992207982775375662, 20003925.854, 0.5e-3},
		{89.333123580033, 0, -89.333123580032997687, 179.99295812360148422, 20003926.881, 0.5e-3},
		{56.320923501171, 0, -56.320923501171, 179.664747671772880215, 19993558.287, 0.5e-3},
		{52.784459512564, 0, -52.784459512563990912, 179.634407464943777557, 19991596.095, 0.5e-3},
		{48.522876735459, 0, -48.52287673545898293, 179.599720456223079643, 19989144.774, 0.5e-3},
		{0, 539, 0, 181, 222639, 0.5},
		{0, 0, 0, 179, 19926188.852, 0.5e-3},
		{0, 0, 0, 179.5, 19980862, 0.5},
		{0, 0, 0, 180, 20003931.459, 0.5e-3},
		{0, 0, 1, 180, 19893357, 0.5},
		{90, 0, -90, 77, 20003931.459, 0.5e-3},
		{90, 12, 90, 100, 0, 1e-9},
		{12, 34, 12, 34, 0, 0},
		{12, 34, 12, 394, 0, 0},
	} {
		for _, d := range []float64{
			geodesicDistance(c.lat1, c.lon1, c.lat2, c.lon2), geodesicDistance(c.lat2, c.lon2, c.lat1, c.lon1),
			geodesicDistance(-c.lat1, c.lon1, -c.lat2, c.lon2), geodesicDistance(c.lat1, -c.lon1, c.lat2, -c.lon2),
		} {
			if !(math.Abs(d-c.want) <= c.within) {
				t.Errorf("%v,%v to %v,%v: %.9f, want %.9f (%g)", c.lat1, c.lon1, c.lat2, c.lon2, d, c.want, d-c.want)
			}
		}
	}
}

// TestSeries holds the series against the integrals that they stand for.
func TestSeries(t *testing.T) {
	integral := func(f func(float64) float64, a, b float64) (sum float64) {
		const n = 2000 // Simpson's rule
		h := (b - a) / n
		for i := range n + 1 {
			w := 2.0
			if i%2 == 1 {
				w = 4
			}
			if i == 0 || i == n {
				w = 1
			}
			sum += w * f(a+float64(i)*h)
		}
		return sum * h / 3
	}
	for _, k2 := range []float64{0, 1e-5, second2 / 3, second2} {
		for _, s := range [][2]float64{{-0.3, 1}, {-2, 1.4}, {-1.5, -1.2}, {-3.1, 0.1}} {
			root := func(x float64) float64 { return math.Sqrt(1 + k2*math.Sin(x)*math.Sin(x)) }
			want := integral(root, s[0], s[1])
			if got := arcLength(k2, s[0], s[1]); math.Abs(got-want) > 2e-15*math.Pi*2 {
				t.Errorf("length for %v, %v: %v, want %v", k2, s, got, want)
			}
			want = integral(func(x float64) float64 { return (2 - flattening) / (1 + (1-flattening)*root(x)) }, s[0], s[1])
			if got := longitudeLag(k2, s[0], s[1]); math.Abs(got-want) > 1e-13 {
				t.Errorf("longitude for %v, %v: %v, want %v", k2, s, got, want)
			}
		}
	}
}

// walk goes along the geodesic that leaves a point: its equations, step by
// step. It shares nothing with the code.
func walk(lat, lon, azimuth, metres float64) (lat2, lon2 float64) {
	const steps = 4000
	rad := math.Pi / 180
	y := [3]float64{lat * rad, lon * rad, azimuth * rad}
	h := metres / steps
	slope := func(y [3]float64) [3]float64 {
		sin, cos := math.Sincos(y[0])
		w := 1 - eccentricity2*sin*sin
		across := equatorRadius / math.Sqrt(w)
		along := equatorRadius * (1 - eccentricity2) / (w * math.Sqrt(w))
		sa, ca := math.Sincos(y[2])
		return [3]float64{ca / along, sa / (across * cos), sa * sin / cos / across}
	}
	plus := func(y, d [3]float64, h float64) [3]float64 {
		for i := range y {
			y[i] += d[i] * h
		}
		return y
	}
	for range steps {
		a := slope(y)
		b := slope(plus(y, a, h/2))
		c := slope(plus(y, b, h/2))
		d := slope(plus(y, c, h))
		for i := range y {
			y[i] += h / 6 * (a[i] + 2*b[i] + 2*c[i] + d[i])
		}
	}
	return y[0] / rad, y[1] / rad
}

// TestWalk: the distance to where a geodesic leads is its length.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lat := rapid.Float64Range(-60, 60).Draw(t, "lat")
		azimuth := rapid.Float64Range(-180, 180).Draw(t, "azimuth")
		metres := rapid.Float64Range(0, 1.9e7).Draw(t, "metres")
		lat2, lon2 := walk(lat, 10, azimuth, metres)
		if math.Abs(lat2) > 80 {
			t.Skip("the equations are steep at the poles")
		}
		// A line that comes near a pole on its way is not walked exactly.
		top := math.Acos(math.Abs(math.Sin(azimuth*math.Pi/180))*math.Cos(lat*math.Pi/180)) * 180 / math.Pi
		if top > 80 {
			t.Skip("near a pole")
		}
		if d := geodesicDistance(lat, 10, lat2, lon2); math.Abs(d-metres) > 1e-3 {
			t.Fatalf("%v metres from %v to %v: %v, want %v", azimuth, lat, lat2, d, metres)
		}
	})
}

// TestMetric: distances are symmetric, keep to the triangle and to the length
// of half a meridian. Points are drawn near the opposite of each other, too.
func TestMetric(t *testing.T) {
	lat, lon := rapid.Float64Range(-90, 90), rapid.Float64Range(-180, 180)
	small := rapid.Float64Range(-0.7, 0.7)
	rapid.Check(t, func(t *rapid.T) {
		a1, o1, a2, o2 := lat.Draw(t, "lat1"), lon.Draw(t, "lon1"), lat.Draw(t, "lat2"), lon.Draw(t, "lon2")
		if e := rapid.IntRange(-60, 12).Draw(t, "exponent"); e < -1 {
			a1 *= math.Pow(10, float64(e)/3)
		}
		switch rapid.IntRange(0, 3).Draw(t, "near") {
		case 0:
			a2, o2 = max(-90, min(90, -a1+small.Draw(t, "dlat"))), o1+180+small.Draw(t, "dlon")
		case 1:
			a2, o2 = -a1, o1+180+small.Draw(t, "dlon")
		case 2:
			a2, o2 = max(-90, min(90, a1+small.Draw(t, "dlat")/1000)), o1+small.Draw(t, "dlon")/1000
		}
		a3, o3 := lat.Draw(t, "lat3"), lon.Draw(t, "lon3")
		d := geodesicDistance(a1, o1, a2, o2)
		if back := geodesicDistance(a2, o2, a1, o1); math.Abs(d-back) > 1e-6 {
			t.Fatalf("there %.9f, back %.9f", d, back)
		}
		if d < 0 || d > 20003931.4587 {
			t.Fatalf("%.9f is no distance on Earth", d)
		}
		by := geodesicDistance(a1, o1, a3, o3) + geodesicDistance(a3, o3, a2, o2)
		if d > by+1e-6 {
			t.Fatalf("%.9f is longer than the way by a third point, %.9f", d, by)
		}
		// A point between them, close to the first, is the sharpest triangle.
		a4, o4 := max(-90, min(90, a1+small.Draw(t, "dlat4"))), o1+small.Draw(t, "dlon4")
		if by := geodesicDistance(a1, o1, a4, o4) + geodesicDistance(a4, o4, a2, o2); d > by+1e-6 {
			t.Fatalf("%.9f is longer than the way by a near point, %.9f", d, by)
		}
	})
}

func BenchmarkDistance(b *testing.B) {
	for _, c := range []struct {
		name                   string
		lat1, lon1, lat2, lon2 float64
	}{{"near", 48.1, 11.5, 48.2, 11.7}, {"far", 35.60777, -139.44815, -11.17491, -69.95921}, {"opposite", 56.320923501171, 0, -56.320923501171, 179.664747671772880215}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				geodesicDistance(c.lat1, c.lon1, c.lat2, c.lon2)
			}
		})
	}
}
