package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

const isoMillis = "2006-01-02T15:04:05.000Z"

// appendEventLine writes one event as a line of JSON. Programs rely on its
// keys: add, never rename. Offsets and sequence numbers are text, because not
// every JSON reader keeps 64 bits.
func appendEventLine(b []byte, partition int, rec *eventlog.Record, e *record.Event) []byte {
	b = append(b, `{"partition":`...)
	b = strconv.AppendInt(b, int64(partition), 10)
	b = append(b, `,"offset":"`...)
	b = strconv.AppendInt(b, int64(rec.Offset), 10)
	b = append(b, `","sequenceNumber":"`...)
	b = strconv.AppendInt(b, rec.Sequence, 10)
	b = append(b, `","enqueuedTime":"`...)
	b = appendTime(b, rec.Time)
	b = append(b, `","deviceId":`...)
	b = appendString(b, e.Origin.ID.Device)
	b = append(b, `,"moduleId":`...)
	b = appendString(b, e.Origin.ID.Module)
	b = append(b, `,"systemProperties":{`...)
	b = appendSystem(b, rec, e)
	b = append(b, `},"properties":{`...)
	for i := range e.Properties {
		p := &e.Properties[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, p.Name)
		b = append(b, ':')
		if p.Value == nil {
			b = append(b, "null"...)
		} else {
			b = appendString(b, p.Value)
		}
	}
	b = append(b, '}')
	b = appendBody(b, e)
	return append(b, '}', '\n')
}

// appendSystem writes what the sender set, then what the platform stamped.
func appendSystem(b []byte, rec *eventlog.Record, e *record.Event) []byte {
	for i := range e.System {
		p := &e.System[i]
		name := p.Key.String()
		if !p.Key.Valid() { // written by a newer build
			name = "system-" + strconv.Itoa(int(p.Key))
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = appendString(b, p.Value)
		b = append(b, ',')
	}
	o := &e.Origin
	b = append(b, `"iothub-connection-device-id":`...)
	b = appendString(b, o.ID.Device)
	if o.ID.Module != "" {
		b = append(b, `,"iothub-connection-module-id":`...)
		b = appendString(b, o.ID.Module)
	}
	b = append(b, `,"iothub-connection-auth-method":`...)
	b = appendString(b, o.Auth.String())
	b = append(b, `,"iothub-connection-auth-generation-id":"`...)
	b = strconv.AppendUint(b, o.Generation, 10)
	b = append(b, `","iothub-enqueuedtime":"`...)
	b = appendTime(b, rec.Time)
	b = append(b, `","iothub-message-source":`...)
	b = appendString(b, o.Source.String())
	if o.Model != "" {
		b = append(b, `,"dt-dataschema":`...)
		b = appendString(b, o.Model)
	}
	return b
}

// appendBody writes the body as JSON when the message says that it is JSON in
// UTF-8 and it is, else in base64.
func appendBody(b []byte, e *record.Event) []byte {
	if declaresJSON(e) && utf8.Valid(e.Body) && json.Valid(e.Body) {
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
	var contentType, encoding string
	for i := range e.System {
		if e.System[i].Key == iot.ContentType {
			contentType = string(e.System[i].Value)
		}
		if e.System[i].Key == iot.ContentEncoding {
			encoding = string(e.System[i].Value)
		}
	}
	media, params, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(media), "application/json") {
		return false
	}
	if encoding == "" {
		name, value, _ := strings.Cut(strings.TrimSpace(params), "=")
		if !strings.EqualFold(name, "charset") {
			return false
		}
		encoding = strings.Trim(value, `"`)
	}
	return strings.EqualFold(encoding, "utf-8") || strings.EqualFold(encoding, "utf8")
}

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
	b = appendString(b, err.Error())
	return append(b, '}', '\n')
}

func appendTime(b []byte, ns int64) []byte {
	return time.Unix(0, ns).UTC().AppendFormat(b, isoMillis)
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become the
// replacement character.
func appendString[S string | []byte](b []byte, s S) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\ufffd"...)
			i++
			start = i
			continue
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
