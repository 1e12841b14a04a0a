package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Colours of a terminal, as ANSI escapes name them.
const (
	bold    = "1"
	dim     = "2"
	red     = "31"
	green   = "32"
	yellow  = "33"
	blue    = "34"
	magenta = "35"
	cyan    = "36"
)

// view writes events for people, in columns: time, what, who, and the rest.
type view struct {
	s      *session
	colour bool
	width  int // of the column of ids, grows with what is met
}

// The column of ids is at most this wide; longer ids push the rest aside.
const (
	leastIDs = 12
	mostIDs  = 32
)

func newView(s *session) *view {
	return &view{
		s: s, width: leastIDs,
		colour: terminal(s.out) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// kinds are the sources by their names in events.
var kinds = map[string]struct{ word, colour string }{
	"Telemetry":                   {"telemetry", cyan},
	"twinChangeEvents":            {"twin", yellow},
	"deviceLifecycleEvents":       {"lifecycle", magenta},
	"deviceConnectionStateEvents": {"connection", green},
	"deviceJobLifecycleEvents":    {"job", blue},
	"digitalTwinChangeEvents":     {"digital-twin", yellow},
}

const kindWidth = len("digital-twin")

// line gives the text of a line of the stream. Damage is told on the error
// stream.
func (v *view) line(line []byte) string {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		return ""
	}
	if e.Error != "" {
		v.s.notef("dunlin: partition %d: %s\n", e.Partition, e.Error)
		return ""
	}
	source := e.System["iothub-message-source"]
	kind, known := kinds[source]
	if !known {
		kind.word = printable(source)
	}
	op := ""
	if p := e.Properties["opType"]; p != nil {
		op = *p
	}
	text := v.detail(&e, kind.word, op)
	if op == "deviceDisconnected" || op == "deleteDeviceIdentity" {
		kind.colour = red
	}
	id := e.Device
	if e.Module != "" {
		id += "/" + e.Module
	}
	v.width = min(max(v.width, utf8.RuneCountInString(id)), mostIDs)
	var b strings.Builder
	v.paint(&b, dim, e.Time.Local().Format("15:04:05.000"), 0)
	b.WriteString("  ")
	v.paint(&b, kind.colour, kind.word, kindWidth)
	b.WriteString("  ")
	v.paint(&b, bold, printable(id), v.width)
	b.WriteString("  ")
	b.WriteString(clipText(printable(text)))
	b.WriteByte('\n')
	return b.String()
}

// paint writes a text in a colour, filled up to a width.
func (v *view) paint(b *strings.Builder, colour, text string, width int) {
	if v.colour && colour != "" {
		b.WriteString("\x1b[" + colour + "m" + text + "\x1b[0m")
	} else {
		b.WriteString(text)
	}
	for n := utf8.RuneCountInString(text); n < width; n++ {
		b.WriteByte(' ')
	}
}

// detail tells what happened.
func (v *view) detail(e *event, kind, op string) string {
	switch kind {
	case "twin":
		return twinText(e.Body, op)
	case "connection", "lifecycle":
		if word, known := opWords[op]; known {
			return word
		}
		return op
	case "job", "digital-twin":
		return op + "  " + string(e.Body)
	}
	var parts []string
	if id := e.System["message-id"]; id != "" {
		parts = append(parts, "#"+id)
	}
	if c := e.System["dt-subject"]; c != "" {
		parts = append(parts, "component="+c)
	}
	for _, name := range slices.Sorted(keys(e.Properties)) {
		if value := e.Properties[name]; value != nil {
			name += "=" + *value
		}
		parts = append(parts, name)
	}
	switch {
	case e.Body != nil:
		parts = append(parts, string(e.Body))
	case e.Base64 != nil:
		parts = append(parts, bodyText(*e.Base64))
	}
	return strings.Join(parts, "  ")
}

var opWords = map[string]string{
	"deviceConnected": "connected", "deviceDisconnected": "disconnected",
	"createDeviceIdentity": "created", "deleteDeviceIdentity": "deleted",
}

// twinText shows a change of a twin without its times.
func twinText(body json.RawMessage, op string) string {
	var parts []string
	if op == "replaceTwin" {
		parts = append(parts, "replaced")
	}
	eachMember(body, func(name string, value json.RawMessage) {
		switch name {
		case "tags":
			parts = append(parts, "tags "+string(value))
		case "modelId":
			parts = append(parts, "model "+string(value))
		case "properties":
			eachMember(value, func(name string, value json.RawMessage) { parts = append(parts, sectionText(name, value)) })
		}
	})
	return strings.Join(parts, "  ")
}

func sectionText(name string, section json.RawMessage) string {
	version, n := "", 0
	var b bytes.Buffer
	b.WriteByte('{')
	eachMember(section, func(key string, value json.RawMessage) {
		switch key {
		case "$metadata":
		case "$version":
			version = " v" + string(value)
		default:
			if n++; n > 1 {
				b.WriteByte(',')
			}
			quoted, _ := json.Marshal(key) // a text always can be
			b.Write(quoted)
			b.WriteByte(':')
			b.Write(value)
		}
	})
	return name + version + " " + b.String() + "}"
}

// eachMember walks through an object in its order; it ends at what is not JSON.
func eachMember(object json.RawMessage, do func(name string, value json.RawMessage)) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return
		}
		var value json.RawMessage
		if d.Decode(&value) != nil {
			return
		}
		key, _ := name.(string)
		do(key, value)
	}
}

// clipText keeps a line readable.
func clipText(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
