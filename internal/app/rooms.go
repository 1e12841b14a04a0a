package app

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"dunlin/internal/api/iothub"
	"dunlin/internal/door/mqttd"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/hub"
	"dunlin/internal/things/command"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/ingest"
	"dunlin/internal/things/job"
	"dunlin/internal/things/presence"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/quota"
)

// rooms are the parts between the engines and the doors.
type rooms struct {
	policies       *access.Policies
	outbox         *outbox.Box
	registry       *registry.Registry
	presence       *presence.Room
	guests         *presence.Guests
	ingest         *ingest.Room
	twins          *twin.Room
	commands       *command.Room
	jobs           *job.Room
	quota          *quota.Limiter // nil when nothing is limited
	configurations *configuration.Room
	mqtt           *mqttd.Door
	services       *hub.Services
	iothub         http.Handler
}

func (a *App) openRooms(ctx context.Context) error {
	var err error
	r := &a.rooms
	hosts := access.NewHosts(append([]string{a.cfg.HostName}, a.cfg.HostAliases...)...)
	if r.policies, err = access.Open(ctx, a.state, hosts); err != nil {
		return err
	}
	if err = a.openFiles(ctx, hosts); err != nil {
		return err
	}
	if r.outbox, err = outbox.Open(ctx, outbox.Deps{
		DB: a.state, Log: a.log, Hub: a.cfg.HubName, Logger: a.room("outbox"), Registerer: a.registry,
	}); err != nil {
		return err
	}
	if r.registry, err = registry.Open(ctx, registry.Deps{
		DB: a.state, Policies: r.policies, Outbox: r.outbox, QuietConnections: a.cfg.Hub.Events.ConnectionState == switchOff, Logger: a.room("registry"),
	}); err != nil {
		return err
	}
	r.presence = presence.New(presence.Deps{Save: r.saveActivity, Logger: a.room("presence"), Registerer: a.registry})
	r.guests = presence.NewGuests(presence.GuestsDeps{Room: r.presence, Save: r.saveVisits, Logger: a.room("presence")})
	r.ingest = ingest.New(ingest.Deps{Log: a.log, Registerer: a.registry})
	if r.twins, err = twin.Open(ctx, twin.Deps{
		DB: a.state, Deliver: r.presence.Deliver, Outbox: r.outbox, Limits: a.cfg.Hub.twins(), Indexes: a.cfg.Hub.Indexes, Configurations: hub.ConfigurationsOf(a.state), Queued: true,
		Logger: a.room("twin"), Registerer: a.registry,
	}); err != nil {
		return err
	}
	a.closers = append(a.closers, r.twins.Close)
	if r.commands, err = command.Open(ctx, command.Deps{
		DB: a.state, Deliver: r.presence.Deliver, Connected: r.presence.Has, Limits: a.cfg.Hub.commands(),
		Logger: a.room("command"), Registerer: a.registry,
	}); err != nil {
		return err
	}
	a.closers = append(a.closers, r.commands.Close)
	if r.quota, err = quota.Open(ctx, quota.Deps{
		Config: a.cfg.Hub.quota(), DB: a.state, Logger: a.room("quota"), Registerer: a.registry,
	}); err != nil {
		return err
	}
	if r.jobs, err = job.Open(ctx, a.jobDeps()); err != nil {
		return err
	}
	if err := a.openConfigurations(ctx); err != nil {
		return err
	}
	r.services = hub.NewServices(hub.ServiceDeps{
		Uploads: a.files.uploads, Blobs: a.files.store, Grants: a.files.grants,
		Configurations: r.configurations,
		Registry:       r.registry, Policies: r.policies, Presence: r.presence, Commands: r.commands, Twins: r.twins, Jobs: r.jobs, Quota: r.quota,
	})
	rest := iothub.Deps{Hub: r.services, Logger: a.room("iothub")}
	if !a.cfg.has(roleGateway) {
		r.iothub = iothub.New(rest)
		return nil
	}
	desk := hub.NewDesk(hub.DeskDeps{
		Uploads:  a.files.uploads,
		Registry: r.registry, Presence: r.presence, Ingest: r.ingest, Twins: r.twins, Commands: r.commands, Jobs: r.jobs,
		Guard: a.guard, Guests: r.guests.Note, Quota: r.quota, Logger: a.room("hub"),
	})
	rest.Devices = hub.NewVisits(desk)
	r.iothub = iothub.New(rest)
	// Whoever is connected according to the store was so before this start.
	if err := r.registry.ForgetConnections(ctx, time.Now()); err != nil {
		return err
	}
	// Connects that are being decided when the instance ends are not worth
	// waiting for.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	a.endConnects = end
	a.closers = append(a.closers, func() error { end(); return nil })
	r.mqtt = mqttd.New(life, mqttd.Config{
		Hub: desk, Guard: a.guard, Logger: a.room("mqttd"), Registerer: a.registry,
	})
	return nil
}

// saveActivity hands changes of connections from presence to the registry:
// rooms of one floor do not know each other.
func (r *rooms) saveActivity(ctx context.Context, list []presence.Change) error {
	seen := make([]registry.Seen, len(list))
	for i := range list {
		c := &list[i]
		seen[i] = registry.Seen{
			ID: c.ID, Generation: c.Generation, Same: c.Same,
			Activity: registry.Activity{Connected: c.Connected, Since: c.Since, Last: c.Last},
		}
	}
	return r.registry.SaveActivity(ctx, seen)
}

// saveVisits does the same for devices that come over HTTPS.
func (r *rooms) saveVisits(ctx context.Context, list []presence.Visit) error {
	visits := make([]registry.Visit, len(list))
	for i, v := range list {
		visits[i] = registry.Visit(v)
	}
	return r.registry.SaveVisits(ctx, visits)
}

// start runs what the rooms do by themselves, until ctx ends.
func (r *rooms) start(ctx context.Context, run func(name string, fn func() error)) {
	run("outbox", func() error { return r.outbox.Run(ctx) })
	run("quota", func() error { return r.quota.Run(ctx) })
	run("presence", func() error { return r.presence.Run(ctx) })
	run("guests", func() error { return r.guests.Run(ctx) })
	run("configurations", func() error { return r.configurations.Run(ctx) })
	run("jobs", func() error { return r.jobs.Run(ctx) })
}

// policyKeys gives the primary keys of the shared access policies.
func (r *rooms) policyKeys() map[string]string {
	keys := map[string]string{}
	for _, p := range r.policies.List() {
		keys[p.Name] = base64.StdEncoding.EncodeToString(p.PrimaryKey)
	}
	return keys
}
