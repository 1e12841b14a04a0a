package hub

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/ingest"
	"dunlin/internal/things/job"
	"dunlin/internal/things/presence"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/things/upload"
	"dunlin/internal/trust/guard"
	"dunlin/internal/trust/quota"
)

// Desk is the hub's side that device doors go to: it implements Connector.
type Desk struct {
	registry *registry.Registry
	presence *presence.Room
	ingest   *ingest.Room
	twins    *twin.Room
	commands *command.Room
	uploads  *upload.Room
	jobs     *job.Room
	guard    *guard.Log
	guests   func(id iot.ID, generation uint64, now time.Time)
	quota    *quota.Limiter
	logger   *slog.Logger
	conns    atomic.Uint64 // connections so far
}

// DeskDeps is what the desk needs.
type DeskDeps struct {
	Registry *registry.Registry
	Presence *presence.Room
	Ingest   *ingest.Room
	Twins    *twin.Room
	Commands *command.Room
	Uploads  *upload.Room
	Jobs     *job.Room // nil: there are none
	Guard    *guard.Log
	// Guests is told of devices that come over HTTPS; nil tells nobody.
	Guests func(id iot.ID, generation uint64, now time.Time)
	Quota  *quota.Limiter // nil limits nothing
	Logger *slog.Logger
}

// NewDesk makes the desk.
func NewDesk(d DeskDeps) *Desk {
	return &Desk{
		registry: d.Registry, presence: d.Presence, ingest: d.Ingest, twins: d.Twins, commands: d.Commands, uploads: d.Uploads, jobs: d.Jobs,
		guard: d.Guard, guests: d.Guests, quota: d.Quota, logger: d.Logger,
	}
}

// Connect implements Connector. What it refuses it notes for the question why
// a device does not connect.
func (d *Desk) Connect(ctx context.Context, c Credentials, conn Conn) (Device, error) {
	claim := registry.Claim{ID: c.ID, HostName: c.HostName, Token: c.Token, Certificates: c.Certificates}
	kicks := d.presence.Kicks()
	identity, err := d.registry.Authenticate(ctx, claim, time.Now())
	if err != nil {
		d.refused(&c, err)
		return nil, err
	}
	if err := d.quota.TakeLong(ctx, quota.Connections, 1); err != nil {
		d.refused(&c, err)
		return nil, err
	}
	s := &device{desk: d, conn: conn, generation: identity.Generation, number: d.conns.Add(1)}
	var waiter eventlog.Waiter = conn
	if d.quota != nil {
		s.pace = &pace{limits: d.quota, sender: d.quota.Sender(c.ID), conn: conn}
		waiter = s.pace
	}
	s.source = d.ingest.Source(iot.Origin{
		ID: c.ID, Generation: identity.Generation, Auth: identity.Auth, Model: c.Model,
	}, waiter)
	d.presence.Enter(&s.entry, c.ID, identity.Generation, s, identity.Expiry, time.Now())
	if d.presence.Kicks() != kicks {
		// Somebody was disabled, deleted or given new keys meanwhile: when it
		// was this identity, the kick has missed it.
		if _, err := d.registry.Authenticate(ctx, claim, time.Now()); err != nil {
			d.presence.Leave(&s.entry, time.Now())
			d.refused(&c, err)
			return nil, err
		}
	}
	if c.Model != "" {
		d.twins.SetModel(s.key(), c.Model)
	}
	d.logger.Debug("device connected", slog.String("device", c.ID.Device), slog.String("module", c.ID.Module),
		slog.String("protocol", c.Protocol), slog.String("product", c.Product))
	return s, nil
}

func (d *Desk) refused(c *Credentials, err error) {
	r := guard.Refusal{
		Device: c.ID.Device, Module: c.ID.Module, Reason: registry.ReasonStoreNotAvailable,
		Remote: c.Remote.Addr().Unmap().String(), Protocol: c.Protocol, Detail: err.Error(),
	}
	if why, ok := errors.AsType[*registry.Refused](err); ok {
		r.Reason, r.Detail = why.Reason, why.Err.Message
	}
	if reason, ok := limitReason(err); ok {
		r.Reason = reason
	}
	if cause := errors.Unwrap(errors.Unwrap(err)); cause != nil && r.Reason == registry.ReasonStoreNotAvailable {
		d.logger.Error("device not authenticated", slog.String("device", c.ID.Device), slog.Any("error", cause))
	}
	d.guard.Add(r)
}

// device is the hub's part of one connection: one allocation, so that many
// idle devices cost little.
type device struct {
	desk       *Desk
	conn       Conn
	generation uint64
	number     uint64 // rises from connection to connection
	entry      presence.Entry
	source     ingest.Source
	wants      atomic.Uint32 // bits 1<<iot.Kind
	pace       *pace         // nil on a hub without limits
}

// ID implements Device.
func (s *device) ID() iot.ID { return s.entry.ID() }

// Send implements Device.
func (s *device) Send(now int64, msgs []iot.Message) bool {
	s.entry.Active(now)
	if s.pace != nil {
		return s.sendPaced(now, msgs)
	}
	return s.source.Send(now, msgs)
}

// sendPaced is Send on a hub with limits. A device that is slowed down is not
// read for a while; one that is refused is closed, and nothing more of it is
// taken: the log counts messages, so that none in between may be missing.
func (s *device) sendPaced(now int64, msgs []iot.Message) bool {
	p := s.pace
	if p.refused {
		return true
	}
	wait, err := p.limits.Telemetry(p.sender, msgs)
	if err != nil {
		p.refused = true
		s.conn.Kick(err)
		return true
	}
	return p.sent(s.source.Send(now, msgs), wait)
}

// Want implements Device.
func (s *device) Want(kind iot.Kind, on bool) {
	if !on {
		s.wants.And(^(uint32(1) << kind))
		if kind == iot.KindMessage {
			s.desk.commands.Release(s.ID(), s.number)
		}
		return
	}
	s.wants.Or(1 << kind)
	switch kind {
	case iot.KindMethod:
		s.desk.commands.Online(s.ID())
		s.desk.jobs.Wake(s.ID())
	case iot.KindMessage:
		s.desk.commands.Pump(s.ID(), s.number, s.generation)
	case iot.KindDesired: // nothing is kept for an absent device
	}
}

func (s *device) key() twin.Key { return twin.Key{ID: s.ID(), Generation: s.generation} }

// Twin implements Device.
func (s *device) Twin(done func(doc []byte, err error)) {
	s.touch()
	if s.pace == nil {
		s.desk.twins.View(s.key(), done)
		return
	}
	s.pace.ask(quota.TwinReads, func() {
		s.desk.twins.View(s.key(), func(doc []byte, err error) {
			s.desk.quota.Note(len(doc))
			done(doc, err)
		})
	}, func(err error) { done(nil, err) })
}

// Report implements Device.
func (s *device) Report(patch []byte, ifVersion int64, done func(version int64, err error)) {
	s.touch()
	if s.pace == nil {
		s.desk.twins.Report(s.key(), patch, ifVersion, done)
		return
	}
	patch = bytes.Clone(patch)
	s.pace.ask(quota.TwinUpdates, func() {
		s.desk.quota.Note(len(patch))
		s.desk.twins.Report(s.key(), patch, ifVersion, done)
	}, func(err error) { done(0, err) })
}

// Reply implements Device.
func (s *device) Reply(request []byte, status int, payload []byte) {
	s.touch()
	s.desk.commands.Reply(s.ID(), request, status, payload)
}

// Settle implements Device.
func (s *device) Settle(token iot.LockToken, o iot.Outcome) {
	s.touch()
	s.desk.commands.Settle(s.ID(), token, o, s.settled)
}

// settled notes what cannot be told the device: over MQTT the message is
// delivered again when its lock ends.
func (s *device) settled(err error) {
	if err != nil {
		s.desk.logger.Debug("message not settled", slog.String("device", s.ID().Device), slog.Any("error", err))
	}
}

func (s *device) touch() { s.entry.Active(time.Now().UnixNano()) }

// Kick implements presence.Peer.
func (s *device) Kick(reason error) { s.conn.Kick(reason) }

// Deliver implements presence.Peer.
func (s *device) Deliver(in *iot.Inbound) bool {
	return s.wants.Load()&(1<<in.Kind) != 0 && s.conn.Deliver(in)
}

// Close implements Device.
func (s *device) Close(error) {
	s.wants.Store(0)
	if s.pace != nil {
		s.pace.close()
	}
	s.desk.presence.Leave(&s.entry, time.Now())
	s.desk.commands.Gone(s.ID())
	s.desk.commands.Release(s.ID(), s.number)
}
