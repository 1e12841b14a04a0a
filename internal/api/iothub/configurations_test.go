package iothub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// configure brings twins in line while the test runs.
func (s *site) configure() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := s.configurations.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
	s.t.Cleanup(func() { cancel(); wait.Wait() })
}

type configured struct {
	ID      string          `json:"id"`
	Schema  string          `json:"schemaVersion"`
	Labels  json.RawMessage `json:"labels"`
	Content json.RawMessage `json:"content"`
	Target  string          `json:"targetCondition"`
	Created time.Time       `json:"createdTimeUtc"`
	Updated time.Time       `json:"lastUpdatedTimeUtc"`
	System  struct {
		Results map[string]int    `json:"results"`
		Queries map[string]string `json:"queries"`
	} `json:"systemMetrics"`
	Priority int `json:"priority"`
	Metrics  struct {
		Results map[string]int    `json:"results"`
		Queries map[string]string `json:"queries"`
	} `json:"metrics"`
	ETag string `json:"etag"`
}

const content = `{"deviceContent":{"properties.desired.chiller":{"speed":5.0,"x":[1,{"y":null}]}}}`

func TestConfigurationLife(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.configure()
		for _, id := range []string{"d1", "d2", "d3"} {
			s.send("PUT", "/devices/"+id, "{}").ok(200, nil)
		}
		s.send("PATCH", "/twins/d1", `{"tags":{"site":"north"}}`).ok(200, nil)
		s.send("PATCH", "/twins/d2", `{"tags":{"site":"north"},"properties":{"desired":{"mine":1}}}`).ok(200, nil)
		s.send("GET", "/configurations/c1", "").refused("unknown", 404, "ConfigurationNotFound", "c1")
		s.send("DELETE", "/configurations/c1", "").refused("unknown", 404, "ConfigurationNotFound", "c1")
		s.send("PUT", "/configurations/c1", `{"content":`+content+`}`, "If-Match", "*").refused("unknown", 404, "ConfigurationNotFound", "c1")

		var c configured
		a := s.send("PUT", "/configurations/c1", `{"id":"c1","schemaVersion":"1.0","labels":{"App":"Mongo"},"content":`+content+`,"targetCondition":"tags.site='north'","priority":10,
			"systemMetrics":{"results":{"targetedCount":5}},"metrics":{"queries":{"slow":"SELECT deviceId FROM devices WHERE properties.desired.chiller.speed < 10"}}}`)
		a.ok(201, &c)
		if string(c.Content) != content || c.ETag != "MQ==" || a.header.Get("ETag") != `"MQ=="` || c.Schema != "1.0" || string(c.Labels) != `{"App":"Mongo"}` || c.Priority != 10 ||
			c.Created.IsZero() || !c.Created.Equal(c.Updated) || c.Metrics.Queries["slow"] == "" ||
			c.System.Queries["targetedCount"] != "select deviceId from devices where tags.site='north'" || c.System.Queries["appliedCount"] != "select deviceId from devices where configurations.[[c1]].status = 'Applied'" {
			t.Errorf("made as %s", a.body)
		}
		s.becomes("GET", "/configurations/c1", `"systemMetrics":{"results":{"appliedCount":2,"targetedCount":2}`)
		s.becomes("GET", "/configurations/c1", `"metrics":{"results":{"slow":2}`)
		if a := s.send("GET", "/twins/d2", ""); !strings.Contains(a.body, `"desired":{"mine":1,"chiller":{"speed":5.0,"x":[1,{"y":null}]},`) || !strings.Contains(a.body, `,"configurations":{"c1":{"status":"Applied"}},"capabilities"`) {
			t.Errorf("the twin is %s", a.body)
		}
		a = s.send("POST", "/devices/query", `{"query":"SELECT * FROM devices WHERE configurations.[[c1]].status = 'Applied'"}`)
		if !strings.Contains(a.body, `"deviceId":"d1"`) || !strings.Contains(a.body, `"deviceId":"d2"`) || strings.Contains(a.body, `"deviceId":"d3"`) || strings.Count(a.body, `"configurations":{"c1":{"status":"Applied"}}`) != 2 {
			t.Errorf("selected %s", a.body)
		}
		for query, want := range map[string]string{
			"SELECT deviceId, configurations.c1.status AS s FROM devices":                                             `[{"deviceId":"d1","s":"Applied"},{"deviceId":"d2","s":"Applied"},{"deviceId":"d3"}]`,
			"SELECT deviceId FROM devices WHERE NOT IS_DEFINED(configurations.c1.status)":                             `[{"deviceId":"d3"}]`,
			"SELECT deviceId FROM devices WHERE IS_DEFINED(configurations.c1) AND deviceId > 'd1'":                    `[{"deviceId":"d2"}]`,
			"SELECT deviceId FROM devices WHERE configurations.c1.status != 'Targeted' AND deviceId = 'd1'":           `[{"deviceId":"d1"}]`,
			"SELECT deviceId FROM devices WHERE configurations.c2.status = 'Applied'":                                 `[]`,
			"SELECT deviceId FROM devices WHERE NOT configurations.c1.status IN ['Applied', 1]":                       `[]`,
			"SELECT deviceId FROM devices WHERE configurations.c1.status NOT IN ['Targeted'] AND deviceId != 'd2'":    `[{"deviceId":"d1"}]`,
			"SELECT COUNT() AS n FROM devices WHERE configurations.c1.status = 'Applied'":                             `[{"n":2}]`,
			"SELECT configurations.c1.status AS s, COUNT() AS n FROM devices GROUP BY configurations.c1.status":       ``,
			"SELECT deviceId FROM devices WHERE STARTS_WITH(configurations.c1.status, 'App') AND tags.site = 'north'": `[{"deviceId":"d1"},{"deviceId":"d2"}]`,
			"SELECT deviceId FROM devices.modules WHERE configurations.c1.status = 'Applied'":                         `[]`,
		} {
			q, err := json.Marshal(map[string]string{"query": query})
			if err != nil {
				t.Fatal(err)
			}
			a := s.send("POST", "/devices/query", string(q))
			a.ok(200, nil)
			if want != "" && a.body != want {
				t.Errorf("%s gives %s, want %s", query, a.body, want)
			}
			if want == "" && (len(a.body) != len(`[{"s":"Applied","n":2},{"n":1}]`) || !strings.Contains(a.body, `{"s":"Applied","n":2}`)) {
				t.Errorf("%s gives %s", query, a.body)
			}
		}

		// What is changed, and what cannot be.
		s.send("PUT", "/configurations/c1", `{"content":`+content+`}`).refused("exists", 409, "ConfigurationAlreadyExists", "c1")
		s.send("PUT", "/configurations/c1", `{}`, "If-Match", `"Mg=="`).refused("stale", 412, "PreconditionFailed", "ETag")
		s.send("DELETE", "/configurations/c1", "", "If-Match", `"Mg=="`).refused("stale", 412, "PreconditionFailed", "ETag")
		s.send("PUT", "/configurations/c1", `{"content":{"deviceContent":{"properties.desired.chiller":1}}}`, "If-Match", "*").
			refused("content", 400, "CannotModifyImmutableConfigurationContent", "cannot be changed")
		s.send("PUT", "/configurations/c1", `{"id":"c2"}`, "If-Match", "*").refused("id", 400, "ArgumentInvalid", "'c2'")
		c = configured{}
		s.send("PUT", "/configurations/c1", `{"targetCondition":"deviceId = 'd3'","priority":3,"content": {"deviceContent":{"properties.desired.chiller":{"x":[1,{"y":null}],"speed":5.0}}}}`, "If-Match", `"MQ=="`).ok(200, &c)
		if c.ETag != "Mg==" || c.Priority != 3 || string(c.Content) != content || string(c.Labels) != "{}" || len(c.Metrics.Queries) != 0 || !c.Updated.After(c.Created) {
			t.Errorf("changed to %+v", c)
		}
		s.becomes("GET", "/configurations/c1", `"systemMetrics":{"results":{"appliedCount":1,"targetedCount":1}`)
		s.becomes("GET", "/twins/d1", `"desired":{"$metadata"`)
		s.becomes("GET", "/twins/d3", `"chiller":{"speed":5.0`)

		// The list.
		for i := range 25 {
			s.send("PUT", fmt.Sprintf("/configurations/z%02d", i), `{"content":`+content+`}`).ok(201, nil)
		}
		var list []configured
		for query, want := range map[string]int{"/configurations": 20, "/configurations/": 20, "/configurations?api-version=2021-04-12&top=5": 5, "/configurations?api-version=2021-04-12&top=1000": 26} {
			s.send("GET", query, "").ok(200, &list)
			if len(list) != want || list[0].ID != "c1" || list[1].ID != "z00" {
				t.Errorf("%s: %d configurations", query, len(list))
			}
		}
		s.send("GET", "/configurations?api-version=2021-04-12&top=x", "").refused("top", 400, "ArgumentInvalid", "top")
		s.send("DELETE", "/configurations/c1", "", "If-Match", `"Mg=="`).ok(204, nil)
		s.send("GET", "/configurations/c1", "").refused("deleted", 404, "ConfigurationNotFound")
		if a := s.send("GET", "/twins/d3", ""); strings.Contains(a.body, `"configurations"`) {
			t.Errorf("the twin is %s", a.body)
		}
		s.becomes("GET", "/twins/d3", `"desired":{"$metadata"`)
		s.send("PUT", "/configurations/c1", `{"content":`+content+`}`).ok(201, &c)
		if c.ETag != "MQ==" {
			t.Errorf("made anew it has the ETag %s", c.ETag)
		}
	})
}

// becomes waits until an answer holds a text.
func (s *site) becomes(method, path, want string) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		a := s.send(method, path, "")
		if strings.Contains(a.body, want) {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%s %s is still %s, want %s", method, path, a.body, want)
		}
	}
}

func TestConfigurationRefused(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for _, c := range []struct {
			id, body, code, word string
		}{
			{"c", `{}`, "InvalidConfigurationContent", "needs a content"},
			{"c", `{"content":null}`, "InvalidConfigurationContent", "needs a content"},
			{"c", `{"content":{}}`, "InvalidConfigurationContent", "has 0 of"},
			{"c", `{"content":{"deviceContent":{"properties.desired.a":1},"modulesContent":{"$edgeAgent":{}}}}`, "InvalidConfigurationContent", "has 2 of"},
			{"c", `{"content":{"deviceContent":{"properties.desired.$x":1}}}`, "InvalidConfigurationContent", "$x"},
			{"c", `{"content":{"deviceContent":{"properties.desired.a":{"b c":1}}}}`, "InvalidConfigurationContent", "no twin can have"},
			{"c", `{"content":{"deviceContent":{"properties.desired.a":"` + strings.Repeat("x", 5000) + `"}}}`, "InvalidConfigurationContent", "strict limits"},
			{"c", `{"content":{"deviceContent":{"properties.desired.a":99999999999999999}}}`, "InvalidConfigurationContent", "no twin can have"},
			{"c", `{"content":{"deviceContent":{"properties.desired.a":` + strings.Repeat(`{"a":`, 60) + "1" + strings.Repeat("}", 60) + `}}}`, "InvalidConfigurationContent", "nested"},
			{"c", `{"content":` + content + `,"targetCondition":"tags.a = "}`, "InvalidConfigurationTargetCondition", "at character 10"},
			{"c", `{"content":` + content + `,"targetCondition":"properties.desired.a = 1"}`, "InvalidConfigurationTargetCondition", "can be about"},
			{"c", `{"content":` + content + `,"metrics":{"queries":{"m":"SELECT"}}}`, "InvalidConfigurationCustomMetricsQuery", "'m'"},
			{"c", `{"content":` + content + `,"priority":-1}`, "ArgumentInvalid", "priority"},
			{"c", `{"content":` + content + `,"priority":2147483648}`, "ArgumentInvalid", "priority"},
			{"c", `{"content":` + content + `,"priority":"high"}`, "ArgumentInvalid", "priority"},
			{"c", `{"content":` + content + `,"schemaVersion":"3.0"}`, "InvalidSchemaVersion", "1.0"},
			{"c", `{"content":` + content + `,"labels":{"a":1}}`, "ArgumentInvalid", "label"},
			{"c", `{"content":` + content + `,"labels":[]}`, "ArgumentInvalid", "labels"},
			{"Upper", `{"content":` + content + `}`, "ArgumentInvalid", "Upper"},
			{"a%20b", `{"content":` + content + `}`, "ArgumentInvalid", "a b"},
			{"a%2Fb", `{"content":` + content + `}`, "ArgumentInvalid", "a/b"},
			{"c", `{`, "DeserializationError", "JSON"},
		} {
			s.send("PUT", "/configurations/"+c.id, c.body).refused(c.body[:min(len(c.body), 100)], 400, c.code, c.word)
		}
		for i := range 100 {
			s.send("PUT", fmt.Sprintf("/configurations/c%d", i), `{"content":`+content+`}`).ok(201, nil)
		}
		s.send("PUT", "/configurations/more", `{"content":`+content+`}`).refused("too many", 413, "ConfigurationCountLimitExceeded", "at most 100", "strict limits")
	})
}

func TestConfigurationQueries(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		var out struct {
			Target  *string           `json:"targetConditionError"`
			Metrics map[string]string `json:"customMetricQueryErrors"`
		}
		s.send("POST", "/configurations/testQueries", `{"targetCondition":"tags.a = 1","customMetricQueries":{"m":"SELECT deviceId FROM devices"}}`).ok(200, &out)
		if out.Target != nil || out.Metrics == nil || len(out.Metrics) != 0 {
			t.Errorf("good ones: %+v", out)
		}
		s.send("POST", "/configurations/testQueries", `{"targetCondition":"FROM devices.modules WHERE tags.a =","customMetricQueries":{"m":"SELECT deviceId FROM devices","n":"SELECT COUNT() AS n FROM devices"}}`).ok(200, &out)
		if out.Target == nil || !strings.Contains(*out.Target, "at character 36") || len(out.Metrics) != 1 || !strings.Contains(out.Metrics["n"], "number of rows") {
			t.Errorf("bad ones: %+v", out)
		}
		s.send("POST", "/configurations/testQueries", `{}`).ok(200, &out)
	})
}

func TestApplyConfigurationContent(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		const path = "/devices/e/applyConfigurationContent"
		s.send("POST", path, `{}`).refused("unknown", 404, "DeviceNotFound", "e")
		s.send("PUT", "/devices/e", `{"capabilities":{"iotEdge":true}}`).ok(200, nil)
		s.send("PUT", "/devices/leaf", `{}`).ok(200, nil)
		s.send("PATCH", "/twins/e/modules/$edgeAgent", `{"properties":{"desired":{"old":1}}}`).ok(200, nil)
		s.send("PATCH", "/twins/e", `{"properties":{"desired":{"mine":1}}}`).ok(200, nil)
		for _, bad := range []string{`{}`, `{"moduleContent":{"properties.desired.a":1}}`, `{"modulesContent":{"$edgeAgent":{"desired":1}}}`, `{"deviceContent":{"properties.desired.$a":1}}`} {
			s.send("POST", path, bad).refused(bad, 400, "InvalidConfigurationContent")
		}
		s.send("POST", path, `{"modulesContent":{"nobody":{"properties.desired.a":1}}}`).refused("module", 404, "ModuleNotFound", "nobody")
		s.send("POST", "/devices/leaf/applyConfigurationContent", `{"modulesContent":{"$edgeAgent":{"properties.desired":{"a":1}}}}`).refused("leaf", 400, "InvalidConfigurationContent", "no edge device")

		s.send("POST", path, `{"modulesContent":{"$edgeAgent":{"properties.desired":{"schemaVersion":"1.1","modules":{"temp":{"v":1}}}},
			"$edgeHub":{"properties.desired.routes":{"a":"b"}},"temp":{"properties.desired":{"rate":1}}},"deviceContent":{"properties.desired.d":2}}`).ok(204, nil)
		for twin, want := range map[string]string{
			"/twins/e":                    `"desired":{"mine":1,"d":2,"$metadata"`,
			"/twins/e/modules/$edgeAgent": `"schemaVersion":"1.1"`,
			"/twins/e/modules/$edgeHub":   `"desired":{"routes":{"a":"b"},"$metadata"`,
			"/twins/e/modules/temp":       `"desired":{"rate":1,"$metadata"`,
			"/devices/e/modules/temp":     `"managedBy":"iotEdge"`,
		} {
			if a := s.send("GET", twin, ""); !strings.Contains(a.body, want) || strings.Contains(a.body, `"old"`) {
				t.Errorf("%s is %s", twin, a.body)
			}
		}
		// Once more is no change.
		before := s.send("GET", "/twins/e/modules/$edgeAgent", "").body
		s.send("POST", path, `{"modulesContent":{"$edgeAgent":{"properties.desired":{"modules":{"temp":{"v":1}},"schemaVersion":"1.1"}}}}`).ok(204, nil)
		if after := s.send("GET", "/twins/e/modules/$edgeAgent", "").body; after != before {
			t.Errorf("the same content changed the twin from %s to %s", before, after)
		}
	})
}
