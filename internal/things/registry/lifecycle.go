package registry

import (
	"context"
	"time"

	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// lifecycle gathers the events of one transaction that makes and deletes
// identities. Make a new one whenever the transaction is run.
type lifecycle struct {
	registry *Registry
	box      *outbox.Box // nil: nobody wants events
	now      time.Time
	batch    outbox.Batch
	body     []byte
}

func (r *Registry) lifecycle(now time.Time) *lifecycle {
	return &lifecycle{registry: r, box: r.outbox, now: now}
}

func (l *lifecycle) created(id iot.ID, generation uint64) {
	l.add("createDeviceIdentity", id, generation)
}

// deleted tells of an identity that is deleted. When it is connected, its
// connection ends with it, as far as events can tell.
func (l *lifecycle) deleted(id iot.ID, generation uint64, connected bool) {
	if connected {
		l.registry.addConnection(&l.batch, id, generation, false, l.now)
	}
	l.add("deleteDeviceIdentity", id, generation)
}

// bodyRest is what follows the ids in the body of an event: a twin as it is
// when its identity is made.
const bodyRest = `","etag":"AAAAAAAAAAE=","version":2,"properties":{` +
	`"desired":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1},` +
	`"reported":{"$metadata":{"$lastUpdated":"0001-01-01T00:00:00Z"},"$version":1}}}`

func (l *lifecycle) add(op string, id iot.ID, generation uint64) {
	if l.box == nil {
		return
	}
	// Characters of ids need no escape in JSON.
	l.body = append(append(l.body[:0], `{"deviceId":"`...), id.Device...)
	if id.IsModule() {
		l.body = append(append(l.body, `","moduleId":"`...), id.Module...)
	}
	l.body = append(l.body, bodyRest...)
	l.batch.Add(outbox.Event{
		ID: id, Generation: generation, Source: iot.SourceDeviceLifecycle, OpType: op, Time: l.now, Body: l.body,
	})
}

// put stores the events; it comes last in the transaction.
func (l *lifecycle) put(ctx context.Context, tx state.Tx) error { return l.box.Put(ctx, tx, &l.batch) }
