package twinql_test

import (
	"strings"
	"testing"

	"dunlin/internal/lang/twinql"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct {
		text  string
		from  twinql.Collection
		where string // as printed; empty is all
	}{
		{"*", twinql.Devices, ""},
		{" * ", twinql.Devices, ""},
		{"tags.a = 'b'", twinql.Devices, "tags.a = 'b'"},
		{"DEVICEID IN ['a', 'b']", twinql.Devices, "deviceId IN ['a', 'b']"},
		{"fromage = 1", twinql.Devices, "fromage = 1"},
		{"FROM devices", twinql.Devices, ""},
		{"from devices where devices.tags.a = 1", twinql.Devices, "tags.a = 1"},
		{"FROM devices.modules WHERE moduleId = 'm'", twinql.Modules, "moduleId = 'm'"},
		{"FROM\tdevices.modules", twinql.Modules, ""},
	} {
		got, err := twinql.ParseTarget(c.text)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		where := ""
		if got.Where != nil {
			where = twinql.Print(got.Where)
		}
		if got.From != c.from || where != c.where {
			t.Errorf("%q is for %s where %q", c.text, got.From, where)
		}
	}
}

func TestParseTargetErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":         "at character 1: the condition is empty",
		"tags.a =": "at character 9:",

		"FROM devices.modules WHERE tags.a = ": "at character 37:",
		"FROM devices.jobs WHERE jobId = 'a'":  "at character 1: devices.jobs cannot be aimed at",
		"FROM devices GROUP BY status":         "cannot be grouped",
		"FROM somewhere":                       "at character 6:",
		"tags.a = 1 ORDER":                     "at character 12:",
		strings.Repeat("a", 9000):              "longer than 8192",
	} {
		_, err := twinql.ParseTarget(text)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%.60q: %v, want %q", text, err, want)
		}
	}
}

func TestParseTargetNotes(t *testing.T) {
	got, err := twinql.ParseTarget("FROM devices WHERE moduel = 'x'")
	if err != nil || len(got.Notes) != 1 || got.Notes[0].Column != 20 {
		t.Errorf("%+v, %v", got.Notes, err)
	}
}
