package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/jsontext"
	"dunlin/internal/wire/record"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

// lineWriter writes the events of one partition as lines of JSON. Most of a
// line is the same for every event of a device, and the times are the same for
// all events of a commit: both are rendered once.
type lineWriter struct {
	partition string
	origins   map[string]*originText
	time      int64  // what clock shows, Unix milliseconds
	clock     []byte // as in the line
}

// originText is what a line says of the sender.
type originText struct {
	ids     []byte // deviceId and moduleId
	proof   []byte // how the sender has proved itself, up to the time
	dataset []byte // source and model
}

// maxOriginTexts bounds what is kept of senders, a kilobyte each at most.
const maxOriginTexts = 4096

func newLineWriter(partition int) *lineWriter {
	return &lineWriter{partition: strconv.Itoa(partition), origins: map[string]*originText{}, time: math.MinInt64}
}

// append writes one event as a line of JSON. Programs rely on its keys: add,
// never rename. Offsets and sequence numbers are text, because not every JSON
// reader keeps 64 bits.
func (l *lineWriter) append(b []byte, rec *eventlog.Record, e *record.Event) []byte {
	o := l.origins[e.OriginKey()]
	if o == nil {
		if len(l.origins) >= maxOriginTexts {
			clear(l.origins)
		}
		o = newOriginText(&e.Origin)
		l.origins[e.OriginKey()] = o
	}
	if ms := rec.Time / int64(time.Millisecond); ms != l.time {
		l.time = ms
		l.clock = time.Unix(0, rec.Time).UTC().AppendFormat(l.clock[:0], isoMillis)
	}
	b = append(b, `{"partition":`...)
	b = append(b, l.partition...)
	b = append(b, `,"offset":"`...)
	b = strconv.AppendInt(b, int64(rec.Offset), 10)
	b = append(b, `","sequenceNumber":"`...)
	b = strconv.AppendInt(b, rec.Sequence, 10)
	b = append(b, `","enqueuedTime":"`...)
	b = append(b, l.clock...)
	b = append(b, o.ids...)
	b = append(b, `"systemProperties":{`...)
	// First what the sender has set, then what the platform has stamped.
	for i := range e.System {
		p := &e.System[i]
		if p.Key.Valid() {
			b = append(b, '"')
			b = append(b, p.Key.String()...)
			b = append(b, '"')
		} else { // written by a newer build
			b = jsontext.AppendString(b, "system-"+strconv.Itoa(int(p.Key)))
		}
		b = append(b, ':')
		b = jsontext.AppendString(b, p.Value)
		b = append(b, ',')
	}
	b = append(b, o.proof...)
	b = append(b, l.clock...)
	b = append(b, o.dataset...)
	b = append(b, `},"properties":{`...)
	for i := range e.Properties {
		p := &e.Properties[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = jsontext.AppendString(b, p.Name)
		b = append(b, ':')
		if p.Value == nil {
			b = append(b, "null"...)
		} else {
			b = jsontext.AppendString(b, p.Value)
		}
	}
	b = append(b, '}')
	b = appendBody(b, e)
	return append(b, '}', '\n')
}

func newOriginText(o *iot.Origin) *originText {
	t := new(originText)
	b := append(t.ids, `","deviceId":`...)
	b = jsontext.AppendString(b, o.ID.Device)
	b = append(b, `,"moduleId":`...)
	b = jsontext.AppendString(b, o.ID.Module)
	t.ids = append(b, ',')

	b = append(t.proof, `"iothub-connection-device-id":`...)
	b = jsontext.AppendString(b, o.ID.Device)
	if o.ID.Module != "" {
		b = append(b, `,"iothub-connection-module-id":`...)
		b = jsontext.AppendString(b, o.ID.Module)
	}
	if o.Source == iot.SourceTelemetry { // nobody had to prove anything for other events
		b = append(b, `,"iothub-connection-auth-method":`...)
		b = jsontext.AppendString(b, o.Auth.String())
		b = append(b, `,"iothub-connection-auth-generation-id":"`...)
		b = strconv.AppendUint(b, o.Generation, 10)
		b = append(b, '"')
	}
	t.proof = append(b, `,"iothub-enqueuedtime":"`...)

	b = append(t.dataset, `","iothub-message-source":`...)
	b = jsontext.AppendString(b, o.Source.String())
	if o.Model != "" {
		b = append(b, `,"dt-dataschema":`...)
		b = jsontext.AppendString(b, o.Model)
	}
	t.dataset = b
	return t
}

// appendBody writes the body as JSON when the message says that it is JSON in
// UTF-8 and it is, else in base64.
func appendBody(b []byte, e *record.Event) []byte {
	if declaresJSON(e) && utf8.Valid(e.Body) && jsontext.Valid(e.Body) {
		b = append(b, `,"body":`...)
		if bytes.IndexByte(e.Body, '\n') < 0 && bytes.IndexByte(e.Body, '\r') < 0 {
			return append(b, e.Body...)
		}
		flat := bytes.NewBuffer(b) // a line must stay one line
		if json.Compact(flat, e.Body) == nil {
			return flat.Bytes()
		}
		return append(b, "null"...)
	}
	b = append(b, `,"bodyBase64":"`...)
	b = base64.StdEncoding.AppendEncode(b, e.Body)
	return append(b, '"')
}

// declaresJSON asks, as message routing does, for the content type
// application/json together with the encoding UTF-8, which may stand in the
// content encoding or in the content type itself.
func declaresJSON(e *record.Event) bool {
	var contentType, encoding []byte
	for i := range e.System {
		if p := &e.System[i]; p.Key == iot.ContentType {
			contentType = p.Value
		} else if p.Key == iot.ContentEncoding {
			encoding = p.Value
		}
	}
	media, params, _ := bytes.Cut(contentType, semicolon)
	if !equalFold(bytes.TrimSpace(media), "application/json") {
		return false
	}
	if len(encoding) == 0 {
		name, value, _ := bytes.Cut(bytes.TrimSpace(params), equals)
		if !equalFold(name, "charset") {
			return false
		}
		encoding = bytes.Trim(value, `"`)
	}
	return equalFold(encoding, "utf-8") || equalFold(encoding, "utf8")
}

var semicolon, equals = []byte(";"), []byte("=")

// equalFold asks in an order in which the usual spelling costs nothing.
func equalFold(b []byte, s string) bool { return string(b) == s || strings.EqualFold(string(b), s) }

// appendErrorLine tells a reader of lines that something could not be read.
func appendErrorLine(b []byte, partition int, offset eventlog.Offset, err error) []byte {
	b = append(b, `{"partition":`...)
	b = strconv.AppendInt(b, int64(partition), 10)
	if offset > 0 {
		b = append(b, `,"offset":"`...)
		b = strconv.AppendInt(b, int64(offset), 10)
		b = append(b, '"')
	}
	b = append(b, `,"error":`...)
	b = jsontext.AppendString(b, err.Error())
	return append(b, '}', '\n')
}
