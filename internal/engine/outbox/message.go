package outbox

import (
	"encoding/hex"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// timeForm is the documented form of operationTimestamp.
const timeForm = "2006-01-02T15:04:05.0000000Z"

// schemas are the documented values of iothub-message-schema.
var schemas = map[iot.EventSource][]byte{
	iot.SourceTwinChange:      []byte("twinChangeNotification"),
	iot.SourceDeviceLifecycle: []byte("deviceLifecycleNotification"),
	iot.SourceConnectionState: []byte("deviceConnectionStateNotification"),
	iot.SourceJobLifecycle:    []byte("deviceJobLifecycleNotification"),
	iot.SourceDigitalTwin:     []byte("digitalTwinChangeNotification"),
}

// writer turns stored events into records of the log.
type writer struct {
	hub         []byte
	correlation [2 * (saltSize + 4)]byte
	at          time.Time
	time        []byte // the text of at
	message     iot.Message
	contentType []byte
	encoding    []byte
	names       struct{ device, module, hub, time, op, schema []byte }
}

func newWriter(hub string) *writer {
	w := &writer{hub: []byte(hub), time: []byte("0001-01-01T00:00:00.0000000Z"), contentType: []byte("application/json"), encoding: []byte("utf-8")}
	w.names.device, w.names.module, w.names.hub = []byte("deviceId"), []byte("moduleId"), []byte("hubName")
	w.names.time, w.names.op, w.names.schema = []byte("operationTimestamp"), []byte("opType"), []byte("iothub-message-schema")
	return w
}

// append writes the record of an event. The correlation id follows from the
// row alone: an event that is appended twice has the same one.
func (w *writer) append(dst []byte, s *stored) []byte {
	var id [saltSize + 4]byte
	copy(id[:], s.salt)
	id[saltSize], id[saltSize+1], id[saltSize+2], id[saltSize+3] = byte(s.index>>24), byte(s.index>>16), byte(s.index>>8), byte(s.index)
	hex.Encode(w.correlation[:], id[:])
	if !s.time.Equal(w.at) { // events of one transaction mostly share it
		w.at = s.time
		w.time = s.time.AppendFormat(w.time[:0], timeForm)
	}
	m := &w.message
	m.System = append(m.System[:0],
		iot.SystemProperty{Key: iot.CorrelationID, Value: w.correlation[:]},
		iot.SystemProperty{Key: iot.UserID, Value: w.hub},
		iot.SystemProperty{Key: iot.ContentType, Value: w.contentType},
		iot.SystemProperty{Key: iot.ContentEncoding, Value: w.encoding})
	m.Properties = append(m.Properties[:0], iot.Property{Name: w.names.hub, Value: w.hub})
	if len(s.head.Device) > 0 {
		m.Properties = append(m.Properties, iot.Property{Name: w.names.device, Value: s.head.Device})
	}
	if len(s.head.Module) > 0 {
		m.Properties = append(m.Properties, iot.Property{Name: w.names.module, Value: s.head.Module})
	}
	m.Properties = append(m.Properties,
		iot.Property{Name: w.names.time, Value: w.time},
		iot.Property{Name: w.names.op, Value: s.op},
		iot.Property{Name: w.names.schema, Value: schemas[s.head.Source]})
	m.Body = s.body
	return record.AppendEvent(dst, s.origin, m)
}
