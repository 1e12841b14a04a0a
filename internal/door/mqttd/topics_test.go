package mqttd

import (
	"strings"
	"testing"

	"dunlin/internal/compattest"
	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

// TestCompat holds docs/compat and the tests that rows name to the table.
func TestCompat(t *testing.T) {
	words := map[way]string{publishes: "device publishes", subscribes: "device subscribes", delivers: "hub publishes"}
	p := &compattest.Page{
		File: "iothub-mqtt.md", Title: "MQTT for devices",
		About: "MQTT 3.1.1 over TLS on port 8883 and over WebSockets (`/$iothub/websocket`) on port 443, with a `SharedAccessSignature` as the password or a client certificate. " +
			"Any `api-version` in the user name is taken. `{bag}` is a property bag: `name=value` pairs, percent-encoded, with `&` between them. " +
			"QoS 2 is granted as 1 and a PUBLISH with it ends the connection, as does a topic that is not in this list; a filter that is not is refused with 0x80. " +
			"MQTT 5 and 3.1 are refused in their own form.",
		Columns: []string{"way", "topic", "what"},
	}
	for _, row := range topics {
		p.Rows = append(p.Rows, compattest.Row{Cells: []string{words[row.way], "`" + row.pattern + "`", row.about}, Tests: row.test})
	}
	compattest.Check(t, "internal/door/mqttd", p)
}

func TestFilters(t *testing.T) {
	module, odd := iot.ID{Device: "d", Module: "m"}, iot.ID{Device: "a{b}/+#"}
	for _, c := range []struct {
		id     iot.ID
		filter string
		want   subscription // none for a refusal
	}{
		{device, "$iothub/twin/res/#", subTwin},
		{module, "$iothub/twin/res/#", subTwin},
		{device, "$iothub/twin/PATCH/properties/desired/#", subDesired},
		{device, "$iothub/methods/POST/#", subMethods},
		{device, "$iothub/methods/POST/reboot/#", subMethods},
		{device, "devices/d/messages/devicebound/#", subMessages},
		{module, "devices/d/modules/m/messages/devicebound/#", subMessages},
		{module, "devices/d/modules/m/inputs/#", subInputs},
		{module, "devices/d/modules/m/#", subInputs},
		{odd, "devices/a{b}/+#/messages/devicebound/#", subMessages},
		{module, "devices/d/messages/devicebound/#", none},
		{device, "devices/d/modules/m/messages/devicebound/#", none},
		{device, "devices/d/modules/m/#", none},
		{device, "devices/e/messages/devicebound/#", none},
		{device, "devices/d/messages/devicebound/", none},
		{device, "devices/d/messages/devicebound/#x", none},
		{device, "devices/+/messages/devicebound/#", none},
		{device, "devices/d/messages/#", none},
		{device, "devices/d/messages/events/#", none},
		{device, "$iothub/methods/POST//#", none},
		{device, "$iothub/methods/POST/a/b/#", none},
		{device, "$iothub/methods/POST/+/#", none},
		{device, "$iothub/methods/POST/a", none},
		{device, "$iothub/twin/res/", none},
		{device, "$iothub/twin/GET/?$rid=1", none},
		{device, "#", none},
		{device, "", none},
	} {
		have, ok := filterOf(c.id, []byte(c.filter))
		if ok != (c.want != none) || (ok && have != c.want) {
			t.Errorf("%s for %s: %v %v, want %v", c.filter, c.id, have, ok, c.want)
		}
	}
}

func TestRequestTopics(t *testing.T) {
	for head, want := range map[string]string{
		"$iothub/twin/GET/": "", "$iothub/twin/PATCH/properties/reported/": "", "$iothub/methods/res/200/": "200/", "$iothub/methods/res/-1": "-1", "$iothub/methods/res/": "",
		"$iothub/twin/GET/x": "none", "$iothub/twin/GET": "none", "$iothub/twin/PUT/": "none", "$iothub/": "none", "": "none",
	} {
		have, tail := requestOf(head)
		if (have == nil) != (want == "none") || (have != nil && tail != want) {
			t.Errorf("%s: %v %q, want %q", head, have, tail, want)
		}
	}
}

// TestTopicsOfDeliveries shows that what is delivered, and where telemetry
// goes, is as the table says.
func TestTopicsOfDeliveries(t *testing.T) {
	s := start(t, newLog(t))
	for _, id := range []iot.ID{device, {Device: "d", Module: "m"}} {
		p := s.connected(t, func(c *mqtt.Connect) {
			if id.IsModule() {
				c.ClientID, c.UserName = []byte("d/m"), []byte("hub.test/d/m/?api-version=2021-04-12")
			}
		})
		fill := strings.NewReplacer("{device}", id.Device, "{module}", id.Module, "{name}", "reboot", "{rid}", "1f", "{version}", "7", "{status}", "200", "{bag}", "%24.mid=1")
		var subscribe []string
		delivered := map[string]bool{}
		for i := range topics {
			switch row := &topics[i]; {
			case !row.isOf(id):
			case row.way == subscribes && row.sub != subInputs:
				subscribe = append(subscribe, fill.Replace(row.pattern))
			case row.way == delivers:
				delivered[fill.Replace(row.pattern)] = true
			case row.request == nil && row.way == publishes:
				if have, ok := bagOf(telemetryTopic(id), []byte(fill.Replace(row.pattern))); !ok || string(have) != "%24.mid=1" {
					t.Errorf("%s is not the telemetry topic of %s", row.pattern, id)
				}
			}
		}
		p.send(subscribePacket(t, 1, subscribe...))
		p.want(append([]byte{0x90, byte(2 + len(subscribe)), 0, 3}, []byte(strings.Repeat("\x01", len(subscribe)))...))
		message := iot.Message{System: []iot.SystemProperty{{Key: iot.MessageID, Value: []byte("1")}}}
		for _, in := range []*iot.Inbound{{Kind: iot.KindMethod, Request: "1f", Method: "reboot"}, {Kind: iot.KindDesired, Version: 7}, {Kind: iot.KindMessage, Message: message}} {
			if !s.conn(id).Deliver(in) {
				t.Fatalf("not delivered: %+v", in)
			}
			if got := string(p.publish().Topic); !delivered[got] {
				t.Errorf("%s is not in the table", got)
			} else {
				delete(delivered, got)
			}
		}
		p.send(publishPacket(t, "$iothub/twin/GET/?$rid=1f", 0, 0, nil))
		if got := string(p.publish().Topic); !delivered[got] || len(delivered) != 1 {
			t.Errorf("%s; left of the table: %v", got, delivered)
		}
	}
}
