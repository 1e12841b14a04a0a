package mqttd

import (
	"strings"

	"dunlin/internal/iot"
)

// way is who does what with a topic.
type way uint8

const (
	publishes  way = iota // the device publishes to it
	subscribes            // the device subscribes to it
	delivers              // the hub publishes to the device
)

// topic is a topic, or a filter, that devices and modules know.
type topic struct {
	way way
	// pattern is the text, with {device}, {module} and {name} for one level or
	// a part of one. A pattern with {module} is of modules alone, one with
	// {device} and without {module} of devices alone. {bag} is a property bag.
	pattern string
	sub     subscription                    // of subscribes
	request func(*session, requested) error // of publishes under $iothub
	about   string
	test    string // as in the tables of REST operations
}

// topics is all that this door knows of topics: what is not in it is refused.
var topics = [...]topic{
	{way: publishes, pattern: "devices/{device}/messages/events/{bag}", about: "telemetry, QoS 0 and 1; acknowledged when it is durable", test: "TestTelemetryIsAcknowledgedWhenDurable|TestNodeTelemetry|TestNodeTopics/devices/{d}/messages/events/{bag}"},
	{way: publishes, pattern: "devices/{device}/modules/{module}/messages/events/{bag}", about: "telemetry of a module", test: "TestNodeIdentities|TestNodeTopics/devices/{d}/modules/{m}/messages/events/{bag}"},
	{way: publishes, pattern: topicGet + "?$rid={rid}", request: (*session).getTwin, about: "asks for the twin", test: "TestTwinRequests|TestNodeTwins|TestNodeTopics/$iothub/twin/GET/ with QoS 0 and 1"},
	{way: publishes, pattern: topicReport + "?$rid={rid}", request: (*session).reportTwin, about: "merges reported properties; `&$version=` is the version that they must have", test: "TestTwinRequests|TestNodeTwins|TestNodeTopics/$iothub/twin/PATCH/properties/reported/"},
	{way: publishes, pattern: topicReply + "{status}/?$rid={rid}", request: (*session).replyMethod, about: "answers a direct method", test: "TestMethodCall|TestNodeMethods|TestNodeTopics/$iothub/methods/POST/{name}/ and $iothub/methods/res/{status}/"},
	{way: subscribes, pattern: "$iothub/twin/res/#", sub: subTwin, about: "answers to twin requests", test: "TestSubscribe|TestNodeTwins"},
	{way: subscribes, pattern: "$iothub/twin/PATCH/properties/desired/#", sub: subDesired, about: "changes of desired properties", test: "TestSubscribe|TestNodeTwins|TestNodeTopics/$iothub/twin/PATCH/properties/desired/ with QoS 0 and 1"},
	{way: subscribes, pattern: "$iothub/methods/POST/#", sub: subMethods, about: "direct methods", test: "TestSubscribe|TestNodeMethods"},
	// The others come too, and a device answers those that it does not know with a status of its own.
	{way: subscribes, pattern: "$iothub/methods/POST/{name}/#", sub: subMethods, about: "one direct method; brings the others too", test: "TestSubscribe|TestNodeTopics/$iothub/methods/POST/{name}/ and $iothub/methods/res/{status}/"},
	{way: subscribes, pattern: "devices/{device}/messages/devicebound/#", sub: subMessages, about: "cloud-to-device messages", test: "TestSubscribe|TestNodeMessages|TestNodeTopics/devices/{d}/messages/devicebound/{bag}"},
	{way: subscribes, pattern: "devices/{device}/modules/{module}/messages/devicebound/#", sub: subMessages, about: "messages for a module", test: "TestFilters|TestNodeTopics/modules have topics of their own"},
	{way: subscribes, pattern: "devices/{device}/modules/{module}/inputs/#", sub: subInputs, about: "inputs, which an edge runtime would route; nothing comes yet", test: "TestModuleSubscribesToItsInputs|TestNodeTopics/modules have topics of their own"},
	{way: subscribes, pattern: "devices/{device}/modules/{module}/#", sub: subInputs, about: "the same, as some SDKs spell it", test: "TestModuleSubscribesToItsInputs"},
	{way: delivers, pattern: topicAnswer + "{status}/?$rid={rid}", about: "the answer to a twin request; `&$version=` behind a report", test: "TestTwinRequests|TestNodeTwins"},
	{way: delivers, pattern: topicDesired + "?$version={version}", about: "a change of desired properties, as it was made", test: "TestDesiredChange|TestNodeTwins"},
	{way: delivers, pattern: topicMethod + "{name}/?$rid={rid}", about: "a direct method", test: "TestMethodCall|TestNodeMethods"},
	{way: delivers, pattern: "devices/{device}/messages/devicebound/{bag}", about: "a cloud-to-device message; PUBACK completes it", test: "TestCloudToDeviceMessage|TestNodeMessages|TestNodeTopics/devices/{d}/messages/devicebound/{bag}"},
	{way: delivers, pattern: "devices/{device}/modules/{module}/messages/devicebound/{bag}", about: "a message for a module", test: "TestTopicsOfDeliveries|TestNodeTopics/modules have topics of their own"},
}

// The topics under $iothub, up to the question mark or what differs.
const (
	topicGet     = "$iothub/twin/GET/"
	topicReport  = "$iothub/twin/PATCH/properties/reported/"
	topicReply   = "$iothub/methods/res/"
	topicAnswer  = "$iothub/twin/res/"
	topicDesired = "$iothub/twin/PATCH/properties/desired/"
	topicMethod  = "$iothub/methods/POST/"
)

// filterOf finds which subscription a filter is.
func filterOf(id iot.ID, filter []byte) (subscription, bool) {
	for i := range topics {
		if t := &topics[i]; t.way == subscribes && t.isOf(id) && t.matches(id, string(filter)) {
			return t.sub, true
		}
	}
	return 0, false
}

// isOf reports whether an identity has such a topic.
func (t *topic) isOf(id iot.ID) bool {
	if strings.Contains(t.pattern, "{module}") {
		return id.IsModule()
	}
	return !id.IsModule() || !strings.Contains(t.pattern, "{device}")
}

// matches compares a filter with the pattern. A name is of one level and holds
// no wildcards; ids are those of the identity, whatever they hold.
func (t *topic) matches(id iot.ID, s string) bool {
	p := t.pattern
	for p != "" {
		fixed, rest, more := strings.Cut(p, "{")
		if !strings.HasPrefix(s, fixed) {
			return false
		}
		if s = s[len(fixed):]; !more {
			return s == ""
		}
		var what string
		what, p, _ = strings.Cut(rest, "}")
		var n int
		switch what {
		case "device":
			n = len(id.Device)
			if !strings.HasPrefix(s, id.Device) {
				return false
			}
		case "module":
			n = len(id.Module)
			if !strings.HasPrefix(s, id.Module) {
				return false
			}
		default:
			if n = strings.IndexAny(s, "/+#"); n <= 0 {
				return false
			}
		}
		s = s[n:]
	}
	return s == ""
}

// requestOf finds which request a topic is, by what stands before the question
// mark; tail is what of that belongs to the request.
func requestOf(head string) (t *topic, tail string) {
	for i := range topics {
		t := &topics[i]
		if t.request == nil {
			continue
		}
		fixed := t.pattern[:strings.IndexAny(t.pattern, "{?")]
		tail, ok := strings.CutPrefix(head, fixed)
		if ok && (tail == "" || t.pattern[len(fixed)] == '{') {
			return t, tail
		}
	}
	return nil, ""
}
