package conformance

import (
	"encoding/json"
	"testing"

	"dunlin/test/harness"
)

// TestNodePlugAndPlay runs a device as the public samples write one against
// the digital twin client.
func TestNodePlugAndPlay(t *testing.T) {
	tableThen(t, "pnp.js", "127.43.6.", checkComponents, "mqtt", "mqtt-ws")
}

// checkComponents looks for the telemetry that pnp.js has sent: it says which
// model and which component it is of.
func checkComponents(t *testing.T, s *harness.Server) {
	t.Helper()
	found := map[string]int{}
	for _, e := range s.Tail() {
		var body struct{ Device, Component string }
		if err := json.Unmarshal(e.Payload(), &body); err != nil || body.Device == "" {
			continue
		}
		found[body.Component]++
		subject, _ := e.SystemProperties["dt-subject"].(string)
		if e.SystemProperties["dt-dataschema"] != "dtmi:com:example:TemperatureController;1" || subject != body.Component || e.SystemProperties["content-type"] != "application/json" {
			t.Errorf("%s: %v", e.Payload(), e.SystemProperties)
		}
		if len(e.Properties) != 0 {
			t.Errorf("%s: application properties %v", e.Payload(), e.Properties)
		}
	}
	for _, component := range []string{"", "thermostat1", "thermostat2"} {
		if found[component] != 2 { // over two transports
			t.Errorf("%d messages of the component %q, want 2", found[component], component)
		}
	}
}
