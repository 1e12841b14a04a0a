package iothub

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/job"
	"dunlin/internal/things/presence"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/guard"
	"dunlin/internal/wire/sas"
)

type nobody struct{}

func (nobody) State(iot.ID) (connected bool, since, last time.Time, known bool) { return }
func (nobody) Kick(iot.ID, error)                                               {}
func (nobody) Forget(iot.ID)                                                    {}
func (nobody) Connected() int                                                   { return 0 }

// bodies are what each operation takes, so that nothing but the permission can
// be wrong with a call.
var bodies = map[string]string{
	"PUT /configurations/{configuration}": `{"content":{"deviceContent":{"properties.desired.a":1}}}`, "POST /configurations/testQueries": "{}", "POST /devices/{device}/applyConfigurationContent": "{}",
	"POST /jobs/create":  `{"type":"export"}`,
	"PUT /jobs/v2/{job}": `{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"tags":{"a":1}}}`,
	"POST /devices":      `[{"id":"bulk"}]`, "POST /twins/{device}/methods": `{"methodName":"m"}`, "POST /twins/{device}/modules/{module}/methods": `{"methodName":"m"}`, "PUT /devices/{device}": "{}", "PUT /devices/{device}/modules/{module}": "{}",
	"PATCH /digitaltwins/{device}": "[]", "POST /devices/query": `{"query":"SELECT * FROM devices"}`, "PATCH /twins/{device}": "{}", "PUT /twins/{device}": "{}", "PATCH /twins/{device}/modules/{module}": "{}", "PUT /twins/{device}/modules/{module}": "{}",
}

// TestPermissions calls every operation of the table with every policy, twice:
// as the surface does, and past its own check, so that the hub must refuse.
func TestPermissions(t *testing.T) {
	db := statetest.SQLite(t)
	policies, err := access.Open(t.Context(), db, access.NewHosts("hub.example"))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(t.Context(), registry.Deps{DB: db, Policies: policies, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := command.Open(t.Context(), command.Deps{
		DB: db, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Connected: func(iot.ID) bool { return false },
		Limits: command.StrictLimits(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	twins, err := twin.Open(t.Context(), twin.Deps{
		DB: db, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Limits: twin.StrictLimits(),
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := twins.Close(); err != nil {
			t.Error(err)
		}
	}()
	tools := hub.Tools{Registry: reg, Twins: twins, Commands: commands}.ForJobs()
	tools.DB, tools.Logger, tools.Registerer = db, slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	jobs, err := job.Open(t.Context(), tools)
	if err != nil {
		t.Fatal(err)
	}
	configurations, err := configuration.Open(t.Context(), configuration.Deps{
		DB: db, Log: memlog.New(memlog.Config{}), Twins: &hub.ConfiguredTwins{Twins: twins, Registry: reg}, Limits: configuration.StrictLimits(),
		Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	services := hub.NewServices(hub.ServiceDeps{Configurations: configurations, Registry: reg, Policies: policies, Presence: nobody{}, Uploads: OpenUploads(t, db).Uploads, Commands: commands, Twins: twins, Jobs: jobs})
	h := New(Deps{Hub: services, Logger: slog.New(slog.DiscardHandler)})
	for _, table := range [...][]operation{operations[:], missing[:]} {
		for i := range table {
			op := &table[i]
			path := strings.NewReplacer("{device}", "d", "{module}", "m", "{token}", "00000000-0000-0000-0000-000000000000", "{component}", "c", "{command}", "m", "{job}", "j", "{configuration}", "c").Replace(op.path)
			for _, p := range policies.List() {
				allowed := p.Permissions&op.need == op.need
				what := p.Name + ": " + op.method + " " + op.path
				call := func() *http.Request {
					r := httptest.NewRequestWithContext(t.Context(), op.method, path+"?api-version=2021-04-12", bytes.NewBufferString(bodies[op.method+" "+op.path]))
					r.Header.Set("iothub-to", "/devices/d/messages/devicebound")
					r.Header.Set("Authorization", sas.Sign("hub.example", p.PrimaryKey, time.Now().Add(time.Hour), p.Name))
					return r
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, call())
				refused := w.Code == http.StatusUnauthorized && w.Header().Get("iothub-errorcode") == "IotHubUnauthorizedAccess" &&
					strings.Contains(w.Body.String(), "Authorization rule '"+p.Name+"' does not allow access for '")
				if refused == allowed || (!allowed && !refused) {
					t.Errorf("%s: status %d %s", what, w.Code, w.Body)
				}
				if i := op.run; i == nil || allowed || &table[0] == &missing[0] {
					continue
				}
				c := &unchecked{op: op, service: services.For(access.Principal{Name: p.Name, Permissions: p.Permissions}), r: call()}
				if err := c.run(); iot.CodeOf(err) != iot.UnauthorizedAccess {
					t.Errorf("%s: the hub itself answers %v", what, err)
				}
			}
		}
	}
}

// TestDevicePermissions calls everything that devices can do with every
// policy: without DeviceConnect it is refused.
func TestDevicePermissions(t *testing.T) {
	db := statetest.SQLite(t)
	policies, err := access.Open(t.Context(), db, access.NewHosts("hub.example"))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	reg, err := registry.Open(t.Context(), registry.Deps{DB: db, Policies: policies, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	refusals, err := guard.Open(t.Context(), db, quiet, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	desk := hub.NewDesk(hub.DeskDeps{
		Registry: reg, Guard: refusals, Logger: quiet, Presence: presence.New(presence.Deps{Logger: quiet, Registerer: prometheus.NewRegistry()}),
	})
	for _, devices := range []*hub.Visits{hub.NewVisits(desk), nil} {
		h := New(Deps{Hub: hub.NewServices(hub.ServiceDeps{Registry: reg, Policies: policies, Presence: nobody{}}), Devices: devices, Logger: quiet})
		for i := range deviceOperations {
			op := &deviceOperations[i]
			path := strings.NewReplacer("{device}", "d", "{module}", "m", "{token}", "t").Replace(op.path)
			for _, p := range policies.List() {
				r := httptest.NewRequestWithContext(t.Context(), op.method, path+"?api-version=2021-04-12", nil)
				r.Header.Set("Authorization", sas.Sign("hub.example", p.PrimaryKey, time.Now().Add(time.Hour), p.Name))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				want := "IotHubUnauthorizedAccess"
				switch {
				case devices == nil:
					want = "OperationNotAvailableInCurrentTier"
				case p.Permissions&access.DeviceConnect != 0:
					want = "DeviceNotFound" // there is none: the token was good
				}
				if have := w.Header().Get("iothub-errorcode"); have != want {
					t.Errorf("%s: %s %s: %d %s, want %s", p.Name, op.method, op.path, w.Code, w.Body, want)
				}
			}
		}
	}
}

// unchecked runs an operation without the checks before it.
type unchecked struct {
	op      *operation
	service *hub.Service
	r       *http.Request
}

func (c *unchecked) run() error {
	return c.op.run(&call{
		w: httptest.NewRecorder(), r: c.r, op: c.op, hub: c.service, query: c.r.URL.Query(), names: names{device: "d", module: "m", configuration: "c", token: "00000000-0000-0000-0000-000000000000", component: "c", command: "m", job: "k"},
	})
}
