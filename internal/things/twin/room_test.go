package twin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
)

// connections stands for the live connections: it notes what they are handed.
type connections struct {
	mu   sync.Mutex
	sent map[iot.ID][]*iot.Inbound
}

func (c *connections) deliver(id iot.ID, in *iot.Inbound) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent[id] = append(c.sent[id], in)
	return true
}

// of gives the changes that an identity was handed.
func (c *connections) of(id iot.ID) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, in := range c.sent[id] {
		out = append(out, string(in.Patch))
	}
	return out
}

type site struct {
	*twin.Room
	tb    testing.TB
	conns *connections
}

func open(tb testing.TB, db state.DB, limits twin.Limits) *site {
	tb.Helper()
	c := &connections{sent: map[iot.ID][]*iot.Inbound{}}
	r, err := twin.Open(tb.Context(), twin.Deps{
		DB: db, Deliver: c.deliver, Limits: limits, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &site{r, tb, c}
}

func each(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	statetest.Each(t, func(t *testing.T, db state.DB) { test(t, open(t, db, twin.StrictLimits())) })
}

func key(device string) twin.Key { return twin.Key{ID: iot.ID{Device: device}, Generation: 1} }

func (s *site) get(k twin.Key) twin.Doc {
	s.tb.Helper()
	d, err := s.Get(s.tb.Context(), k)
	if err != nil {
		s.tb.Fatal(err)
	}
	return d
}

func (s *site) patch(k twin.Key, body string) twin.Doc {
	s.tb.Helper()
	d, err := s.Patch(s.tb.Context(), k, []byte(body), nil)
	if err != nil {
		s.tb.Fatalf("patch %.200s: %v", body, err)
	}
	return d
}

func (s *site) replace(k twin.Key, body string) twin.Doc {
	s.tb.Helper()
	d, err := s.Replace(s.tb.Context(), k, []byte(body), nil)
	if err != nil {
		s.tb.Fatalf("replace %.200s: %v", body, err)
	}
	return d
}

func (s *site) report(k twin.Key, patch string, ifVersion int64) (int64, error) {
	s.tb.Helper()
	type answer struct {
		version int64
		err     error
	}
	c := make(chan answer, 1)
	s.Report(k, []byte(patch), ifVersion, func(v int64, err error) { c <- answer{v, err} })
	a := <-c
	return a.version, a.err
}

func (s *site) view(k twin.Key) string {
	s.tb.Helper()
	c := make(chan string, 1)
	s.View(k, func(doc []byte, err error) {
		if err != nil {
			doc = []byte(err.Error())
		}
		c <- string(doc)
	})
	return <-c
}

func (s *site) want(what, have, want string) {
	s.tb.Helper()
	if have != want {
		s.tb.Errorf("%s:\n have %s\n want %s", what, have, want)
	}
}

func (s *site) refused(what string, err error, code iot.Code, words ...string) {
	s.tb.Helper()
	if iot.CodeOf(err) != code {
		s.tb.Errorf("%s: error %v, want the code %s", what, err, code.Name())
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			s.tb.Errorf("%s: %q is not in %q", what, w, err)
		}
	}
}

func TestNewTwin(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		d := s.get(key("d"))
		if d.ETag() != "AAAAAAAAAAE=" || d.Version() != 2 || d.DesiredVersion() != 1 || d.ReportedVersion() != 1 {
			t.Errorf("a new twin is %+v", d)
		}
		p, err := d.AppendProperties(nil)
		if err != nil {
			t.Fatal(err)
		}
		const empty = `{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}`
		s.want("properties", string(p), `{"desired":`+empty+`,"reported":`+empty+`}`)
		s.want("view", s.view(key("d")), `{"desired":{"$version":1},"reported":{"$version":1}}`)
	})
}

func TestTwinLife(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		d := s.patch(k, `{"deviceId":"d","etag":"x","version":7,"tags":{"site":{"floor":3}},"properties":{"desired":{"interval":1.50,"mode":"a","$version":99,"$metadata":{"x":1}},"reported":{"no":1}}}`)
		if d.Version() != 3 || d.ETag() != "AAAAAAAAAAI=" || d.DesiredVersion() != 2 || d.ReportedVersion() != 1 {
			t.Errorf("version %d, etag %s, desired %d, reported %d", d.Version(), d.ETag(), d.DesiredVersion(), d.ReportedVersion())
		}
		s.want("tags", d.Tags(), `{"site":{"floor":3}}`)
		s.want("desired keeps the text of numbers", d.Desired(), `{"interval":1.50,"mode":"a"}`)
		s.want("reported is the device's", d.Reported(), `{}`)

		v, err := s.report(k, ` {"temp" : 21.0, "net":{"ip":"10.0.0.1","list":[1, null, {"a": 2}]}} `, 0)
		if v != 2 || err != nil {
			t.Errorf("reported %d, %v", v, err)
		}
		d = s.get(k)
		s.want("reported", d.Reported(), `{"temp":21.0,"net":{"ip":"10.0.0.1","list":[1,null,{"a":2}]}}`)
		if d.Version() != 4 || d.ETag() != "AAAAAAAAAAI=" {
			t.Errorf("a report made version %d and etag %s", d.Version(), d.ETag())
		}
		_, err = s.report(k, `{"temp":1}`, 1)
		s.refused("old version", err, iot.PreconditionFailed, "version 2")
		_, err = s.report(k, `{"temp":1}`, -1)
		s.refused("no version", err, iot.PreconditionFailed)
		if v, err = s.report(k, `{"temp":null,"gone":null,"net":{"ip":null,"up":true},"e":{}}`, 2); v != 3 || err != nil {
			t.Errorf("reported %d, %v", v, err)
		}
		s.want("view", s.view(k), `{"desired":{"interval":1.50,"mode":"a","$version":2},"reported":{"net":{"list":[1,null,{"a":2}],"up":true},"e":{},"$version":3}}`)

		etag := "AAAAAAAAAAE="
		_, err = s.Patch(t.Context(), k, []byte(`{"tags":null}`), &etag)
		s.refused("stale etag", err, iot.PreconditionFailed, "ETag")
		etag = "AAAAAAAAAAI="
		if d, err = s.Patch(t.Context(), k, []byte(`{"tags":null}`), &etag); err != nil || d.Tags() != "{}" || d.ETag() != "AAAAAAAAAAM=" || d.DesiredVersion() != 2 {
			t.Errorf("clear tags: %+v, %v", d, err)
		}
		d = s.replace(k, `{"properties":{"desired":{"mode":{"x":1,"y":null}}}}`)
		s.want("replaced", d.Desired(), `{"mode":{"x":1}}`)
		d = s.patch(k, `{"properties":{"desired":{"a":{"b":null},"l":[{"x":null}]}}}`)
		s.want("null in what is new", d.Desired(), `{"mode":{"x":1},"a":{},"l":[{"x":null}]}`)
		d = s.patch(k, `{"properties":{"desired":null}}`)
		s.want("cleared", d.Desired(), `{}`)
		d = s.patch(k, `{"properties":{"desired":{}}}`)
		if d.DesiredVersion() != 6 {
			t.Errorf("desired version %d, want 6", d.DesiredVersion())
		}
		if same := s.patch(k, `{"status":"x"}`); same.Version() != d.Version() {
			t.Error("a body without a section made a version")
		}
		have := strings.Join(s.conns.of(k.ID), "\n")
		s.want("what the device was told", have, `{"interval":1.50,"mode":"a","$version":2}
{"mode":{"x":1},"$version":3}
{"a":{"b":null},"l":[{"x":null}],"$version":4}
{"mode":null,"a":null,"l":null,"$version":5}
{"$version":6}`)
	})
}

// metadata mirrors the tree: what a change does not touch keeps its time and
// version.
func TestMetadata(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		k := key("d")
		s.patch(k, `{"properties":{"desired":{"a":{"x":1,"y":[1,{"q":2}]},"b\"c":true}}}`)
		first := s.patch(k, `{"tags":{"t":1}}`)
		s.patch(k, `{"properties":{"desired":{"a":{"x":1}}}}`)
		if _, err := s.report(k, `{"r":{"v":1}}`, 0); err != nil {
			t.Fatal(err)
		}
		d := s.get(k)
		p, err := d.AppendProperties(nil)
		if err != nil {
			t.Fatal(err)
		}
		type meta = map[string]any
		var have struct{ Desired, Reported map[string]any }
		if err := json.Unmarshal(p, &have); err != nil {
			t.Fatalf("%v: %s", err, p)
		}
		at := func(m any, path ...string) meta {
			for _, key := range path {
				m = m.(meta)[key]
			}
			if m == nil {
				t.Fatalf("no metadata at %v: %s", path, p)
			}
			return m.(meta)
		}
		root := at(have.Desired, "$metadata")
		for _, c := range []struct {
			m       meta
			version float64
		}{{root, 3}, {at(root, "a"), 3}, {at(root, "a", "x"), 3}, {at(root, "a", "y"), 2}, {at(root, `b"c`), 2}} {
			if c.m["$lastUpdatedVersion"] != c.version || len(fmt.Sprint(c.m["$lastUpdated"])) != len("2006-01-02T15:04:05.0000000Z") {
				t.Errorf("metadata %v, want version %v", c.m, c.version)
			}
		}
		if root["$lastUpdated"] != at(root, "a", "x")["$lastUpdated"] || root["$lastUpdated"] == at(root, "a", "y")["$lastUpdated"] {
			t.Errorf("times of %s", p)
		}
		leaf := at(have.Reported, "$metadata", "r", "v")
		if _, ok := leaf["$lastUpdatedVersion"]; ok || leaf["$lastUpdated"] == nil {
			t.Errorf("metadata of reported: %v", leaf)
		}
		if first.DesiredVersion() != 2 || have.Desired["$version"] != 3.0 || have.Reported["$version"] != 2.0 {
			t.Errorf("versions of %s", p)
		}
	})
}

// TestGenerations shows that a device that was made anew never sees the twin
// of its predecessor, in whatever order deletion and use come.
func TestGenerations(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := open(t, db, twin.StrictLimits())
		old, young := twin.Key{ID: iot.ID{Device: "d", Module: "m"}, Generation: 5}, twin.Key{ID: iot.ID{Device: "d", Module: "m"}, Generation: 6}
		s.patch(old, `{"tags":{"a":1}}`)
		s.want("before its first change", s.get(young).Tags(), "{}")
		s.want("the old one is still there", s.get(old).Tags(), `{"a":1}`)
		s.patch(young, `{"tags":{"b":1}}`)
		_, err := s.Get(t.Context(), old)
		s.refused("the old one", err, iot.ModuleNotFound)
		s.Drop(old)
		s.want("the new one", s.get(young).Tags(), `{"b":1}`)
		s.Drop(young)
		_, err = s.report(young, `{"x":1}`, 0)
		s.refused("after deletion", err, iot.ModuleNotFound)
		again := twin.Key{ID: young.ID, Generation: 7}
		s.want("made again", s.view(again), `{"desired":{"$version":1},"reported":{"$version":1}}`)
		if v, err := s.report(again, `{"x":1}`, 1); v != 2 || err != nil {
			t.Errorf("reported %d, %v", v, err)
		}
		// Another room on the same store sees what is stored.
		other := open(t, db, twin.StrictLimits())
		s.want("stored", other.view(again), `{"desired":{"$version":1},"reported":{"x":1,"$version":2}}`)
		_, err = other.Get(t.Context(), young)
		other.refused("stored", err, iot.ModuleNotFound)
	})
}

// TestReportsKeepTheirOrder sends many changes of many twins at once.
func TestReportsKeepTheirOrder(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		const devices, reports = 20, 50
		var wait sync.WaitGroup
		var mu sync.Mutex
		versions := map[int][]int64{}
		for i := range reports {
			for d := range devices {
				wait.Add(1)
				s.Report(key(fmt.Sprint("d", d)), fmt.Appendf(nil, `{"n":%d,"k%d":1}`, i, i%7), 0, func(v int64, err error) {
					defer wait.Done()
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						t.Error(err)
					}
					versions[d] = append(versions[d], v)
				})
			}
		}
		wait.Wait()
		for d := range devices {
			for i, v := range versions[d] {
				if v != int64(i+2) {
					t.Fatalf("device %d was answered %v", d, versions[d])
				}
			}
			doc := s.get(key(fmt.Sprint("d", d)))
			s.want("reported", doc.Reported(), `{"n":49,"k0":1,"k1":1,"k2":1,"k3":1,"k4":1,"k5":1,"k6":1}`)
			if doc.Version() != reports+2 || doc.ReportedVersion() != reports+1 {
				t.Errorf("version %d, reported %d", doc.Version(), doc.ReportedVersion())
			}
		}
	})
}
