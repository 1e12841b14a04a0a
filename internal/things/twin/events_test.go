package twin_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/twin"
	"dunlin/internal/wire/record"
)

// told is a room whose events can be read.
type told struct {
	*site
	log *memlog.Log
	box *outbox.Box
}

func openTold(tb testing.TB, db state.DB) *told {
	tb.Helper()
	log := memlog.New(memlog.Config{Partitions: 1})
	tb.Cleanup(func() { _ = log.Close() })
	quiet := slog.New(slog.DiscardHandler)
	box, err := outbox.Open(tb.Context(), outbox.Deps{DB: db, Log: log, Hub: "hub", Logger: quiet, Registerer: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	c := &connections{sent: map[iot.ID][]*iot.Inbound{}}
	r, err := twin.Open(tb.Context(), twin.Deps{
		DB: db, Deliver: c.deliver, Outbox: box, Limits: twin.StrictLimits(), Logger: quiet, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return &told{&site{r, tb, c}, log, box}
}

// event is one event of the log.
type event struct {
	id   iot.ID
	op   string
	body string
}

func (s *told) events() (list []event) {
	s.tb.Helper()
	if err := s.box.Drain(s.tb.Context()); err != nil {
		s.tb.Fatal(err)
	}
	var e record.Event
	for rec, err := range s.log.Read(s.tb.Context(), 0, eventlog.ReadOptions{}) {
		if err == nil {
			err = record.Decode(rec.Data, &e)
		}
		if err != nil {
			s.tb.Fatal(err)
		}
		if e.Origin.Source != iot.SourceTwinChange {
			s.tb.Errorf("source %v", e.Origin.Source)
		}
		out := event{id: e.Origin.ID, body: string(e.Body)}
		for _, p := range e.Properties {
			if string(p.Name) == "opType" {
				out.op = string(p.Value)
			}
		}
		list = append(list, out)
	}
	return list
}

var timeText = regexp.MustCompile(`"20[0-9-]+T[0-9:.]+Z"`)

func TestChangeEvents(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := openTold(t, db)
		d, m := key("d"), twin.Key{ID: iot.ID{Device: "d", Module: "m"}, Generation: 1}
		report := func(k twin.Key, patch string) {
			t.Helper()
			done := make(chan error)
			s.Report(k, []byte(patch), 0, func(_ int64, err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		change := func(f func(k twin.Key, body string) error, k twin.Key, body string) {
			t.Helper()
			if err := f(k, body); err != nil {
				t.Fatal(err)
			}
		}
		patch := func(k twin.Key, body string) error { _, err := s.Patch(t.Context(), k, []byte(body), nil); return err }
		replace := func(k twin.Key, body string) error {
			_, err := s.Replace(t.Context(), k, []byte(body), nil)
			return err
		}
		report(d, `{"a":{"b":1},"c":[1,{"x":2}]}`)
		report(m, `{ "a" : null }`)
		change(patch, d, `{"tags":{"site":"north"},"properties":{"desired":{"x":{"y":1}}}}`)
		change(patch, d, `{"properties":{"desired":{"x":{"z":2}}}}`)
		change(patch, d, `{"tags":null}`)
		report(d, `{}`)
		change(replace, d, `{"tags":{"t":1},"properties":{"desired":{"only":"this"}}}`)
		if err := patch(d, `{"tags":{"$bad":1}}`); err == nil {
			t.Error("a bad key was taken")
		}
		change(patch, d, `{}`)
		want := []event{
			{d.ID, "updateTwin", `{"version":3,"properties":{"reported":{"a":{"b":1},"c":[1,{"x":2}],"$metadata":{"$lastUpdated":T,"a":{"$lastUpdated":T,"b":{"$lastUpdated":T}},"c":{"$lastUpdated":T}},"$version":2}}}`},
			{m.ID, "updateTwin", `{"version":3,"properties":{"reported":{"a":null,"$metadata":{"$lastUpdated":T},"$version":2}}}`},
			{d.ID, "updateTwin", `{"version":4,"tags":{"site":"north"},"properties":{"desired":{"x":{"y":1},"$metadata":{"$lastUpdated":T,"$lastUpdatedVersion":2,"x":{"$lastUpdated":T,"$lastUpdatedVersion":2,"y":{"$lastUpdated":T,"$lastUpdatedVersion":2}}},"$version":2}}}`},
			{d.ID, "updateTwin", `{"version":5,"properties":{"desired":{"x":{"z":2},"$metadata":{"$lastUpdated":T,"$lastUpdatedVersion":3,"x":{"$lastUpdated":T,"$lastUpdatedVersion":3,"z":{"$lastUpdated":T,"$lastUpdatedVersion":3}}},"$version":3}}}`},
			{d.ID, "updateTwin", `{"version":6,"tags":{"site":null}}`},
			{d.ID, "updateTwin", `{"version":7,"properties":{"reported":{"$metadata":{"$lastUpdated":T},"$version":3}}}`},
			{d.ID, "replaceTwin", `{"deviceId":"d","etag":"AAAAAAAAAAU=","version":8,"tags":{"t":1},"properties":{"desired":{"only":"this","$metadata":{"$lastUpdated":T,"$lastUpdatedVersion":4,"only":{"$lastUpdated":T,"$lastUpdatedVersion":4}},"$version":4},` +
				`"reported":{"a":{"b":1},"c":[1,{"x":2}],"$metadata":{"$lastUpdated":T,"a":{"$lastUpdated":T,"b":{"$lastUpdated":T}},"c":{"$lastUpdated":T}},"$version":3}}}`},
		}
		have := s.events()
		for i := range have {
			if !json.Valid([]byte(have[i].body)) {
				t.Errorf("not JSON: %s", have[i].body)
			}
			have[i].body = timeText.ReplaceAllString(have[i].body, "T")
		}
		for i := range max(len(have), len(want)) {
			switch {
			case i >= len(want):
				t.Errorf("event too many: %v", have[i])
			case i >= len(have):
				t.Errorf("event missing: %v", want[i])
			case have[i] != want[i]:
				t.Errorf("event %d is\n%v, want\n%v", i, have[i], want[i])
			}
		}
	})
}

func TestModelEvent(t *testing.T) {
	s := openTold(t, statetest.SQLite(t))
	s.SetModel(key("d"), "dtmi:com:example:Fan;1")
	s.SetModel(key("d"), "dtmi:com:example:Fan;1")
	s.get(key("d"))
	want := []event{{iot.ID{Device: "d"}, "updateTwin", `{"version":3,"modelId":"dtmi:com:example:Fan;1"}`}}
	if have := s.events(); !reflect.DeepEqual(have, want) {
		t.Errorf("events %v, want %v", have, want)
	}
}

// replica is a twin as a reader of events keeps it.
type replica struct {
	version  float64
	tags     map[string]any
	sections map[string]*copied
}

type copied struct {
	values, meta map[string]any
	version      float64
}

func split(section map[string]any) *copied {
	c := &copied{values: map[string]any{}}
	for k, v := range section {
		switch k {
		case "$metadata":
			c.meta = v.(map[string]any)
		case "$version":
			c.version = v.(float64)
		default:
			c.values[k] = v
		}
	}
	return c
}

// mergeCopy merges a patch and its times.
func mergeCopy(values, meta, patch, stamps map[string]any) {
	for k, v := range stamps {
		if strings.HasPrefix(k, "$") {
			meta[k] = v
		}
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(values, k)
			delete(meta, k)
		case map[string]any:
			was, is := values[k].(map[string]any)
			if !is {
				was = map[string]any{}
				values[k], meta[k] = was, map[string]any{}
			}
			mergeCopy(was, meta[k].(map[string]any), v, stamps[k].(map[string]any))
		default:
			values[k], meta[k] = v, stamps[k]
		}
	}
}

func (r *replica) apply(t *testing.T, e event) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(e.body), &body); err != nil {
		t.Fatalf("%s: %v", e.body, err)
	}
	version := body["version"].(float64)
	if version <= r.version {
		t.Errorf("version %v comes after %v", version, r.version)
	}
	r.version = version
	properties, _ := body["properties"].(map[string]any)
	tags, _ := body["tags"].(map[string]any)
	if e.op == "replaceTwin" {
		r.tags = tags
		for _, name := range []string{"desired", "reported"} {
			r.sections[name] = split(properties[name].(map[string]any))
		}
		return
	}
	mergeCopy(r.tags, shape(r.tags), tags, shape(tags))
	for name, section := range properties {
		p, have := split(section.(map[string]any)), r.sections[name]
		mergeCopy(have.values, have.meta, p.values, p.meta)
		if p.version <= have.version {
			t.Errorf("%s has the version %v after %v", name, p.version, have.version)
		}
		have.version = p.version
	}
}

// shape stands for times where there are none.
func shape(of map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range of {
		if m, is := v.(map[string]any); is {
			out[k] = shape(m)
		}
	}
	return out
}

// TestEventsAddUp changes twins from all sides at once and follows them by
// their events alone: the copy must be the twin, times and versions included.
func TestEventsAddUp(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		s := openTold(t, db)
		for round := range 12 {
			k := key(fmt.Sprint("d", round))
			rng := rand.New(rand.NewPCG(uint64(round), uint64(time.Now().UnixNano())))
			var wait sync.WaitGroup
			for range 60 {
				wait.Add(1)
				patch := randomPatch(rng, 3)
				if rng.IntN(3) > 0 {
					s.Report(k, patch, 0, func(_ int64, err error) {
						if err != nil {
							t.Error(err)
						}
						wait.Done()
					})
					continue
				}
				body := fmt.Appendf(nil, `{"properties":{"desired":%s}}`, patch)
				switch rng.IntN(4) {
				case 0:
					body = fmt.Appendf(nil, `{"tags":%s,"properties":{"desired":%s}}`, randomPatch(rng, 3), patch)
				case 1:
					body = []byte(`{"tags":null,"properties":{"desired":null}}`)
				}
				change := s.Patch
				if rng.IntN(6) == 0 {
					change = s.Replace
				}
				go func() {
					defer wait.Done()
					if _, err := change(t.Context(), k, body, nil); err != nil {
						t.Error(err)
					}
				}()
			}
			wait.Wait()
			r := &replica{tags: map[string]any{}, sections: map[string]*copied{}}
			for _, name := range []string{"desired", "reported"} {
				r.sections[name] = &copied{values: map[string]any{}, meta: map[string]any{}, version: 1}
			}
			n := 0
			for _, e := range s.events() {
				if e.id == k.ID {
					r.apply(t, e)
					n++
				}
			}
			doc := s.get(k)
			var tags map[string]any
			var properties map[string]map[string]any
			text, err := doc.AppendProperties(nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &properties); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(doc.Tags()), &tags); err != nil {
				t.Fatal(err)
			}
			if r.version != float64(doc.Version()) || !reflect.DeepEqual(r.tags, tags) {
				t.Errorf("version %v, tags %v after %d events; the twin has %v, %v", r.version, r.tags, n, doc.Version(), tags)
			}
			for name, section := range properties {
				if want := split(section); !reflect.DeepEqual(r.sections[name], want) {
					t.Errorf("%s after %d events\n%+v, the twin has\n%+v", name, n, r.sections[name], want)
				}
			}
		}
	})
}

// randomPatch gives a patch with few keys, so that changes meet.
func randomPatch(rng *rand.Rand, depth int) []byte {
	out := []byte{'{'}
	for i, k := range []string{"a", "b", "c"} {
		if rng.IntN(2) == 0 {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = fmt.Appendf(out, `"%s":`, k)
		switch n := rng.IntN(5); {
		case n < 2 && depth > 1:
			out = append(out, randomPatch(rng, depth-1)...)
		case n == 2:
			out = append(out, "null"...)
		default:
			out = fmt.Appendf(out, "%d", 10*i+rng.IntN(10))
		}
	}
	return append(out, '}')
}
