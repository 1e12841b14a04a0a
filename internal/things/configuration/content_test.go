package configuration

import (
	"strings"
	"testing"

	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

func TestContentRefused(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                   "has 0 of",
		`[]`:                   "must be an object",
		`{"deviceContent":{}}`: "has 0 of",
		`{"deviceContent":{"properties.desired.a":1},"moduleContent":{"properties.desired.a":1}}`: "has 2 of",
		`{"deviceContent":[]}`:                                                  "must be an object",
		`{"deviceContent":{"properties.reported.a":1}}`:                         "does not begin with properties.desired",
		`{"deviceContent":{"properties.desireda":1}}`:                           "does not begin with properties.desired",
		`{"deviceContent":{"tags.a":1}}`:                                        "does not begin with properties.desired",
		`{"deviceContent":{"properties.desired.a..b":1}}`:                       "empty name",
		`{"deviceContent":{"properties.desired.":1}}`:                           "empty name",
		`{"deviceContent":{"properties.desired":1}}`:                            "must be an object",
		`{"modulesContent":{"$edgeAgent":1}}`:                                   "must be an object",
		`{"modulesContent":{"no spaces":{}}}`:                                   "not the id of a module",
		`{"deviceContent":{"properties.desired.a":1,"properties.desired.a":2}}`: "there twice",
		`{"deviceContent"`:                                                      "not valid JSON",
	} {
		_, err := readContent(text, func(iot.ID, []byte) error { return nil })
		if iot.CodeOf(err) != iot.InvalidConfigurationContent || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestContentOfOtherKindsMayBeEmpty(t *testing.T) {
	c, err := parseContent(`{"modulesContent":{},"moduleContent":null,"deviceContent":{"properties.desired.a.b":{"c":null,"d":[null]},"properties.desired.a":5}}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.kind != Devices || len(c.pieces) != 2 || len(c.pieces[0].path) != 1 || len(c.pieces[1].path) != 2 {
		t.Errorf("read as %+v", c)
	}
}

func TestConditions(t *testing.T) {
	for _, c := range []struct {
		text string
		kind Kind
		want string // of the error, empty for none
	}{
		{"", Devices, ""},
		{"  ", Edge, ""},
		{"*", Devices, ""},
		{"*", Modules, ""},
		{"tags.site = 'north' AND properties.reported.a.b > 5 OR deviceId IN ['x']", Devices, ""},
		{"capabilities.iotEdge = true", Edge, ""},
		{"FROM devices.modules WHERE moduleId = 'm' AND tags.x = 1", Modules, ""},
		{"from devices.modules", Modules, ""},
		{"tags.site = 'north'", Modules, "begins with FROM devices.modules"},
		{"FROM devices.modules WHERE tags.a = 1", Devices, "write what stands behind WHERE"},
		{"tags.site == ", Devices, "at character"},
		{"tags.site = 'north' ORDER BY x", Devices, "at character 21"},
		{"FROM devices.modules WHERE tags.a = ", Modules, "at character 37"},
		{"tag.site = 'north'", Devices, "did you mean tags"},
		{"properties.desired.a = 1", Devices, "can be about deviceId"},
		{"configurations.[[a]].status = 'Applied'", Devices, "can be about deviceId"},
		{"connectionState = 'Connected'", Devices, "can be about deviceId"},
		{"IS_DEFINED(properties.reported)", Devices, "can be about deviceId"},
		{strings.Repeat("(", 100) + "tags.a = 1" + strings.Repeat(")", 100), Devices, "at character"},
		{"tags.a = '" + strings.Repeat("x", 9000) + "'", Devices, "longer than"},
		{"tags.a = 1; DROP TABLE device", Devices, "at character 11"},
	} {
		_, err := readCondition(c.text, c.kind)
		if c.want == "" {
			if err != nil {
				t.Errorf("%q: %v", c.text, err)
			}
			continue
		}
		if iot.CodeOf(err) != iot.InvalidConfigurationTarget || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT deviceId FROM devices": "SELECT COUNT() AS n FROM devices",
		"select deviceId from devices where configurations.[[a b]].status = 'Applied'":         "SELECT COUNT() AS n FROM devices WHERE configurations.[[a b]].status = 'Applied'",
		"SELECT deviceId, moduleId FROM devices.modules WHERE properties.reported.code != 200": "SELECT COUNT() AS n FROM devices.modules WHERE properties.reported.code != 200",
	} {
		m, err := readMetric("m", text)
		if err != nil || m.count != want {
			t.Errorf("%s: %q, %v", text, m.count, err)
		}
		if _, err := twinql.Parse(m.count); err != nil {
			t.Errorf("%s: %v", m.count, err)
		}
	}
	for _, text := range []string{"", "SELECT", "SELECT COUNT() AS n FROM devices", "SELECT tags.a FROM devices GROUP BY tags.a", "SELECT * FROM devices.jobs", "tags.a = 1"} {
		if _, err := readMetric("m", text); iot.CodeOf(err) != iot.InvalidConfigurationMetrics {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestIDs(t *testing.T) {
	for id, want := range map[string]bool{
		"a": true, "a-1:+%_#*?!(),=@;'": true, strings.Repeat("a", 128): true,
		"": false, "A": false, "a b": false, "a/b": false, "..": false, strings.Repeat("a", 129): false, "ä": false, "a$": false, "a\x00": false,
	} {
		if validID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}
