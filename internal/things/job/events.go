package job

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// What events of the life of a job say of a device.
const (
	opScheduled = "scheduled" // the job is for it
	opStarted   = "started"   // its method is being called
	opEnded     = ""          // the name of its state
	opNone      = "none"      // no event
)

// tell puts an event with each record into the log.
func (r *Room) tell(ctx context.Context, tx state.Tx, j *Job, op string, list []record) error {
	if r.deps.Outbox == nil {
		return nil
	}
	var b outbox.Batch
	var body []byte
	now := time.Now().UTC()
	for i := range list {
		d := &list[i]
		name := op
		if name == opEnded {
			name = d.status.String()
		}
		body = appendRecord(body[:0], j.ID, j.Kind, d)
		b.Add(outbox.Event{ID: d.ID, Generation: d.Generation, Source: iot.SourceJobLifecycle, OpType: name, Time: now, Body: body})
	}
	return r.deps.Outbox.Put(ctx, tx, &b)
}

const timeForm = "2006-01-02T15:04:05.0000000Z"

// appendRecord writes the record of a device as applications read it.
func appendRecord(b []byte, id string, k Kind, d *record) []byte {
	b = append(b, `{"deviceId":`...)
	b = appendText(b, d.ID.Device)
	if d.ID.IsModule() {
		b = append(b, `,"moduleId":`...)
		b = appendText(b, d.ID.Module)
	}
	b = append(b, `,"jobId":`...)
	b = appendText(b, id)
	b = append(append(append(b, `,"jobType":"`...), k.String()...), '"')
	b = append(append(append(b, `,"status":"`...), d.status.String()...), '"')
	b = appendTime(b, "startTimeUtc", d.started)
	b = appendTime(b, "endTimeUtc", d.ended)
	b = appendTime(b, "createdDateTimeUtc", d.created)
	b = appendTime(b, "lastUpdatedDateTimeUtc", d.updated())
	switch {
	case d.status == deviceCompleted && k == DeviceMethod:
		b = append(b, `,"outcome":{"deviceMethodResponse":{"status":`...)
		b = strconv.AppendInt(b, d.code, 10)
		b = append(b, `,"payload":`...)
		if d.text == "" {
			b = append(b, "null"...)
		}
		b = append(append(b, d.text...), "}}"...)
	case d.status == deviceCompleted:
		b = append(b, `,"outcome":{}`...)
	case d.status.ended() && d.code != 0:
		b = append(b, `,"error":{"code":"`...)
		b = strconv.AppendInt(b, d.code, 10)
		b = append(b, `","description":`...)
		b = append(appendText(b, d.text), '}')
	}
	return append(b, '}')
}

func (d *record) updated() int64 { return max(d.created, d.started, d.ended) }

// appendTime writes a member unless it never was.
func appendTime(b []byte, name string, at int64) []byte {
	if at == 0 {
		return b
	}
	b = append(append(append(b, ',', '"'), name...), `":"`...)
	return append(moment(at).AppendFormat(b, timeForm), '"')
}

func appendText(b []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // texts can always be written
	}
	return append(b, q...)
}
