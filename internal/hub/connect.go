package hub

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/ingest"
	"dunlin/internal/things/presence"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/guard"
)

// Desk is the hub's side that device doors go to: it implements Connector.
type Desk struct {
	registry *registry.Registry
	presence *presence.Room
	ingest   *ingest.Room
	guard    *guard.Log
	logger   *slog.Logger
}

// DeskDeps is what the desk needs.
type DeskDeps struct {
	Registry *registry.Registry
	Presence *presence.Room
	Ingest   *ingest.Room
	Guard    *guard.Log
	Logger   *slog.Logger
}

// NewDesk makes the desk.
func NewDesk(d DeskDeps) *Desk {
	return &Desk{registry: d.Registry, presence: d.Presence, ingest: d.Ingest, guard: d.Guard, logger: d.Logger}
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
	s := &device{desk: d}
	s.source = d.ingest.Source(iot.Origin{
		ID: c.ID, Generation: identity.Generation, Auth: identity.Auth, Model: c.Model,
	}, conn)
	d.presence.Enter(&s.entry, c.ID, conn, identity.Expiry, time.Now())
	if d.presence.Kicks() != kicks {
		// Somebody was disabled, deleted or given new keys meanwhile: when it
		// was this identity, the kick has missed it.
		if _, err := d.registry.Authenticate(ctx, claim, time.Now()); err != nil {
			d.presence.Leave(&s.entry, time.Now())
			d.refused(&c, err)
			return nil, err
		}
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
	var why *registry.Refused
	if errors.As(err, &why) {
		r.Reason, r.Detail = why.Reason, why.Err.Message
	}
	if cause := errors.Unwrap(errors.Unwrap(err)); cause != nil && r.Reason == registry.ReasonStoreNotAvailable {
		d.logger.Error("device not authenticated", slog.String("device", c.ID.Device), slog.Any("error", cause))
	}
	d.guard.Add(r)
}

// device is the hub's part of one connection: one allocation, so that many
// idle devices cost little.
type device struct {
	desk   *Desk
	entry  presence.Entry
	source ingest.Source
}

// ID implements Device.
func (s *device) ID() iot.ID { return s.entry.ID() }

// Send implements Device.
func (s *device) Send(now int64, msgs []iot.Message) bool {
	s.entry.Active(now)
	return s.source.Send(now, msgs)
}

// Close implements Device.
func (s *device) Close(error) { s.desk.presence.Leave(&s.entry, time.Now()) }
