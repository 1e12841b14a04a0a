package iothub_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/api/iothub"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/ingest"
	"dunlin/internal/things/job"
	"dunlin/internal/things/presence"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/guard"
	"dunlin/internal/trust/quota"
	"dunlin/internal/wire/blobsas"
	"dunlin/internal/wire/sas"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

const (
	hubName = "hub.example"
	version = "api-version=2021-04-12"
)

// connections stands for presence: it knows who is connected and notes kicks.
type connections struct {
	mu     sync.Mutex
	online map[iot.ID]time.Time
	takes  map[iot.ID]func(*iot.Inbound) // those that take what they are sent
	kicked []string
	gone   []iot.ID
}

func (c *connections) State(id iot.ID) (connected bool, since, last time.Time, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.online[id]
	return ok, at, at.Add(time.Minute), ok
}

func (c *connections) Kick(id iot.ID, reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kicked = append(c.kicked, id.String()+" "+iot.CodeOf(reason).Name())
}

func (c *connections) Forget(id iot.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, id)
}

func (c *connections) deliver(id iot.ID, in *iot.Inbound) bool {
	c.mu.Lock()
	take := c.takes[id]
	c.mu.Unlock()
	if take == nil {
		return false
	}
	take(in)
	return true
}

func (c *connections) connected(id iot.ID) bool {
	connected, _, _, _ := c.State(id)
	return connected
}

// connect lets take be called with what id is sent.
func (c *connections) connect(id iot.ID, take func(*iot.Inbound)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.online[id], c.takes[id] = time.Now(), take
}

func (c *connections) Connected() int { return len(c.online) }

// site is a hub that is called over HTTP.
type site struct {
	t              *testing.T
	url            string
	policies       *access.Policies
	conns          *connections
	commands       *command.Room
	jobs           *job.Room
	twins          *twin.Room
	configurations *configuration.Room
	presence       *presence.Room
	log            *memlog.Log
	logged         *bytes.Buffer
	files          hub.ServiceDeps // of which the parts for files are set
}

// maxHeld is how many bytes the log holds before it tells callers to wait.
const maxHeld = 1 << 20

func newSite(t *testing.T, db state.DB) *site {
	t.Helper()
	return newLimitedSite(t, db, nil)
}

// newLimitedSite is a hub with limits.
func newLimitedSite(t *testing.T, db state.DB, limits *quota.Limiter) *site {
	t.Helper()
	policies, err := access.Open(t.Context(), db, access.NewHosts(hubName))
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, policies: policies, conns: &connections{online: map[iot.ID]time.Time{}, takes: map[iot.ID]func(*iot.Inbound){}}, logged: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(s.logged, nil))
	reg, err := registry.Open(t.Context(), registry.Deps{DB: db, Policies: policies, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	s.commands, err = command.Open(t.Context(), command.Deps{
		DB: db, Deliver: s.conns.deliver, Connected: s.conns.connected, Limits: command.StrictLimits(),
		Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.commands.Close(); err != nil {
			t.Error(err)
		}
	})
	twins, err := twin.Open(t.Context(), twin.Deps{
		DB: db, Deliver: s.conns.deliver, Limits: twin.StrictLimits(), Logger: logger, Registerer: prometheus.NewRegistry(), Configurations: hub.ConfigurationsOf(db), Queued: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := twins.Close(); err != nil {
			t.Error(err)
		}
	})
	s.twins = twins
	s.log = memlog.New(memlog.Config{Partitions: 1, MaxHeld: maxHeld})
	s.configurations, err = configuration.Open(t.Context(), configuration.Deps{
		DB: db, Log: s.log, Twins: &hub.ConfiguredTwins{Twins: twins, Registry: reg}, Limits: configuration.StrictLimits(), Logger: logger, Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	refusals, err := guard.Open(t.Context(), db, logger, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	s.presence = presence.New(presence.Deps{Logger: logger, Registerer: prometheus.NewRegistry()})
	s.files = iothub.OpenUploads(t, db)
	var services *hub.Services
	transfer := iothub.ForTransfers(func() *hub.Service { return services.For(access.Admin()) })
	transfer.Blobs = s.files.Blobs
	transfer.Container = func(uri string, _ bool) (string, bool, bool, error) {
		name, p, err := s.files.Grants.Container(uri, time.Now())
		return name, p&blobsas.Read != 0, p&blobsas.Write != 0, err
	}
	s.jobs = runJobs(t, db, hub.Tools{Registry: reg, Twins: twins, Commands: s.commands}, s.conns.connected, &transfer)
	desk := hub.NewDesk(hub.DeskDeps{
		Uploads:  s.files.Uploads,
		Registry: reg, Presence: s.presence, Ingest: ingest.New(ingest.Deps{Log: s.log, Registerer: prometheus.NewRegistry()}),
		Twins: twins, Commands: s.commands, Jobs: s.jobs, Guard: refusals, Quota: limits, Logger: logger,
	})
	services = hub.NewServices(hub.ServiceDeps{
		Uploads: s.files.Uploads, Registry: reg, Policies: policies, Presence: s.conns, Configurations: s.configurations,
		Commands: s.commands, Twins: twins, Jobs: s.jobs, Quota: limits,
	})
	server := httptest.NewServer(iothub.New(iothub.Deps{
		Devices: hub.NewVisits(desk),
		Hub:     services, Logger: logger,
	}))
	t.Cleanup(func() {
		server.Close()
		if err := s.log.Close(); err != nil {
			t.Error(err)
		}
	})
	s.url = server.URL
	return s
}

func each(t *testing.T, test func(t *testing.T, s *site)) {
	t.Helper()
	statetest.Each(t, func(t *testing.T, db state.DB) { test(t, newSite(t, db)) })
}

func (s *site) token(policy string) string {
	p, ok := s.policies.Find(policy)
	if !ok {
		s.t.Fatalf("no policy %s", policy)
	}
	return sas.Sign(hubName, p.PrimaryKey, time.Now().Add(time.Hour), policy)
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   string
}

// send makes a call as the owner; headers come as name and value in turn.
func (s *site) send(method, path, body string, headers ...string) answer {
	s.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?" + version
	}
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, in)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", s.token("iothubowner"))
	if body != "" {
		req.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{s.t, resp.StatusCode, resp.Header, string(b)}
}

var errorShape = regexp.MustCompile(`^\{"Message":"ErrorCode:([A-Za-z]+);[^;]+","ExceptionMessage":"Tracking ID:[0-9a-f]{32}-G:0-TimeStamp:\d\d/\d\d/\d{4} \d\d:\d\d:\d\d"\}$`)

// refused checks status, header and the exact shape of the body.
func (a answer) refused(what string, status int, code string, words ...string) {
	a.t.Helper()
	m := errorShape.FindStringSubmatch(a.body)
	if a.status != status || m == nil || m[1] != code || a.header.Get("iothub-errorcode") != code ||
		a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("x-ms-request-id") == "" {
		a.t.Errorf("%s: got %d %v %s, want %d %s", what, a.status, a.header, a.body, status, code)
	}
	for _, w := range words {
		if !strings.Contains(a.body, w) {
			a.t.Errorf("%s: the body does not say %q: %s", what, w, a.body)
		}
	}
}

func (a answer) ok(status int, into any) {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d %s, want %d", a.status, a.body, status)
	}
	if a.header.Get("x-ms-request-id") == "" {
		a.t.Error("x-ms-request-id is missing")
	}
	if status == http.StatusNoContent {
		if a.body != "" {
			a.t.Errorf("a body with 204: %s", a.body)
		}
		return
	}
	if a.header.Get("Content-Type") != "application/json; charset=utf-8" {
		a.t.Errorf("content type %s", a.header.Get("Content-Type"))
	}
	if into != nil {
		if err := json.Unmarshal([]byte(a.body), into); err != nil {
			a.t.Fatalf("%v: %s", err, a.body)
		}
	}
}

type device struct {
	DeviceID, GenerationID, ETag, ConnectionState, Status                     string
	StatusReason                                                              *string
	ConnectionStateUpdatedTime, StatusUpdatedTime, LastActivityTime, ModuleID string
	CloudToDeviceMessageCount                                                 any
	Authentication                                                            struct {
		SymmetricKey   struct{ PrimaryKey, SecondaryKey *string }
		X509Thumbprint struct{ PrimaryThumbprint, SecondaryThumbprint *string }
		Type           string
	}
	Capabilities struct{ IotEdge bool }
	DeviceScope  string
	ParentScopes []string
	ManagedBy    *string
}

func TestDeviceLife(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("GET", "/devices/d1", "").refused("unknown", 404, "DeviceNotFound", "d1")
		var d device
		// As the Node SDK sends it: empty keys ask for new ones.
		s.send("PUT", "/devices/d1", `{"deviceId":"d1","status":"enabled","authentication":{"symmetricKey":{"primaryKey":"","secondaryKey":""}},"unknown":{"a":[1]}}`).ok(200, &d)
		if d.DeviceID != "d1" || d.Status != "enabled" || d.Authentication.Type != "sas" || len(*d.Authentication.SymmetricKey.PrimaryKey) != 44 ||
			d.ConnectionState != "Disconnected" || d.LastActivityTime != "0001-01-01T00:00:00" || d.CloudToDeviceMessageCount != 0.0 ||
			!regexp.MustCompile(`^\d{18}$`).MatchString(d.GenerationID) || d.ParentScopes == nil {
			t.Errorf("made %+v", d)
		}
		got := s.send("GET", "/devices/d1", "")
		got.ok(200, nil)
		for _, member := range []string{
			`"statusReason":null`, `"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null}`, `"capabilities":{"iotEdge":false}`,
			`"statusUpdatedTime":"0001-01-01T00:00:00"`, `"cloudToDeviceMessageCount":0`, `"parentScopes":[]`,
		} {
			if !strings.Contains(got.body, member) {
				t.Errorf("%s is not in %s", member, got.body)
			}
		}
		if got.header.Get("ETag") != `"`+d.ETag+`"` {
			t.Errorf("ETag %s, want %q", got.header.Get("ETag"), d.ETag)
		}
		s.send("PUT", "/devices/d1", `{"deviceId":"d1"}`).refused("create again", 409, "DeviceAlreadyExists")
		s.send("PUT", "/devices/d1", `{}`, "If-None-Match", `"*"`).refused("create only", 409, "DeviceAlreadyExists")
		s.send("PUT", "/devices/d2", `{}`, "If-Match", "*").refused("update nothing", 404, "DeviceNotFound")
		s.send("PUT", "/devices/d1", `{"status":"enabled"}`, "If-Match", `"stale"`).refused("stale", 412, "PreconditionFailed")
		s.send("PUT", "/devices/d1", `{}`, "If-Match", `""`).refused("empty", 412, "PreconditionFailed")

		s.conns.online[iot.ID{Device: "d1"}] = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)
		etag := d.ETag
		for _, match := range []string{`"` + etag + `"`, `"*"`, `*`} {
			s.send("PUT", "/devices/d1", `{"deviceId":"d1","statusReason":"x","authentication":{"type":"SAS","symmetricKey":{"primaryKey":"","secondaryKey":""}}}`, "If-Match", match).ok(200, &d)
		}
		s.send("PUT", "/devices/d1", `{"statusReason":null}`, "If-Match", d.ETag).ok(200, &d)
		s.send("PUT", "/devices/d1", `{"status":"Disabled"}`, "If-Match", `W/"`+d.ETag+`"`).ok(200, &d)
		if d.Status != "disabled" || d.StatusReason != nil || d.StatusUpdatedTime == "0001-01-01T00:00:00" ||
			d.ConnectionState != "Connected" || d.ConnectionStateUpdatedTime != "2026-01-02T03:04:05.0000006Z" || d.LastActivityTime != "2026-01-02T03:05:05.0000006Z" {
			t.Errorf("changed to %+v", d)
		}
		if len(s.conns.kicked) != 1 || s.conns.kicked[0] != "d1 DeviceDisabled" {
			t.Errorf("kicked %v", s.conns.kicked)
		}
		s.send("DELETE", "/devices/d1", "", "If-Match", `"stale"`).refused("delete", 412, "PreconditionFailed")
		s.send("DELETE", "/devices/d1", "", "If-Match", `"`+d.ETag+`"`).ok(204, nil)
		s.send("DELETE", "/devices/d1", "").refused("delete again", 404, "DeviceNotFound")
		if len(s.conns.kicked) != 2 || len(s.conns.gone) != 1 {
			t.Errorf("kicked %v, forgot %v", s.conns.kicked, s.conns.gone)
		}
		// An id with a percent sign is decoded once.
		s.send("PUT", "/devices/a%252Fb", `{"deviceId":"a%2Fb"}`).ok(200, &d)
		if d.DeviceID != "a%2Fb" {
			t.Errorf("made %s", d.DeviceID)
		}
		s.send("GET", "/devices/a%252Fb/", "").ok(200, nil)
		s.send("GET", "/devices/a%2Fb", "").refused("an encoded slash", 400, "ArgumentInvalid")
	})
}

func TestModuleLife(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("GET", "/devices/d/modules", "").refused("no device", 404, "DeviceNotFound")
		s.send("PUT", "/devices/d/modules/m", `{}`).refused("no device", 404, "DeviceNotFound")
		s.send("PUT", "/devices/d", `{"deviceId":"d","capabilities":{"iotEdge":true}}`).ok(200, nil)
		s.send("GET", "/devices/d/modules/m", "").refused("no module", 404, "ModuleNotFound")
		var m device
		s.send("PUT", "/devices/d/modules/m", `{"deviceId":"d","moduleId":"m","managedBy":"me"}`).ok(201, &m)
		if m.ModuleID != "m" || m.DeviceID != "d" || *m.ManagedBy != "me" || len(*m.Authentication.SymmetricKey.PrimaryKey) != 44 {
			t.Errorf("made %+v", m)
		}
		s.send("PUT", "/devices/d/modules/m", `{}`).refused("again", 409, "ModuleAlreadyExistsOnDevice")
		s.send("PUT", "/devices/d/modules/m", `{}`, "If-Match", `"x"`).refused("stale", 412, "PreconditionFailed")
		s.send("PUT", "/devices/d/modules/m", `{"authentication":{"type":"certificateAuthority"}}`, "If-Match", `"`+m.ETag+`"`).ok(200, &m)
		if m.Authentication.Type != "certificateAuthority" || m.Authentication.SymmetricKey.PrimaryKey != nil || len(s.conns.kicked) != 1 {
			t.Errorf("changed to %+v, kicked %v", m, s.conns.kicked)
		}
		s.send("PUT", "/devices/d/modules/$edgeAgent", `{}`).refused("system", 401, "SystemModuleModifyUnauthorizedAccess")
		s.send("DELETE", "/devices/d/modules/$edgeHub", "").refused("system", 401, "SystemModuleModifyUnauthorizedAccess")
		var list []device
		s.send("GET", "/devices/d/modules", "").ok(200, &list)
		if len(list) != 3 || list[0].ModuleID != "$edgeAgent" || list[2].ModuleID != "m" {
			t.Errorf("modules %+v", list)
		}
		s.send("DELETE", "/devices/d/modules/m", "", "If-Match", "*").ok(204, nil)
		s.send("DELETE", "/devices/d/modules/m", "").refused("again", 404, "ModuleNotFound")
	})
}

func TestListDevices(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		var list []device
		if a := s.send("GET", "/devices/", ""); a.body != "[]" {
			t.Errorf("an empty list is %s", a.body)
		}
		for i := range 12 {
			s.send("PUT", fmt.Sprintf("/devices/d%02d", i), `{}`).ok(200, nil)
		}
		for path, n := range map[string]int{"/devices": 12, "/devices/": 12, "/devices?top=5&" + version: 5, "/devices/?top=5000&" + version: 12} {
			s.send("GET", path, "").ok(200, &list)
			if len(list) != n || list[0].DeviceID != "d00" {
				t.Errorf("%s gives %d devices", path, len(list))
			}
		}
		for _, top := range []string{"0", "-1", "x", "1e3", "99999999999999999999"} {
			s.send("GET", "/devices?top="+top+"&"+version, "").refused("top "+top, 400, "ArgumentInvalid", "top")
		}
	})
}

func TestStatistics(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/a", `{}`).ok(200, nil)
		s.send("PUT", "/devices/b", `{"status":"disabled"}`).ok(200, nil)
		if a := s.send("GET", "/statistics/devices", ""); a.body != `{"totalDeviceCount":2,"enabledDeviceCount":1,"disabledDeviceCount":1}` {
			t.Error(a.body)
		}
		s.conns.online[iot.ID{Device: "a"}] = time.Now()
		if a := s.send("GET", "/statistics/service", ""); a.body != `{"connectedDeviceCount":1}` {
			t.Error(a.body)
		}
	})
}

func TestBulk(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		a := s.send("POST", "/devices", `[{"id":"a","importMode":"create"},{"id":"b","importMode":"CREATE","status":"disabled"},{"id":"a","moduleId":"m","importMode":"create"}]`)
		if a.ok(200, nil); a.body != `{"isSuccessful":true,"errors":[],"warnings":[]}` {
			t.Error(a.body)
		}
		var d device
		s.send("GET", "/devices/a", "").ok(200, &d)
		a = s.send("POST", "/devices", `[{"id":"a","importMode":"create"},{"id":"a2","importMode":"nonsense"},{"id":"c"},{"id":"a3","importMode":"updateIfMatchETag","etag":"old","status":"what"}]`)
		if a.ok(400, nil); !strings.HasPrefix(a.body, `{"isSuccessful":false,"errors":[{"deviceId":"a","errorCode":"DeviceAlreadyExists","errorStatus":"`) ||
			!strings.Contains(a.body, `{"deviceId":"a2","errorCode":"ArgumentInvalid"`) || strings.Contains(a.body, `"deviceId":"c"`) {
			t.Error(a.body)
		}
		s.send("GET", "/devices/c", "").ok(200, nil)
		s.send("POST", "/devices", `[{"id":"a","importMode":"deleteIfMatchETag","eTag":"`+d.ETag+`"},{"id":"b","importMode":"delete"}]`).ok(200, nil)
		if len(s.conns.kicked) != 3 {
			t.Errorf("kicked %v", s.conns.kicked)
		}
		s.send("POST", "/devices", `[]`).refused("empty", 400, "ArgumentInvalid")
		s.send("POST", "/devices", `{"id":"x"}`).refused("no array", 400, "ArgumentInvalid")
		many := "[" + strings.TrimSuffix(strings.Repeat(`{"id":"x"},`, 101), ",") + "]"
		s.send("POST", "/devices", many).refused("101", 413, "TooManyDevices")
		a = s.send("POST", "/devices", `[{"id":"t"},{"id":"t"}]`)
		if a.status != 400 || strings.Count(a.body, "DeviceDefinedMultipleTimes") != 2 {
			t.Error(a.body)
		}
	})
}

// TestBadRequests shows every error that does not depend on what is stored.
func TestBadRequests(t *testing.T) {
	s := newSite(t, statetest.SQLite(t))
	owner := s.token("iothubowner")
	p, _ := s.policies.Find("iothubowner")
	put := func(body string, headers ...string) answer { return s.send("PUT", "/devices/d", body, headers...) }
	for what, c := range map[string]struct {
		a      answer
		status int
		code   string
		word   string
	}{
		"no api-version":        {s.send("GET", "/devices?", ""), 400, "InvalidProtocolVersion", "missing"},
		"empty api-version":     {s.send("GET", "/devices?api-version=", ""), 400, "InvalidProtocolVersion", "missing"},
		"odd api-version":       {s.send("GET", "/devices?api-version=latest", ""), 400, "InvalidProtocolVersion", "latest"},
		"no date":               {s.send("GET", "/devices?api-version=2021-13-40", ""), 400, "InvalidProtocolVersion", "date"},
		"trailing text":         {s.send("GET", "/devices?api-version=2021-04-12x", ""), 400, "InvalidProtocolVersion", "date"},
		"too old":               {s.send("GET", "/devices?api-version=2014-01-01", ""), 400, "InvalidProtocolVersion", "oldest"},
		"too old for modules":   {s.send("GET", "/devices/d/modules?api-version=2016-11-14", ""), 400, "InvalidProtocolVersion", "oldest"},
		"bad query":             {s.send("GET", "/devices?"+version+"&top=%zz", ""), 400, "GenericBadRequest", "query"},
		"unknown path":          {s.send("GET", "/nothing", ""), 404, "GenericNotFound", "/nothing"},
		"root":                  {s.send("GET", "/", ""), 404, "GenericNotFound", "GET /"},
		"admin path":            {s.send("POST", "/$admin/x", ""), 404, "GenericNotFound", "admin"},
		"too deep":              {s.send("GET", "/devices/d/modules/m/x", ""), 404, "GenericNotFound", ""},
		"two slashes":           {s.send("GET", "/devices//modules", ""), 404, "GenericNotFound", ""},
		"wrong method":          {s.send("PATCH", "/devices/d", "{}"), 405, "GenericMethodNotAllowed", "DELETE, GET, PUT"},
		"odd method":            {s.send("BREW", "/devices", ""), 405, "GenericMethodNotAllowed", "GET, POST"},
		"bad id":                {s.send("PUT", "/devices/a%20b", "{}"), 400, "ArgumentInvalid", "a b"},
		"id too long":           {s.send("PUT", "/devices/"+strings.Repeat("x", 129), "{}"), 400, "ArgumentInvalid", "128"},
		"ids differ":            {put(`{"deviceId":"e"}`), 400, "ArgumentInvalid", "deviceId"},
		"ids differ in case":    {put(`{"deviceId":"D"}`), 400, "ArgumentInvalid", "deviceId"},
		"module ids differ":     {s.send("PUT", "/devices/d/modules/m", `{"moduleId":"n"}`), 400, "ArgumentInvalid", "moduleId"},
		"no body":               {put(""), 400, "ArgumentNull", "empty"},
		"blank body":            {put("  \n"), 400, "ArgumentNull", "empty"},
		"null":                  {put("null"), 400, "ArgumentNull", "null"},
		"no JSON":               {put("{"), 400, "DeserializationError", "JSON"},
		"trailing data":         {put("{} {}"), 400, "DeserializationError", "JSON"},
		"an array":              {put("[]"), 400, "ArgumentInvalid", "type"},
		"deep nesting":          {put(`{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}"), 400, "DeserializationError", "depth"},
		"bad UTF-8":             {put("{\"statusReason\":\"\xff\"}"), 400, "DeserializationError", "UTF-8"},
		"member of wrong type":  {put(`{"status":7}`), 400, "ArgumentInvalid", "status"},
		"reason of wrong type":  {put(`{"statusReason":7}`), 400, "ArgumentInvalid", "statusReason"},
		"key of wrong type":     {put(`{"authentication":{"symmetricKey":{"primaryKey":1}}}`), 400, "ArgumentInvalid", "primaryKey"},
		"unknown status":        {put(`{"status":"on"}`), 400, "ArgumentInvalid", "enabled or disabled"},
		"unknown type":          {put(`{"authentication":{"type":"tpm"}}`), 400, "ArgumentInvalid", "tpm"},
		"one key":               {put(`{"authentication":{"symmetricKey":{"primaryKey":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`), 400, "ArgumentInvalid", "secondaryKey"},
		"long reason":           {put(`{"statusReason":"` + strings.Repeat("x", 129) + `"}`), 400, "ArgumentInvalid", "128"},
		"unknown scope":         {put(`{"deviceScope":"ms-azure-iot-edge://x-1"}`), 400, "InvalidDeviceScope", "scope"},
		"large body":            {put(`{"x":"` + strings.Repeat("x", 300<<10) + `"}`), 413, "MessageTooLarge", "262144"},
		"other content type":    {put("{}", "Content-Type", "text/xml"), 415, "IncompatibleDataType", "text/xml"},
		"broken content type":   {put("{}", "Content-Type", ";"), 415, "IncompatibleDataType", "application/json"},
		"odd If-None-Match":     {put("{}", "If-None-Match", `"x"`), 400, "ArgumentInvalid", "If-None-Match"},
		"both conditions":       {put("{}", "If-None-Match", "*", "If-Match", "*"), 400, "ArgumentInvalid", "together"},
		"If-None-Match, DELETE": {s.send("DELETE", "/devices/d", "", "If-None-Match", "*"), 400, "ArgumentInvalid", "DELETE"},
		"no authorization":      {s.send("GET", "/devices", "", "Authorization", ""), 401, "IotHubUnauthorizedAccess", "Authorization header missing"},
		"no token":              {s.send("GET", "/devices", "", "Authorization", "Basic eA=="), 401, "IotHubUnauthorizedAccess", "SharedAccessSignature"},
		"bearer":                {s.send("GET", "/devices", "", "Authorization", "Bearer abc"), 401, "IotHubUnauthorizedAccess", "Bearer"},
		"other hub":             {s.send("GET", "/devices", "", "Authorization", sas.Sign("other.example", p.PrimaryKey, time.Now().Add(time.Hour), "iothubowner")), 401, "IotHubUnauthorizedAccess", "other.example"},
		"expired":               {s.send("GET", "/devices", "", "Authorization", sas.Sign(hubName, p.PrimaryKey, time.Now().Add(-time.Hour), "iothubowner")), 401, "IotHubUnauthorizedAccess", "expired"},
		"wrong key":             {s.send("GET", "/devices", "", "Authorization", sas.Sign(hubName, []byte("0123456789abcdef"), time.Now().Add(time.Hour), "iothubowner")), 401, "IotHubUnauthorizedAccess", "neither key"},
		"unknown policy":        {s.send("GET", "/devices", "", "Authorization", strings.Replace(owner, "skn=iothubowner", "skn=nope", 1)), 401, "IotHubUnauthorizedAccess", "nope"},
		"token of a device":     {s.send("GET", "/devices", "", "Authorization", sas.Sign(hubName+"/devices/d", p.PrimaryKey, time.Now().Add(time.Hour), "")), 401, "IotHubUnauthorizedAccess", "skn"},
		"token for elsewhere":   {s.send("GET", "/devices/d", "", "Authorization", sas.Sign(hubName+"/devices/e", p.PrimaryKey, time.Now().Add(time.Hour), "iothubowner")), 401, "IotHubUnauthorizedAccess", "does not cover"},
	} {
		c.a.refused(what, c.status, c.code, c.word)
	}
	if a := s.send("PATCH", "/devices/d", "{}"); a.header.Get("Allow") != "DELETE, GET, PUT" {
		t.Errorf("Allow: %s", a.header.Get("Allow"))
	}
	// Newer and preview versions, and a narrower token, are fine.
	s.send("GET", "/devices?api-version=2031-01-01-preview", "").ok(200, nil)
	s.send("GET", "/devices?api-version=2016-11-14", "").ok(200, nil)
	s.send("GET", "/devices", "", "Authorization", sas.Sign(hubName+":443/devices", p.SecondaryKey, time.Now().Add(time.Hour), "iothubowner")).ok(200, nil)
	if s.logged.Len() > 0 {
		t.Errorf("errors of callers were logged: %s", s.logged)
	}
}

// TestMissingOperations shows what the table names as not available yet.
func TestMissingOperations(t *testing.T) {
	s := newSite(t, statetest.SQLite(t))
	s.send("POST", "/twins/d/streams/s", "").refused("streams", 403, "OperationNotAvailableInCurrentTier", "not part of this version")
}

// TestStoreFailure shows what a caller sees when the store is gone: a code, no
// detail, and the reason in the log.
func TestStoreFailure(t *testing.T) {
	db := statetest.SQLite(t)
	s := newSite(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.send("GET", "/devices/d", "")
	a.refused("read", 503, "ServiceUnavailable", "try again")
	if a.header.Get("Retry-After") == "" || !strings.Contains(s.logged.String(), "closed") {
		t.Errorf("header %v, log %s", a.header, s.logged)
	}
	s.send("PUT", "/devices/d", "{}").refused("write", 503, "ServiceUnavailable")
}
