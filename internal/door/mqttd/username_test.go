package mqttd

import (
	"testing"

	"dunlin/internal/iot"
)

func TestParseUsername(t *testing.T) {
	for _, c := range []struct {
		in   string
		want identity
	}{
		{ // Node writes the model id raw and before the product
			"hub.test.local/dev1/?api-version=2021-04-12&model-id=dtmi:com:example:Thermostat;1&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20.20.2%3B%20x64)lab%3Bx%3Dy",
			identity{"hub.test.local", iot.ID{Device: "dev1"}, "dtmi:com:example:Thermostat;1", "azure-iot-device/1.18.4 (node v20.20.2; x64)lab;x=y"},
		},
		{
			"h:18883/d/m/?api-version=2020-09-30&DeviceClientType=c&model-id=dtmi%3Aa%3Bb%3B1",
			identity{"h:18883", iot.ID{Device: "d", Module: "m"}, "dtmi:a;b;1", "c"},
		},
		{"h/d/api-version=2016-11-14", identity{"h", iot.ID{Device: "d"}, "", ""}},
		{"h/d", identity{"h", iot.ID{Device: "d"}, "", ""}},
		{"h/d/", identity{"h", iot.ID{Device: "d"}, "", ""}},
		{"h/d?x/?api-version=1", identity{"h", iot.ID{Device: "d?x"}, "", ""}},
	} {
		got, err := parseUsername(c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
	for _, in := range []string{"", "h", "h/d/m/x/?api-version=1", "h/d/?model-id=%zz"} {
		if got, err := parseUsername(in); err == nil {
			t.Errorf("%q accepted as %+v", in, got)
		}
	}
}

func TestCheckClientID(t *testing.T) {
	u := identity{id: iot.ID{Device: "d", Module: "m"}}
	if err := u.checkClientID("d/m"); err != nil {
		t.Error(err)
	}
	for _, in := range []string{"d", "D/m", "d/m/", ""} {
		if u.checkClientID(in) == nil {
			t.Errorf("%q accepted", in)
		}
	}
}
