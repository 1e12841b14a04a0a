package configuration

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// followAgain is how long a reader of the log waits after an error.
const followAgain = time.Second

// follow reads a partition of the log until ctx ends.
func (r *Room) follow(ctx context.Context, part int) {
	var e record.Event
	for ctx.Err() == nil {
		place := &r.changes.places[part]
		from := eventlog.From{Kind: eventlog.AtSequence, Value: place.Load()}
		for rec, err := range r.log.Read(ctx, part, eventlog.ReadOptions{From: from, Follow: true}) {
			if damage, ok := errors.AsType[*eventlog.DamageError](err); ok {
				r.logger.Warn("events of twins are lost, all devices are evaluated again", slog.Int("partition", part), slog.Any("error", damage))
				r.changes.lose()
				r.stir()
				continue
			}
			if err != nil {
				if ctx.Err() == nil && !errors.Is(err, eventlog.ErrClosed) {
					r.logger.Warn("events of twins not read, trying again", slog.Int("partition", part), slog.Any("error", err))
				}
				break
			}
			if next := place.Load(); rec.Sequence > next {
				r.logger.Warn("events of twins have expired before they were read, all devices are evaluated again", slog.Int("partition", part), slog.Int64("events", rec.Sequence-next))
				r.changes.lose()
				r.stir()
			}
			r.see(rec.Data, &e)
			// Only now: what lies before the place is known to the worker.
			place.Store(rec.Sequence + 1)
		}
		wait(ctx, followAgain)
	}
}

// see takes in one record.
func (r *Room) see(data []byte, e *record.Event) {
	head, err := record.Peek(data)
	if err != nil || (head.Source != iot.SourceTwinChange && head.Source != iot.SourceDeviceLifecycle) {
		return
	}
	r.metrics.events.Inc()
	if err := record.Decode(data, e); err != nil {
		r.changes.add(string(head.Device))
		r.stir()
		return
	}
	if r.set.Load().matters(e, r.changes.isOwn) {
		r.changes.add(e.Origin.ID.Device)
		r.stir()
	}
}

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
