package hub

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/quota"
)

// Visits are devices that come over HTTPS: each call shows its credentials, and
// the device is there for this call alone. It does not count as connected and
// takes over no connection.
type Visits struct {
	desk    *Desk
	waiting atomic.Int64 // bytes of messages that are not durable yet
	blocked atomic.Int64 // callers that the log has told to wait

	mu    sync.Mutex
	known map[visitKey]visit
}

// NewVisits makes the visits to a desk.
func NewVisits(d *Desk) *Visits { return &Visits{desk: d, known: map[visitKey]visit{}} }

// A token that was found good is taken for good for a moment, as long as no
// credential of the hub has changed: a read of the store less for each call.
const (
	visitTrust = 10 * time.Second
	maxVisits  = 10_000
)

// maxVisitBytes bounds the messages that wait to be durable.
const maxVisitBytes = 64 << 20

type visitKey struct {
	id    iot.ID
	token string
	host  string
}

type visit struct {
	identity registry.Identity
	kicks    uint64
	until    time.Time
}

// Open authenticates a device for one call. Errors carry an iot.Code.
func (v *Visits) Open(ctx context.Context, c Credentials) (*Visitor, error) {
	now := time.Now()
	kicks := v.desk.presence.Kicks()
	key := visitKey{c.ID, c.Token, c.HostName}
	if c.Token != "" {
		v.mu.Lock()
		have, ok := v.known[key]
		v.mu.Unlock()
		if ok && have.kicks == kicks && now.Before(have.until) {
			v.desk.visited(&have.identity, now)
			return &Visitor{visits: v, identity: have.identity}, nil
		}
	}
	identity, err := v.desk.registry.Authenticate(ctx, registry.Claim{ID: c.ID, HostName: c.HostName, Token: c.Token, Certificates: c.Certificates}, now)
	if err != nil {
		v.desk.refused(&c, err)
		return nil, stranger(err)
	}
	if c.Token != "" {
		until := now.Add(visitTrust)
		if identity.Expiry.Before(until) {
			until = identity.Expiry
		}
		v.mu.Lock()
		if len(v.known) >= maxVisits {
			clear(v.known)
		}
		v.known[key] = visit{identity, kicks, until}
		v.mu.Unlock()
	}
	v.desk.visited(&identity, now)
	return &Visitor{visits: v, identity: identity}, nil
}

// visited notes the last activity of a device that is not connected for it.
func (d *Desk) visited(i *registry.Identity, now time.Time) {
	if d.guests != nil {
		d.guests(i.ID, i.Generation, now)
	}
}

// stranger keeps from a peer that has proven nothing what it could learn about
// identities from the reason of a refusal.
func stranger(err error) error {
	var why *registry.Refused
	if !errors.As(err, &why) || why.Err.Code != iot.UnauthorizedAccess {
		return err
	}
	switch why.Reason {
	case registry.ReasonUnknownDevice, registry.ReasonUnknownModule, registry.ReasonBadSignature, registry.ReasonWrongProof,
		registry.ReasonThumbprint, registry.ReasonBadID, registry.ReasonCommonName, registry.ReasonUnknownCA, registry.ReasonCANotVerified:
		return iot.Errorf(iot.UnauthorizedAccess,
			"the credentials do not prove to be those of the device; the hub keeps the reason for its operator, among the problems of the device")
	}
	return why.Err
}

// Visitor is a device for the time of one call. It can act for no other.
type Visitor struct {
	visits   *Visits
	identity registry.Identity
}

// Send hands messages to the log and returns when all are durable. Errors carry ServerBusy when the hub holds as much as
// it should, ServiceUnavailable when the log could not write them.
func (d *Visitor) Send(ctx context.Context, msgs []iot.Message) error {
	v := d.visits
	if q := v.desk.quota; q != nil {
		if err := q.TakeTelemetry(ctx, q.Sender(d.identity.ID), msgs); err != nil {
			return err
		}
	}
	size := int64(0)
	for i := range msgs {
		size += int64(msgs[i].Size())
	}
	busy := v.blocked.Load() > 0
	if !busy && v.waiting.Add(size) > maxVisitBytes {
		v.waiting.Add(-size)
		busy = true
	}
	if busy {
		return iot.Errorf(iot.ServerBusy, "the hub holds as many messages as it should: send again a little later")
	}
	w := &waiter{visits: v, size: size, left: len(msgs), done: make(chan error, 1)}
	source := v.desk.ingest.Source(iot.Origin{ID: d.identity.ID, Generation: d.identity.Generation, Auth: d.identity.Auth}, w)
	if !source.Send(time.Now().UnixNano(), msgs) {
		w.block(true)
	}
	select {
	case err := <-w.done:
		if err != nil {
			return &iot.Error{Code: iot.ServiceUnavailable, Message: "the messages could not be stored, they may or may not be lost: send them again", Err: err}
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiter hears from the log about the messages of one call.
type waiter struct {
	visits *Visits
	size   int64
	done   chan error

	left int // of the log's goroutine, as err
	err  error

	mu      sync.Mutex
	blocked bool
	ready   bool
}

// Durable implements eventlog.Waiter.
func (w *waiter) Durable(n int, err error) {
	w.left -= n
	if err != nil {
		w.err = err
	}
	if w.left <= 0 {
		w.visits.waiting.Add(-w.size)
		w.done <- w.err
	}
}

// Ready implements eventlog.Waiter.
func (w *waiter) Ready() { w.block(false) }

// block counts callers that the log has told to wait. Ready may come before
// the answer of Append has been looked at.
func (w *waiter) block(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case on && !w.ready:
		w.blocked = true
		w.visits.blocked.Add(1)
	case !on && w.blocked:
		w.blocked = false
		w.visits.blocked.Add(-1)
	case !on:
		w.ready = true
	}
}

// Receive gives the oldest cloud-to-device message that waits, nil when there
// is none. It is hidden from other receivers for a time; 0 is the usual one.
func (d *Visitor) Receive(ctx context.Context, hide time.Duration) (*iot.Inbound, error) {
	if err := d.visits.desk.quota.Take(ctx, quota.Receives, 1); err != nil {
		return nil, err
	}
	return d.visits.desk.commands.Receive(ctx, d.identity.ID, d.identity.Generation, hide)
}

// Settle says what the device has made of a message and returns when that is
// durable.
func (d *Visitor) Settle(_ context.Context, token iot.LockToken, o iot.Outcome) error {
	done := make(chan error, 1)
	d.visits.desk.commands.Settle(d.identity.ID, token, o, func(err error) { done <- err })
	return <-done
}
