package app

import (
	"dunlin/internal/hub"
	"dunlin/internal/things/job"
)

// jobDeps gives the room of jobs what it needs of other rooms.
func (a *App) jobDeps() job.Deps {
	r := &a.rooms
	d := hub.Tools{Registry: r.registry, Twins: r.twins, Commands: r.commands, Quota: r.quota}.ForJobs()
	d.DB, d.Outbox, d.Connected = a.state, r.outbox, r.presence.Has
	d.Limits.MaxRunning = r.quota.Jobs()
	d.Logger, d.Registerer = a.room("job"), a.registry
	return d
}
