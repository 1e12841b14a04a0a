package quota

import (
	"context"
	"sync"
	"time"

	"dunlin/internal/iot"
)

// Sender is one device or module that sends messages. A nil Sender has no
// limits of its own.
type Sender struct{ messages, bytes bucket }

// devices are the senders of a hub. A sender that has paid for all it sent is
// like a new one, so that those can be forgotten.
type devices struct {
	messages, bytes int64 // of each in a second

	mu    sync.Mutex
	known map[iot.ID]*Sender
	prune int // the number at which those are forgotten
}

const firstPrune = 1_000

func newDevices(messages, bytes int64) *devices {
	return &devices{messages: messages, bytes: bytes, known: map[iot.ID]*Sender{}, prune: firstPrune}
}

// Sender gives the limits of a device or module, nil when it has none.
func (l *Limiter) Sender(id iot.ID) *Sender {
	if l == nil || l.devices == nil {
		return nil
	}
	d, now := l.devices, l.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.known[id]; s != nil {
		return s
	}
	if len(d.known) >= d.prune {
		for id, s := range d.known {
			if s.messages.paid.Load() < now-int64(time.Second) && s.bytes.paid.Load() < now-int64(time.Second) {
				delete(d.known, id)
			}
		}
		d.prune = max(firstPrune, 2*len(d.known))
	}
	s := &Sender{messages: newBucket(d.messages, time.Second), bytes: newBucket(d.bytes, time.Second)}
	d.known[id] = s
	return s
}

// TakeTelemetry is Telemetry for those who wait here.
func (l *Limiter) TakeTelemetry(ctx context.Context, s *Sender, msgs []iot.Message) error {
	if l == nil || s == nil && l.buckets == nil {
		return nil
	}
	wait, err := l.telemetry(s, msgs, waitRequest)
	if err != nil || wait == 0 {
		return err
	}
	return pause(ctx, wait)
}

// Telemetry takes messages of a sender, which may be nil, and answers how long
// it has to wait before it sends again. Nothing of them may be used when it is
// refused. It does not allocate unless it refuses.
func (l *Limiter) Telemetry(s *Sender, msgs []iot.Message) (time.Duration, error) {
	if l == nil || s == nil && l.buckets == nil {
		return 0, nil
	}
	return l.telemetry(s, msgs, waitDevice)
}

func (l *Limiter) telemetry(s *Sender, msgs []iot.Message, backlog time.Duration) (time.Duration, error) {
	bytes, chunks := int64(0), int64(0)
	for i := range msgs {
		n := msgs[i].Size()
		bytes += int64(n)
		if l.day != nil {
			chunks += l.day.chunks(n)
		}
	}
	now, n := l.now(), int64(len(msgs))
	wait := int64(0)
	if s != nil {
		for _, b := range [...]struct {
			bucket *bucket
			n      int64
			what   string
		}{{&s.messages, n, "messages"}, {&s.bytes, bytes, "bytes"}} {
			if b.bucket.amount == 0 {
				continue
			}
			w, ok := b.bucket.take(now, b.n, int64(backlog))
			if !ok {
				l.metrics.deviceRefused.Inc()
				e := iot.Errorf(iot.DeviceThrottled, "the device sends too much: the settings hub.device allow %d %s a second: send less, or try again in %s",
					b.bucket.amount, b.what, seconds(time.Duration(w)))
				e.After = time.Duration(w)
				return 0, e
			}
			wait = max(wait, w)
		}
		if wait > 0 {
			l.metrics.deviceDelayed.Inc()
		}
	}
	if l.buckets == nil {
		return time.Duration(wait), nil
	}
	if err := l.Left(); err != nil {
		return 0, err
	}
	w, ok := l.buckets[Telemetry].take(now, n, int64(backlog))
	if !ok {
		l.metrics.refused[Telemetry].Inc()
		return 0, l.throttled(Telemetry, time.Duration(w))
	}
	if w > 0 {
		l.metrics.delayed[Telemetry].Inc()
	}
	l.day.note(chunks)
	return time.Duration(max(wait, w)), nil
}
