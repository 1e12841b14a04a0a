package apptest

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// TestEventForms holds the events that the platform makes itself to the
// documented properties and bodies.
func TestEventForms(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true, Args: []string{"--hub-name", "factory"}})
	key := s.Device("d1")
	s.CLI("device", "create", "d1", "--module", "m1")
	c, err := device.Dial(t.Context(), s.PlainAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Hello(device.HelloFor("localhost", "d1", key)); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(device.Filter(1, "$iothub/twin/res/#", 0), device.Message("$iothub/twin/PATCH/properties/reported/?$rid=1", []byte(`{"temp":21.50}`), 0, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // SUBACK and the answer
		if _, err := c.Receive(30 * time.Second); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	s.CLI("twin", "update", "d1", "--module", "m1", "--set", "desired.on=true")
	s.CLI("twin", "replace", "d1", "--tags", `{"site":"north"}`, "--desired", `{"on":false}`)
	s.CLI("device", "delete", "d1", "--module", "m1")
	s.CLI("device", "delete", "d1")

	const fresh = `"etag":"AAAAAAAAAAE=","version":2,"properties":{"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}}`
	want := []struct{ source, schema, op, module, body string }{
		{"deviceLifecycleEvents", "deviceLifecycleNotification", "createDeviceIdentity", "", `{"deviceId":"d1",` + fresh},
		{"deviceLifecycleEvents", "deviceLifecycleNotification", "createDeviceIdentity", "m1", `{"deviceId":"d1","moduleId":"m1",` + fresh},
		{"twinChangeEvents", "twinChangeNotification", "updateTwin", "", `{"version":3,"properties":{"reported":{"temp":21.50,"$metadata":{"$lastUpdated":T,"temp":{"$lastUpdated":T}},"$version":2}}}`},
		{"twinChangeEvents", "twinChangeNotification", "updateTwin", "m1", `{"version":3,"properties":{"desired":{"on":true,"$metadata":{"$lastUpdated":T,"$lastUpdatedVersion":2,"on":{"$lastUpdated":T,"$lastUpdatedVersion":2}},"$version":2}}}`},
		{"twinChangeEvents", "twinChangeNotification", "replaceTwin", "", `{"deviceId":"d1","etag":"AAAAAAAAAAI=","version":4,"tags":{"site":"north"},"properties":{` +
			`"desired":{"on":false,"$metadata":{"$lastUpdated":T,"$lastUpdatedVersion":2,"on":{"$lastUpdated":T,"$lastUpdatedVersion":2}},"$version":2},` +
			`"reported":{"temp":21.50,"$metadata":{"$lastUpdated":T,"temp":{"$lastUpdated":T}},"$version":2}}}`},
		{"deviceLifecycleEvents", "deviceLifecycleNotification", "deleteDeviceIdentity", "m1", `{"deviceId":"d1","moduleId":"m1",` + fresh},
		{"deviceLifecycleEvents", "deviceLifecycleNotification", "deleteDeviceIdentity", "", `{"deviceId":"d1",` + fresh},
	}
	stamp := regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z"`)
	var list []harness.Event
	for end := time.Now().Add(20 * time.Second); len(list) < len(want) && time.Now().Before(end); {
		list = s.Tail("--source", "lifecycle,twin")
	}
	if len(list) != len(want) {
		t.Fatalf("%d events, want %d", len(list), len(want))
	}
	correlations := map[any]bool{}
	for i, e := range list {
		w := want[i]
		if e.DeviceID != "d1" || e.ModuleID != w.module || stamp.ReplaceAllString(string(e.Body), "T") != w.body {
			t.Errorf("event %d is of %s/%s with the body\n%s, want %s\n%s", i, e.DeviceID, e.ModuleID, e.Body, w.module, w.body)
		}
		system, fixed := e.SystemProperties, map[string]any{
			"content-type": "application/json", "content-encoding": "utf-8", "user-id": "factory",
			"iothub-connection-device-id": "d1", "iothub-message-source": w.source,
		}
		properties := map[string]string{"deviceId": "d1", "hubName": "factory", "opType": w.op, "iothub-message-schema": w.schema}
		if w.module != "" {
			fixed["iothub-connection-module-id"], properties["moduleId"] = w.module, w.module
		}
		names := slices.Sorted(maps.Keys(fixed))
		for _, name := range names {
			if system[name] != fixed[name] {
				t.Errorf("event %d: %s is %v, want %v", i, name, system[name], fixed[name])
			}
		}
		names = append(names, "correlation-id", "iothub-enqueuedtime")
		slices.Sort(names)
		if have := slices.Sorted(maps.Keys(system)); !slices.Equal(have, names) {
			t.Errorf("event %d has the system properties %q, want %q", i, have, names)
		}
		at, err := time.Parse(time.RFC3339Nano, e.Properties["operationTimestamp"])
		if err != nil || time.Since(at) > time.Hour || time.Since(at) < 0 {
			t.Errorf("event %d: operationTimestamp %q", i, e.Properties["operationTimestamp"])
		}
		delete(e.Properties, "operationTimestamp")
		if !maps.Equal(e.Properties, properties) {
			t.Errorf("event %d has the properties %v, want %v", i, e.Properties, properties)
		}
		correlations[system["correlation-id"]] = true
	}
	if len(correlations) != len(list) {
		t.Errorf("%d correlation ids of %d events", len(correlations), len(list))
	}

	// Connections.
	list = s.Tail("--source", "connection", "--device", "d1")
	var ops []string
	last := ""
	for _, e := range list {
		ops = append(ops, e.Properties["opType"])
		var body map[string]string
		if err := json.Unmarshal(e.Body, &body); err != nil || len(body) != 1 || body["sequenceNumber"] <= last || len(body["sequenceNumber"]) != 64 {
			t.Errorf("body %s after %q, want a sequenceNumber of 64 digits that rises: %v", e.Body, last, err)
		}
		last = body["sequenceNumber"]
		if e.Properties["iothub-message-schema"] != "deviceConnectionStateNotification" || e.SystemProperties["iothub-message-source"] != "deviceConnectionStateEvents" {
			t.Errorf("event %v", e)
		}
	}
	if got := strings.Join(ops, " "); got != "deviceConnected deviceDisconnected" {
		t.Errorf("connection events %q", got)
	}
}
