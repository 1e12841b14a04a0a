package admin

import (
	"bytes"
	"net/url"
	"strings"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// sourceWords are the words for the sources of events.
var sourceWords = [...]struct {
	word   string
	source iot.EventSource
}{
	{"telemetry", iot.SourceTelemetry},
	{"twin", iot.SourceTwinChange},
	{"lifecycle", iot.SourceDeviceLifecycle},
	{"connection", iot.SourceConnectionState},
	{"job", iot.SourceJobLifecycle},
	{"digital-twin", iot.SourceDigitalTwin},
}

// eventFilter says which events are shown. What the beginning of a record can
// decide is decided before the rest is decoded.
type eventFilter struct {
	sources    uint64 // a bit for each
	device     string // empty for all
	pattern    string // of device ids, in which * stands for any text; empty for all
	properties []propertyFilter
}

// propertyFilter asks for a property of a message.
type propertyFilter struct {
	name  string
	value string // in which * stands for any text
	any   bool   // whatever the value is
}

func parseEventFilter(v url.Values) (eventFilter, error) {
	f := eventFilter{device: v.Get("device"), pattern: v.Get("devices")}
	if f.pattern != "" && strings.Trim(f.pattern, "*") == "" {
		f.pattern = ""
	}
	words := v.Get("source")
	if words == "" {
		words = "telemetry"
	}
	for word := range strings.SplitSeq(words, ",") {
		switch bit := sourceBit(word); {
		case word == "all":
			f.sources = ^uint64(0)
		case bit == 0:
			return f, iot.Errorf(iot.ArgumentInvalid, "source=%.60s: telemetry, twin, lifecycle, connection, job, digital-twin or all, or several of them separated by commas", words)
		default:
			f.sources |= bit
		}
	}
	for _, p := range v["property"] {
		name, value, given := strings.Cut(p, "=")
		if name == "" {
			return f, iot.Errorf(iot.ArgumentInvalid, "property=%.60s: NAME or NAME=VALUE", p)
		}
		f.properties = append(f.properties, propertyFilter{name: name, value: value, any: !given})
	}
	return f, nil
}

func sourceBit(word string) uint64 {
	for _, s := range sourceWords {
		if s.word == word {
			return 1 << s.source
		}
	}
	return 0
}

// begins reports whether a record may be shown, by its beginning. Records that
// cannot be read are left to the decoder to complain of.
func (f *eventFilter) begins(data []byte) bool {
	h, err := record.Peek(data)
	switch {
	case err != nil:
		return true
	case h.Source < 64 && f.sources&(1<<h.Source) == 0:
		return false
	case f.device != "" && f.device != string(h.Device):
		return false
	}
	return f.pattern == "" || matches(f.pattern, h.Device)
}

// wants decides by what only the whole event tells.
func (f *eventFilter) wants(e *record.Event) bool {
	for i := range f.properties {
		if !f.properties[i].in(e) {
			return false
		}
	}
	return true
}

// in looks among the application properties, then among those that the system
// knows.
func (p *propertyFilter) in(e *record.Event) bool {
	for i := range e.Properties {
		if string(e.Properties[i].Name) == p.name {
			return p.any || matches(p.value, e.Properties[i].Value)
		}
	}
	for i := range e.System {
		if e.System[i].Key.String() == p.name {
			return p.any || matches(p.value, e.System[i].Value)
		}
	}
	return false
}

// matches reports whether text follows a pattern in which * stands for any
// text. The time it takes is bounded by the product of their lengths.
func matches(pattern string, text []byte) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return string(text) == first
	}
	if len(text) < len(first) || string(text[:len(first)]) != first {
		return false
	}
	text = text[len(first):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return bytes.HasSuffix(text, []byte(part))
		}
		at := bytes.Index(text, []byte(part))
		if at < 0 {
			return false
		}
		text, rest = text[at+len(part):], more
	}
}
