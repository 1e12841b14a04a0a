package conformance

import (
	"testing"

	"dunlin/test/harness"
)

// TestNodeTopics uses each MQTT topic with a plain MQTT client.
func TestNodeTopics(t *testing.T) {
	tableThen(t, "topics.js", "127.43.8.", checkTopics, "mqtt", "mqtt-ws")
}

// checkTopics looks for what topics.js has sent.
func checkTopics(t *testing.T, s *harness.Server) {
	t.Helper()
	type sent struct {
		body       string
		properties map[string]string
		system     map[string]string
	}
	for _, transport := range []string{"mqtt", "mqtt-ws"} {
		for device, want := range map[string][]sent{
			"topics-events-": {
				{body: "no slash"},
				{body: "slash"},
				{`"bag"`, map[string]string{"a": "1", "b": "x y"}, map[string]string{"message-id": "m1", "content-type": "application/json"}},
				{"question mark", map[string]string{"a": "1"}, nil},
				{`"raw slash"`, map[string]string{"p": "v"}, map[string]string{"content-type": "application/json"}},
				{"retained", map[string]string{"mqtt-retain": "true"}, nil},
				{"again", map[string]string{"mqtt-dup": "true"}, nil},
				{body: ""},
			},
			"topics-module-": {{"of the module", nil, map[string]string{"iothub-connection-module-id": "camera", "iothub-outputname": "out1"}}},
			"topics-will-":   {{body: "here"}, {"gone", map[string]string{"a": "1", "iothub-MessageType": "Will"}, nil}},
		} {
			var events []harness.Event
			for _, e := range s.Tail("--device", device+transport) {
				if e.SystemProperties["iothub-message-source"] == "Telemetry" {
					events = append(events, e)
				}
			}
			if len(events) != len(want) {
				t.Errorf("%s%s: %d messages in the log, want %d", device, transport, len(events), len(want))
				continue
			}
			for i, w := range want {
				e := events[i]
				if string(e.Payload()) != w.body {
					t.Errorf("%s%s: message %d is %q, want %q", device, transport, i, e.Payload(), w.body)
				}
				for k, v := range w.properties {
					if e.Properties[k] != v {
						t.Errorf("%s%s: %s: properties %v, want %v", device, transport, w.body, e.Properties, w.properties)
					}
				}
				for k, v := range w.system {
					if e.SystemProperties[k] != v {
						t.Errorf("%s%s: %s: %s is %v, want %s", device, transport, w.body, k, e.SystemProperties[k], v)
					}
				}
			}
		}
	}
}
