package hub_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/registry"
)

// plainConfiguration and plainDevice are what the test believes.
type plainConfiguration struct {
	id       string
	priority int
	made     int
	target   string
	content  map[string]any // value by path
}

type plainDevice struct {
	id     string
	site   string // tag, empty without one
	level  int    // reported, 0 without one
	manual map[string]any
}

func (d *plainDevice) meets(target string) bool {
	switch target {
	case "":
		return false
	case "*":
		return true
	case "tags.site = 'north'":
		return d.site == "north"
	case "tags.site != 'north'":
		return d.site != "" && d.site != "north"
	case "properties.reported.level >= 2":
		return d.level >= 2
	case "deviceId = 'd1' OR tags.site = 'south'":
		return d.id == "d1" || d.site == "south"
	}
	panic(target)
}

var (
	plainTargets = []string{"", "*", "*", "tags.site = 'north'", "tags.site != 'north'", "properties.reported.level >= 2", "deviceId = 'd1' OR tags.site = 'south'"}
	plainPaths   = []string{"a", "a.x", "a.x.p", "a.y", "b", "c.z"}
)

// is tells what twin tells: the desired properties and the configurations.
func (d *plainDevice) is(all map[string]*plainConfiguration) string {
	var list []*plainConfiguration
	for _, c := range all {
		if d.meets(c.target) {
			list = append(list, c)
		}
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].priority != list[j].priority {
			return list[i].priority < list[j].priority
		}
		return list[i].made < list[j].made
	})
	doc := map[string]any{}
	maps.Copy(doc, d.manual)
	status := map[string]string{}
	for i, c := range list {
		status[c.id] = "Targeted"
		for _, path := range slices.SortedFunc(maps.Keys(c.content), func(a, b string) int { return len(a) - len(b) }) {
			at := doc
			names := strings.Split(path, ".")
			for _, name := range names[:len(names)-1] {
				next, ok := at[name].(map[string]any)
				if !ok {
					next = map[string]any{}
					at[name] = next
				}
				at = next
			}
			at[names[len(names)-1]] = clone(c.content[path])
			covered := false
			for _, later := range list[i+1:] {
				for other := range later.content {
					covered = covered || path == other || strings.HasPrefix(path, other+".")
				}
			}
			if !covered {
				status[c.id] = "Applied"
			}
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	s := string(b)
	for _, id := range slices.Sorted(maps.Keys(status)) {
		s += " " + id + ":" + status[id]
	}
	return s
}

func clone(v any) any {
	if m, ok := v.(map[string]any); ok {
		out := map[string]any{}
		for name, v := range m {
			out[name] = clone(v)
		}
		return out
	}
	return v
}

// TestConfigurationsAgainstModel changes configurations, tags, reports and
// identities in any order, now and then starts the room anew, and compares what
// the twins come to with a plain model.
func TestConfigurationsAgainstModel(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		rapid.Check(t, func(rt *rapid.T) {
			devices := map[string]*plainDevice{}
			confs := map[string]*plainConfiguration{}
			for i := range 3 {
				id := fmt.Sprintf("d%d", i)
				devices[id] = &plainDevice{id: id, manual: map[string]any{}}
				c.device(id, "")
			}
			made := 0
			device := rapid.SampledFrom([]string{"d0", "d1", "d2"})
			conf := rapid.SampledFrom([]string{"c0", "c1", "c2", "c3"})
			target := rapid.SampledFrom(plainTargets)
			compare := func() {
				for _, id := range slices.Sorted(maps.Keys(devices)) {
					c.becomes(iot.ID{Device: id}, devices[id].is(confs))
				}
			}
			for range rapid.IntRange(1, 20).Draw(rt, "steps") {
				switch rapid.IntRange(0, 9).Draw(rt, "what") {
				case 0, 1, 2, 3:
					p := &plainConfiguration{id: conf.Draw(rt, "id"), priority: rapid.IntRange(0, 2).Draw(rt, "priority"), target: target.Draw(rt, "target")}
					if old := confs[p.id]; old != nil {
						p.made, p.content = old.made, old.content
						c.put(p.id, int64(p.priority), p.target, "", configuration.Match{Set: true})
						confs[p.id] = p
						break
					}
					p.content = map[string]any{}
					section := map[string]any{}
					for _, path := range rapid.SliceOfNDistinct(rapid.SampledFrom(plainPaths), 1, 3, rapid.ID).Draw(rt, "paths") {
						v := rapid.SampledFrom([]any{1.0, "text", map[string]any{"x": 1.0}, map[string]any{"x": map[string]any{"p": 2.0, "q": 3.0}}, map[string]any{}}).Draw(rt, "value")
						p.content[path], section["properties.desired."+path] = v, v
					}
					b, err := json.Marshal(map[string]any{"deviceContent": section})
					if err != nil {
						rt.Fatal(err)
					}
					made++
					p.made = made
					c.put(p.id, int64(p.priority), p.target, string(b), configuration.Match{})
					confs[p.id] = p
				case 4:
					id := conf.Draw(rt, "id")
					if confs[id] != nil {
						c.drop(id)
						delete(confs, id)
					}
				case 5, 6:
					d := devices[device.Draw(rt, "device")]
					d.site = rapid.SampledFrom([]string{"", "north", "south"}).Draw(rt, "site")
					tags, _ := json.Marshal(map[string]any{"site": nil})
					if d.site != "" {
						tags, _ = json.Marshal(map[string]any{"site": d.site})
					}
					c.patch(iot.ID{Device: d.id}, `{"tags":`+string(tags)+`}`)
				case 7:
					d := devices[device.Draw(rt, "device")]
					d.level = rapid.IntRange(1, 3).Draw(rt, "level")
					c.report(iot.ID{Device: d.id}, fmt.Sprintf(`{"level":%d}`, d.level))
				case 8:
					d := devices[device.Draw(rt, "device")]
					if rapid.Bool().Draw(rt, "anew") {
						c.gone(d.id)
						c.device(d.id, "")
						*d = plainDevice{id: d.id, manual: map[string]any{}}
						break
					}
					// By hand, beside what configurations set.
					d.manual["mine"] = float64(rapid.IntRange(0, 9).Draw(rt, "value"))
					patch := fmt.Sprintf(`{"properties":{"desired":{"mine":%v}}}`, d.manual["mine"])
					c.patch(iot.ID{Device: d.id}, patch)
				case 9:
					c.stop()
					c.open()
				}
				if rapid.IntRange(0, 3).Draw(rt, "wait") == 0 {
					compare()
				}
			}
			compare()
			for id := range confs {
				c.drop(id)
				delete(confs, id)
			}
			compare()
			for id := range devices {
				c.gone(id)
			}
			becomes(c.tb, "0", func() string { return c.count("configuration") })
			becomes(c.tb, "0", func() string { return c.count("configuration_target") })
		})
	})
}

// gone deletes a device as the hub does.
func (c *configured) gone(id string) {
	c.tb.Helper()
	k := c.key(iot.ID{Device: id})
	if _, err := c.reg.DeleteDevice(c.tb.Context(), id, registry.Match{}); err != nil {
		c.tb.Fatal(err)
	}
	c.twins.Drop(k)
}

// count counts the rows of a table.
func (c *configured) count(table string) string {
	c.tb.Helper()
	var n int
	if err := c.db.Get(c.tb.Context(), []any{&n}, "SELECT count(*) FROM "+table); err != nil {
		c.tb.Fatal(err)
	}
	return fmt.Sprint(n)
}

// TestConfigurationsWhileStopped shows that nothing is missed that happens
// while nobody follows, and that a log which has lost events is noticed.
func TestConfigurationsWhileStopped(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		c.device("d", "")
		c.device("late", `{"site":"north"}`)
		c.put("c", 1, "tags.site = 'north'", `{"deviceContent":{"properties.desired.a":1}}`, configuration.Match{})
		c.becomes(iot.ID{Device: "late"}, `{"a":1} c:Applied`)
		c.stop()
		c.patch(iot.ID{Device: "d"}, `{"tags":{"site":"north"}}`)
		c.put("other", 1, "*", `{"deviceContent":{"properties.desired.b":1}}`, configuration.Match{})
		c.open()
		c.becomes(iot.ID{Device: "d"}, `{"a":1,"b":1} c:Applied other:Applied`)

		// Events that expired: what was read of the log lies behind its end.
		c.stop()
		c.patch(iot.ID{Device: "d"}, `{"tags":{"site":null}}`)
		err := db.Write(t.Context(), func(tx state.Tx) error {
			if _, err := tx.Exec(t.Context(), "DELETE FROM outbox"); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), "UPDATE configuration_place SET sequence = 1000000 WHERE part >= 0")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		c.open()
		c.becomes(iot.ID{Device: "d"}, `{"b":1} other:Applied`)
		c.becomes(iot.ID{Device: "late"}, `{"a":1,"b":1} c:Applied other:Applied`)
	})
}

// TestConfigurationRefusedByATwin shows that a change which a twin does not
// take is noted, and made as soon as it can be.
func TestConfigurationRefusedByATwin(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		id := iot.ID{Device: "d"}
		c.device("d", "")
		big := func(n int) string { return strings.Repeat("x", n) }
		fill := map[string]any{}
		for i := range 8 {
			fill[fmt.Sprint("f", i)] = big(4000)
		}
		b, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": fill}})
		if err != nil {
			t.Fatal(err)
		}
		c.patch(id, string(b))
		c.put("c", 1, "*", `{"deviceContent":{"properties.desired.f":"`+big(3000)+`"}}`, configuration.Match{})
		becomes(t, "[{\"s\":\"Targeted\"}]", func() string { return c.query("SELECT configurations.c.status AS s FROM devices") })
		c.patch(id, `{"properties":{"desired":{"f0":null,"f":1}}}`)
		becomes(t, "[{\"s\":\"Applied\"}]", func() string { return c.query("SELECT configurations.c.status AS s FROM devices") })
	})
}

// BenchmarkConfigurations applies a configuration to 10,000 devices.
func BenchmarkConfigurations(b *testing.B) {
	const devices = 10_000
	for _, engine := range []struct {
		name string
		open func(tb testing.TB) state.DB
	}{
		{"sqlite", func(tb testing.TB) state.DB { return statetest.SQLite(tb) }},
		{"postgres", func(tb testing.TB) state.DB { return statetest.Postgres(tb) }},
	} {
		b.Run(engine.name, func(b *testing.B) {
			c := openConfigured(b, engine.open(b))
			ids := make([]string, devices)
			for i := range ids {
				ids[i] = fmt.Sprintf("device-%05d", i)
			}
			for from := 0; from < devices; from += registry.ImportBatch {
				if _, err := c.reg.Import(b.Context(), ids[from:min(devices, from+registry.ImportBatch)], nil, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
			count := func(query string) func() string {
				return func() string {
					var n int
					if err := c.db.Get(b.Context(), []any{&n}, query); err != nil {
						b.Fatal(err)
					}
					return fmt.Sprint(n)
				}
			}
			b.ResetTimer()
			for range b.N {
				c.put("c", 1, "*", `{"deviceContent":{"properties.desired.a":1}}`, configuration.Match{})
				becomesWithin(b, 60*time.Second, fmt.Sprint(devices), count("SELECT count(*) FROM configuration_target WHERE status = 1"))
				b.StopTimer()
				b.ReportMetric(float64(devices)*float64(b.N)/b.Elapsed().Seconds(), "devices/s")
				c.drop("c")
				becomesWithin(b, 60*time.Second, "0", count("SELECT count(*) FROM configuration"))
				b.StartTimer()
			}
		})
	}
}
