package app

import (
	"net/url"
	"strings"
	"time"

	"dunlin/internal/api/iothub"
	"dunlin/internal/engine/blob"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/job"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/blobsas"
)

// jobDeps gives the room of jobs what it needs of other rooms.
func (a *App) jobDeps() job.Deps {
	r := &a.rooms
	d := hub.Tools{Registry: r.registry, Twins: r.twins, Commands: r.commands, Quota: r.quota}.ForJobs()
	d.DB, d.Outbox, d.Connected = a.state, r.outbox, r.presence.Has
	d.Limits.MaxRunning = r.quota.Jobs()
	d.Logger, d.Registerer = a.room("job"), a.registry
	t := iothub.ForTransfers(r.worker)
	t.Blobs, t.Container = a.files.store, a.container
	d.Transfer = &t
	return d
}

// worker is the hub as its own jobs use it. Who may have a job done was asked
// when it came in.
func (r *rooms) worker() *hub.Service {
	p := access.Admin()
	p.Name = "job"
	return r.services.For(p)
}

// container opens a container for a job: with the signature of its address, or
// with the right of the hub itself over its own containers.
func (a *App) container(uri string, identity bool) (name string, read, write bool, err error) {
	if !identity {
		name, p, err := a.files.grants.Container(uri, time.Now())
		return name, p&blobsas.Read != 0, p&blobsas.Write != 0, err
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return "", false, false, iot.Errorf(iot.ArgumentInvalid, "the container URI is not an address: it must be https://HOST/CONTAINER")
	}
	if !a.hosts().Match(u.Host) {
		return "", false, false, iot.Errorf(iot.ArgumentInvalid, "the container URI names the host '%.200s': only containers of this hub can be used", u.Host)
	}
	name = strings.Trim(u.Path, "/")
	if !blob.ValidContainer(name) {
		return "", false, false, iot.Errorf(iot.ArgumentInvalid, "the container URI names the container '%.80s', which is no name of a container", name)
	}
	return name, true, true, nil
}

func (a *App) hosts() access.Hosts {
	return access.NewHosts(append([]string{a.cfg.HostName}, a.cfg.HostAliases...)...)
}
