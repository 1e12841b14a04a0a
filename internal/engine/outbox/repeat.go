package outbox

import (
	"context"
	"errors"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// lookBack is how much of the end of the log is searched for events whose rows
// a node did not come to delete before it died. On a store of several nodes
// another one takes over after the lease has ended, while the log goes on.
const lookBack = 30 * time.Second

// remember finds the events in the end of the log that may still have a row:
// those are not appended again. It is asked once by a relay that begins, when
// there are rows, and costs nothing otherwise.
func (r *relay) remember(ctx context.Context) error {
	r.known = map[string]bool{}
	for p := range r.log.Partitions() {
		info, err := r.log.Info(ctx, p)
		if err != nil {
			return err
		}
		if info.First == info.Next {
			continue
		}
		from := eventlog.From{Kind: eventlog.AtTime, Value: info.LastTime - int64(lookBack)}
		var event record.Event
		for rec, err := range r.log.Read(ctx, p, eventlog.ReadOptions{From: from}) {
			if _, damaged := errors.AsType[*eventlog.DamageError](err); damaged {
				continue // what cannot be read cannot be recognised
			}
			if err != nil {
				return err
			}
			if h, err := record.Peek(rec.Data); err != nil || h.Source == iot.SourceTelemetry {
				continue
			}
			if record.Decode(rec.Data, &event) != nil {
				continue
			}
			for _, s := range event.System {
				if s.Key == iot.CorrelationID {
					r.known[string(s.Value)] = true
				}
			}
		}
	}
	return nil
}
