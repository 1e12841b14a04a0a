package twin_test

import (
	"regexp"
	"strings"
	"testing"

	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// moments blanks the times that differ from run to run.
var moments = regexp.MustCompile(`"lastUpdateTime":"2[^"]*"`)

func (s *site) digital(k twin.Key) string {
	s.tb.Helper()
	b, err := s.get(k).AppendDigital(nil)
	if err != nil {
		s.tb.Fatal(err)
	}
	return moments.ReplaceAllString(string(b), `"lastUpdateTime":"-"`)
}

func (s *site) reported(k twin.Key, patch string) {
	s.tb.Helper()
	if _, err := s.report(k, patch, 0); err != nil {
		s.tb.Fatal(err)
	}
}

// TestDigitalView holds the view of a digital twin to the documented one.
func TestDigitalView(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		if have := s.digital(k); have != `{"$dtId":"d","$metadata":{"$model":""}}` {
			t.Error(have)
		}
		s.SetModel(k, "dtmi:com:example:TemperatureController;1")
		s.patch(k, `{"properties":{"desired":{"thermostat1":{"__t":"c","targetTemperature":20.4},"thermostat2":{"__t":"c","targetTemperature":7},"interval":5}}}`)
		s.reported(k, `{"serialNumber":"alwinexlepaho8329","thermostat1":{"__t":"c","maxTempSinceLastReboot":25.30,
			"targetTemperature":{"value":20.4,"ac":200,"av":2,"ad":"ok"}},"box":{"w":1,"h":{"value":2}},"interval":{"value":5,"ac":202,"av":2},"only":{"value":1}}`)
		want := `{"$dtId":"d","serialNumber":"alwinexlepaho8329",` +
			`"thermostat1":{"maxTempSinceLastReboot":25.30,"targetTemperature":20.4,"$metadata":{"maxTempSinceLastReboot":{"lastUpdateTime":"-"},` +
			`"targetTemperature":{"desiredValue":20.4,"desiredVersion":2,"ackVersion":2,"ackCode":200,"ackDescription":"ok","lastUpdateTime":"-"}}},` +
			`"box":{"w":1,"h":{"value":2}},"interval":5,"only":{"value":1},` +
			`"thermostat2":{"$metadata":{"targetTemperature":{"desiredValue":7,"desiredVersion":2}}},` +
			`"$metadata":{"$model":"dtmi:com:example:TemperatureController;1","serialNumber":{"lastUpdateTime":"-"},"box":{"lastUpdateTime":"-"},` +
			`"interval":{"desiredValue":5,"desiredVersion":2,"ackVersion":2,"ackCode":202,"lastUpdateTime":"-"},"only":{"lastUpdateTime":"-"}}}`
		if have := s.digital(k); have != want {
			t.Errorf("have %s\nwant %s", have, want)
		}
		m := twin.Key{ID: iot.ID{Device: "d", Module: "m"}, Generation: 1}
		if have := s.digital(m); !strings.HasPrefix(have, `{"$dtId":"d~m",`) {
			t.Error(have)
		}
	})
}

// TestDigitalPatch applies patches one after the other to one twin, and checks
// what becomes of the desired properties and what the device is told.
func TestDigitalPatch(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		s.reported(k, `{"box":{"w":1},"pump":{"__t":"c","rate":3},"plain":1}`)
		for i, c := range []struct{ patch, desired, told string }{
			{`[{"op":"add","path":"/target","value":21.0}]`, `{"target":21.0}`, `{"target":21.0,"$version":2}`},
			{`[]`, `{"target":21.0}`, ``},
			// An equal value is written all the same: the device is to answer it.
			{`[{"op":"replace","path":"/target","value":21.0}]`, `{"target":21.0}`, `{"target":21.0,"$version":3}`},
			{`[{"op":"add","path":"/t1/target","value":1}]`, `{"target":21.0,"t1":{"__t":"c","target":1}}`, `{"t1":{"__t":"c","target":1},"$version":4}`},
			{
				`[{"op":"replace","path":"/t1/target","value":{"a":{"x":1},"b":2}}]`, `{"target":21.0,"t1":{"__t":"c","target":{"a":{"x":1},"b":2}}}`,
				`{"t1":{"target":{"a":{"x":1},"b":2}},"$version":5}`,
			},
			// What takes the place of an object takes all of it.
			{
				`[{"op":"replace","path":"/t1/target","value":{"a":{"y":[1, null]}}}]`, `{"target":21.0,"t1":{"__t":"c","target":{"a":{"y":[1,null]}}}}`,
				`{"t1":{"target":{"a":{"y":[1,null],"x":null},"b":null}},"$version":6}`,
			},
			{
				`[{"op":"add","path":"/t1/target/c","value":"é"},{"op":"remove","path":"/t1/target/a/y"}]`, `{"target":21.0,"t1":{"__t":"c","target":{"a":{},"c":"é"}}}`,
				`{"t1":{"target":{"a":{"y":null},"c":"é"}},"$version":7}`,
			},
			{
				`[{"op":"add","path":"/t2","value":{"p":1,"$metadata":{}}},{"op":"remove","path":"/t1"},{"op":"remove","path":"/target"}]`,
				`{"t2":{"__t":"c","p":1}}`, `{"t2":{"__t":"c","p":1},"target":null,"t1":null,"$version":8}`,
			},
			{`[{"op":"replace","path":"/t2","value":{"$metadata":{"x":1},"q":2}}]`, `{"t2":{"__t":"c","q":2}}`, `{"t2":{"__t":"c","q":2,"p":null},"$version":9}`},
			{`[{"op":"remove","path":"/t2"},{"op":"add","path":"/t2/r","value":true}]`, `{"t2":{"__t":"c","r":true}}`, `{"t2":{"__t":"c","r":true,"q":null},"$version":10}`},
			{`[{"op":"replace","path":"/pump/rate","value":4}]`, `{"t2":{"__t":"c","r":true},"pump":{"__t":"c","rate":4}}`, `{"pump":{"__t":"c","rate":4},"$version":11}`},
			{`[{"op":"add","path":"/box/h","value":4},{"op":"remove","path":"/pump"}]`, `{"t2":{"__t":"c","r":true},"box":{"h":4}}`, `{"box":{"h":4},"pump":null,"$version":12}`},
			{`[{"op":"add","path":"/x~1y~0","value":{"o":1}},{"op":"remove","path":"/t2"}]`, `{"box":{"h":4},"x/y~":{"o":1}}`, `{"x/y~":{"o":1},"t2":null,"$version":13}`},
			{`[{"op":"add","path":"/x~1y~0/p","value":2},{"op":"remove","path":"/x~1y~0/p"}]`, `{"box":{"h":4},"x/y~":{"o":1}}`, ``},
		} {
			before := len(s.conns.of(k.ID))
			d, err := s.PatchDigital(t.Context(), k, []byte(c.patch), nil)
			if err != nil {
				t.Fatalf("%d: %s: %v", i, c.patch, err)
			}
			if d.Desired() != c.desired {
				t.Errorf("%d: %s\nhave %s\nwant %s", i, c.patch, d.Desired(), c.desired)
			}
			told := strings.Join(s.conns.of(k.ID)[before:], " ")
			if told != c.told {
				t.Errorf("%d: %s: the device is told %s, want %s", i, c.patch, told, c.told)
			}
		}
	})
}

func TestDigitalPatchRefuses(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		s.reported(k, `{"box":{"w":1},"pump":{"__t":"c","rate":3},"plain":1}`)
		before := s.patch(k, `{"properties":{"desired":{"t":{"__t":"c","p":1},"n":1}}}`)
		const json, payload, patch, path = iot.InvalidDigitalTwinJSONPatch, iot.InvalidDigitalTwinPayload, iot.InvalidDigitalTwinPatch, iot.InvalidDigitalTwinPatchPath
		for _, c := range []struct {
			patch string
			code  iot.Code
			word  string
		}{
			{``, json, "JSON patch"},
			{`{}`, json, "array"},
			{`null`, json, "null"},
			{`[1]`, json, "array"},
			{`[`, json, "JSON"},
			{`[{"op":"add","value":1}]`, json, "path"},
			{`[{"op":"add","path":"/a"}]`, json, "value"},
			{`[{"op":"frob","path":"/a","value":1}]`, json, "frob"},
			{`[{"op":"test","path":"/n","value":1}]`, json, "test"},
			{`[{"path":"/a","value":1}]`, json, "unknown"},
			{`[{"op":"add","path":"/a","value":null}]`, payload, "remove"},
			{`[{"op":"add","path":"/t","value":{"p":2}}]`, payload, "$metadata"},
			{`[{"op":"replace","path":"/pump","value":5}]`, payload, "component"},
			{`[{"op":"add","path":"/a","value":{"$x":1}}]`, payload, "key"},
			{`[{"op":"add","path":"/a","value":9007199254740993}]`, payload, "outside"},
			{`[{"op":"add","path":"/a","value":"` + strings.Repeat("x", 5000) + `"}]`, payload, "4096"},
			{`[{"op":"add","path":"/a","value":{"b":1,"b":2}}]`, payload, "twice"},
			{`[{"op":"add","path":"/a","value":1},{"op":"remove","path":"/b"}]`, patch, "operation 1"},
			{`[{"op":"replace","path":"/nothing","value":1}]`, patch, "add"},
			{`[{"op":"replace","path":"/t/nothing","value":1}]`, patch, "add"},
			{`[{"op":"remove","path":"/pump/rate"}]`, patch, "remove"},
			{`[{"op":"add","path":"","value":1}]`, path, "slash"},
			{`[{"op":"add","path":"a","value":1}]`, path, "slash"},
			{`[{"op":"add","path":"/","value":1}]`, path, "empty"},
			{`[{"op":"add","path":"/$metadata/x","value":1}]`, path, "names"},
			{`[{"op":"add","path":"/t/__t","value":"x"}]`, path, "__t"},
			{`[{"op":"add","path":"/a~2b","value":1}]`, path, "tilde"},
			{`[{"op":"add","path":"/a~","value":1}]`, path, "tilde"},
			{`[{"op":"add","path":"/n/x","value":1}]`, path, "no component"},
			{`[{"op":"add","path":"/plain/x","value":1}]`, path, "no component"},
			{`[{"op":"add","path":"/t/p/x","value":1}]`, path, "no component"},
			{`[{"op":"add","path":"/a/b/c/d/e/f/g/h/i/j/k/l","value":1}]`, path, "deep"},
			{`[{"op":"add","path":"/big","value":{"a":` + `["` + strings.Repeat(strings.Repeat("x", 4000)+`","`, 9) + `"]}}]`, iot.ArgumentInvalid, "too large"},
			{`[` + strings.Repeat(`{"op":"add","path":"/a","value":1},`, 256) + `{"op":"add","path":"/a","value":1}]`, json, "256"},
		} {
			_, err := s.PatchDigital(t.Context(), k, []byte(c.patch), nil)
			if iot.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%.120s: %v, want %v with %q", c.patch, err, c.code.Name(), c.word)
			}
		}
		stale := "AAAAAAAAAAE="
		if _, err := s.PatchDigital(t.Context(), k, []byte(`[]`), &stale); iot.CodeOf(err) != iot.PreconditionFailed {
			t.Errorf("a stale ETag: %v", err)
		}
		if d := s.get(k); d.Version() != before.Version() || len(s.conns.of(k.ID)) != 1 {
			t.Errorf("refused patches have changed the twin: %d, %d", d.Version(), before.Version())
		}
		etag := before.ETag()
		d, err := s.PatchDigital(t.Context(), k, []byte(`[{"op":"add","path":"/n","value":2}]`), &etag)
		if err != nil || d.ETag() == etag {
			t.Errorf("%v, ETag %s", err, d.ETag())
		}
	})
}
