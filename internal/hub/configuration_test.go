package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
)

// configured is a hub as far as configurations need it.
type configured struct {
	tb    testing.TB
	db    state.DB
	log   *memlog.Log
	box   *outbox.Box
	reg   *registry.Registry
	twins *twin.Room
	room  *configuration.Room
	end   func()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openConfigured(tb testing.TB, db state.DB) *configured {
	tb.Helper()
	c := &configured{tb: tb, db: db, log: memlog.New(memlog.Config{Partitions: 2})}
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	policies, err := access.Open(tb.Context(), db, access.NewHosts("hub.example"))
	check(err)
	c.box, err = outbox.Open(tb.Context(), outbox.Deps{DB: db, Log: c.log, Hub: "hub", Logger: quiet(), Registerer: prometheus.NewRegistry()})
	check(err)
	c.reg, err = registry.Open(tb.Context(), registry.Deps{DB: db, Policies: policies, Outbox: c.box, Logger: quiet()})
	check(err)
	c.twins, err = twin.Open(tb.Context(), twin.Deps{
		DB: db, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Outbox: c.box, Limits: twin.StrictLimits(),
		Logger: quiet(), Registerer: prometheus.NewRegistry(), Configurations: hub.ConfigurationsOf(db),
	})
	check(err)
	c.open()
	tb.Cleanup(func() {
		c.stop()
		if err := c.twins.Close(); err != nil {
			tb.Error(err)
		}
		if err := c.log.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// open opens the room and starts it, as after a restart.
func (c *configured) open() {
	c.tb.Helper()
	var err error
	c.room, err = configuration.Open(c.tb.Context(), configuration.Deps{
		DB: c.db, Log: c.log, Twins: &hub.ConfiguredTwins{Twins: c.twins, Registry: c.reg}, Limits: configuration.StrictLimits(),
		Logger: quiet(), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		c.tb.Fatal(err)
	}
	c.start()
}

func (c *configured) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.tb.Context()))
	var wait sync.WaitGroup
	for _, run := range []func(context.Context) error{c.box.Run, c.room.Run} {
		wait.Go(func() {
			if err := run(ctx); err != nil {
				c.tb.Error(err)
			}
		})
	}
	c.end = func() { cancel(); wait.Wait() }
}

func (c *configured) stop() {
	if c.end != nil {
		c.end()
		c.end = nil
	}
}

func (c *configured) device(id string, tags string) {
	c.tb.Helper()
	c.make(registry.DeviceSpec{ID: id})
	if tags != "" {
		c.patch(iot.ID{Device: id}, `{"tags":`+tags+`}`)
	}
}

func (c *configured) make(spec registry.DeviceSpec) {
	c.tb.Helper()
	if _, _, err := c.reg.PutDevice(c.tb.Context(), spec, registry.Match{}, time.Now()); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *configured) key(id iot.ID) twin.Key {
	c.tb.Helper()
	s, err := c.reg.Standing(c.tb.Context(), id)
	if err != nil {
		c.tb.Fatal(err)
	}
	return twin.Key{ID: id, Generation: s.Generation}
}

func (c *configured) patch(id iot.ID, body string) {
	c.tb.Helper()
	if _, err := c.twins.Patch(c.tb.Context(), c.key(id), []byte(body), nil); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *configured) report(id iot.ID, patch string) {
	c.tb.Helper()
	done := make(chan error, 1)
	c.twins.Report(c.key(id), []byte(patch), 0, func(_ int64, err error) { done <- err })
	if err := <-done; err != nil {
		c.tb.Fatal(err)
	}
}

func (c *configured) put(id string, priority int64, target, content string, match configuration.Match) configuration.Configuration {
	c.tb.Helper()
	spec := configuration.Spec{ID: id, Priority: priority, Target: target}
	if content != "" {
		spec.Content = json.RawMessage(content)
	}
	conf, _, err := c.room.Put(c.tb.Context(), spec, match)
	if err != nil {
		c.tb.Fatal(err)
	}
	return conf
}

func (c *configured) drop(id string) {
	c.tb.Helper()
	if err := c.room.Delete(c.tb.Context(), id, configuration.Match{}); err != nil {
		c.tb.Fatal(err)
	}
}

// twin tells the desired properties and the configurations of a twin.
func (c *configured) twin(id iot.ID) string {
	c.tb.Helper()
	k := c.key(id)
	d, err := c.twins.Get(c.tb.Context(), k)
	if err != nil {
		c.tb.Fatal(err)
	}
	of, err := c.room.Of(c.tb.Context(), id, k.Generation)
	if err != nil {
		c.tb.Fatal(err)
	}
	var v any
	if err := json.Unmarshal([]byte(d.Desired()), &v); err != nil {
		c.tb.Fatal(err)
	}
	b, err := json.Marshal(v) // in the order of names
	if err != nil {
		c.tb.Fatal(err)
	}
	s := string(b)
	for _, o := range of {
		s += " " + o.Configuration + ":" + o.Status
	}
	return s
}

// becomes waits until something is as it is wanted.
func becomes(tb testing.TB, want string, is func() string) {
	tb.Helper()
	becomesWithin(tb, 10*time.Second, want, is)
}

func becomesWithin(tb testing.TB, most time.Duration, want string, is func() string) {
	tb.Helper()
	end := time.Now().Add(most)
	for {
		have := is()
		if have == want {
			return
		}
		if time.Now().After(end) {
			tb.Fatalf("it is\n%s\nwant\n%s", have, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (c *configured) becomes(id iot.ID, want string) {
	c.tb.Helper()
	becomes(c.tb, want, func() string { return c.twin(id) })
}

func (c *configured) query(text string) string {
	c.tb.Helper()
	p, err := c.twins.Query(c.tb.Context(), text, "", 100, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	return string(p.Items)
}

func TestConfigurationsFollowDevices(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		d1, d2 := iot.ID{Device: "d1"}, iot.ID{Device: "d2"}
		c.device("d1", `{"site":"north"}`)
		c.device("d2", `{"site":"south"}`)
		c.patch(d1, `{"properties":{"desired":{"mine":1,"fan":{"mine":2}}}}`)

		c.put("north", 10, "tags.site = 'north'", `{"deviceContent":{"properties.desired.fan.speed":5,"properties.desired.mode":"eco"}}`, configuration.Match{})
		c.becomes(d1, `{"fan":{"mine":2,"speed":5},"mine":1,"mode":"eco"} north:Applied`)
		c.becomes(d2, `{}`)

		// A device that comes to meet the condition, and one that is made so.
		c.patch(d2, `{"tags":{"site":"north"}}`)
		c.becomes(d2, `{"fan":{"speed":5},"mode":"eco"} north:Applied`)
		c.device("d3", `{"site":"north"}`)
		c.becomes(iot.ID{Device: "d3"}, `{"fan":{"speed":5},"mode":"eco"} north:Applied`)

		// A higher priority wins path by path.
		c.put("fast", 20, "*", `{"deviceContent":{"properties.desired.fan.speed":9}}`, configuration.Match{})
		c.becomes(d1, `{"fan":{"mine":2,"speed":9},"mine":1,"mode":"eco"} fast:Applied north:Applied`)
		// One of which nothing is left is only targeted.
		c.put("low", 1, "*", `{"deviceContent":{"properties.desired.fan.speed":1}}`, configuration.Match{})
		c.becomes(d2, `{"fan":{"speed":9},"mode":"eco"} fast:Applied low:Targeted north:Applied`)
		// Of equal ones the newer wins.
		c.put("same", 20, "deviceId = 'd1'", `{"deviceContent":{"properties.desired.fan.speed":7}}`, configuration.Match{})
		c.becomes(d1, `{"fan":{"mine":2,"speed":7},"mine":1,"mode":"eco"} fast:Targeted low:Targeted north:Applied same:Applied`)

		// Which ends as it began.
		c.drop("same")
		c.becomes(d1, `{"fan":{"mine":2,"speed":9},"mine":1,"mode":"eco"} fast:Applied low:Targeted north:Applied`)
		c.put("fast", 20, "", "", configuration.Match{Set: true})
		c.becomes(d1, `{"fan":{"mine":2,"speed":5},"mine":1,"mode":"eco"} low:Targeted north:Applied`)
		c.patch(d2, `{"tags":{"site":null}}`)
		c.becomes(d2, `{"fan":{"speed":1}} low:Applied`)
		c.drop("low")
		c.drop("north")
		c.becomes(d1, `{"fan":{"mine":2},"mine":1}`)
		c.becomes(d2, `{}`)
	})
}

func TestConfigurationsFollowReports(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		id := iot.ID{Device: "d"}
		c.device("d", "")
		c.put("update", 1, "properties.reported.firmware < 2", `{"deviceContent":{"properties.desired.firmware":2}}`, configuration.Match{})
		c.report(id, `{"firmware":1}`)
		c.becomes(id, `{"firmware":2} update:Applied`)
		c.report(id, `{"firmware":2}`)
		c.becomes(id, `{}`)
	})
}

// TestConfigurationsWin shows that what a configuration sets stays as it sets
// it, and that its own writes do not keep it busy.
func TestConfigurationsWin(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		id := iot.ID{Device: "d"}
		c.device("d", "")
		c.put("c", 1, "*", `{"deviceContent":{"properties.desired.a":{"x":1}}}`, configuration.Match{})
		c.becomes(id, `{"a":{"x":1}} c:Applied`)
		c.patch(id, `{"properties":{"desired":{"a":{"x":2,"y":3},"b":4}}}`)
		c.becomes(id, `{"a":{"x":1},"b":4} c:Applied`)
		d, err := c.twins.Get(t.Context(), c.key(id))
		if err != nil {
			t.Fatal(err)
		}
		// One change by the configuration, one by hand, and one to take it back.
		if d.DesiredVersion() != 4 {
			t.Errorf("the desired properties were changed %d times, want 3", d.DesiredVersion()-1)
		}
	})
}

func TestConfigurationsOfModules(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		camera, other := iot.ID{Device: "d", Module: "camera"}, iot.ID{Device: "d", Module: "other"}
		c.device("d", "")
		for _, id := range []iot.ID{camera, other} {
			if _, _, err := c.reg.PutModule(t.Context(), registry.ModuleSpec{ID: id}, registry.Match{}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		c.put("m", 1, "FROM devices.modules WHERE moduleId = 'camera' AND NOT tags.off = true", `{"moduleContent":{"properties.desired.rate":5}}`, configuration.Match{})
		c.put("all", 0, "FROM devices.modules", `{"moduleContent":{"properties.desired.rate":1}}`, configuration.Match{})
		c.becomes(other, `{"rate":1} all:Applied`)
		c.becomes(camera, `{"rate":1} all:Applied`) // an undefined tag is not true
		c.patch(camera, `{"tags":{"off":false}}`)
		c.becomes(camera, `{"rate":5} all:Targeted m:Applied`)
		if got := c.query("SELECT moduleId FROM devices.modules WHERE configurations.m.status = 'Applied'"); got != `[{"moduleId":"camera"}]` {
			t.Errorf("selected %s", got)
		}
		c.patch(camera, `{"tags":{"off":true}}`)
		c.becomes(camera, `{"rate":1} all:Applied`)
		c.becomes(iot.ID{Device: "d"}, `{}`)
		if _, _, err := c.room.Put(t.Context(), configuration.Spec{ID: "x"}, configuration.Match{}); iot.CodeOf(err) != iot.InvalidConfigurationContent {
			t.Errorf("without content: %v", err)
		}
	})
}

func TestConfigurationsOfEdgeDevices(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		c := openConfigured(t, db)
		edge := true
		c.make(registry.DeviceSpec{ID: "e", Edge: &edge})
		c.device("leaf", "")
		agent, hubModule, temp := iot.ID{Device: "e", Module: "$edgeAgent"}, iot.ID{Device: "e", Module: "$edgeHub"}, iot.ID{Device: "e", Module: "temp"}
		c.put("base", 5, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.1","modules":{"temp":{"v":1}}}},
			"$edgeHub":{"properties.desired":{"routes":{"a":"b"}}},"temp":{"properties.desired":{"rate":1}}}}`, configuration.Match{})
		c.becomes(agent, `{"modules":{"temp":{"v":1}},"schemaVersion":"1.1"} base:Applied`)
		c.becomes(hubModule, `{"routes":{"a":"b"}} base:Applied`)
		becomes(t, "iotEdge", func() string {
			m, err := c.reg.Module(t.Context(), temp)
			if err != nil {
				return err.Error()
			}
			return m.ManagedBy
		})
		c.becomes(temp, `{"rate":1} base:Applied`)
		c.becomes(iot.ID{Device: "e"}, `{} base:Applied`)
		c.becomes(iot.ID{Device: "leaf"}, `{}`)

		// Another base takes the place of the whole, a layer lies over it.
		c.put("better", 6, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.1","modules":{}}},"$edgeHub":{"properties.desired":{"routes":{}}}}}`, configuration.Match{})
		c.put("layer", 7, "*", `{"modulesContent":{"$edgeAgent":{"properties.desired.modules.cam":{"v":2}},"$edgeHub":{"properties.desired.routes.c":"d"}}}`, configuration.Match{})
		c.becomes(agent, `{"modules":{"cam":{"v":2}},"schemaVersion":"1.1"} base:Targeted better:Applied layer:Applied`)
		c.becomes(hubModule, `{"routes":{"c":"d"}} base:Targeted better:Applied layer:Applied`)
		c.becomes(temp, `{} base:Targeted`)
		c.becomes(iot.ID{Device: "e"}, `{} base:Targeted better:Applied layer:Applied`)
		c.drop("better")
		c.becomes(agent, `{"modules":{"cam":{"v":2},"temp":{"v":1}},"schemaVersion":"1.1"} base:Applied layer:Applied`)

		// What the runtime says of it is counted.
		d, err := c.twins.Get(t.Context(), c.key(agent))
		if err != nil {
			t.Fatal(err)
		}
		c.report(agent, fmt.Sprintf(`{"lastDesiredVersion":%d,"lastDesiredStatus":{"code":200}}`, d.DesiredVersion()))
		conf, err := c.room.Get(t.Context(), "base")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(conf.System); got != "map[appliedCount:1 reportedFailedCount:0 reportedSuccessfulCount:1 targetedCount:1]" {
			t.Errorf("metrics %s", got)
		}
		for name, text := range conf.SystemQueries {
			if got, want := c.query(text), `[{"deviceId":"e"}]`; (got == want) != (conf.System[name] == 1) {
				t.Errorf("%s: %s selects %s", name, text, got)
			}
		}
	})
}
