package app

import (
	"context"
	"fmt"
	"net"
	"time"

	"dunlin/internal/api/blob"
	engine "dunlin/internal/engine/blob"
	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/things/upload"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/grant"
)

// HubFiles is how files of devices are kept and told of.
type HubFiles struct {
	Container      string        `yaml:"container" name:"container" default:"uploads" placeholder:"NAME" help:"Container of the files that devices upload (${default})."`
	MaxSize        Bytes         `yaml:"max-size" name:"max-size" default:"5GiB" placeholder:"SIZE" help:"Largest file, 1KiB to 190TiB (${default})."`
	TTL            time.Duration `yaml:"ttl" name:"ttl" default:"1h" placeholder:"DURATION" help:"How long an upload may take, 1m to 24h (${default})."`
	Notify         bool          `yaml:"notifications" name:"notifications" default:"true" negatable:"" help:"Tell applications of files that were uploaded (${default})."`
	NotifyTTL      time.Duration `yaml:"notification-ttl" name:"notification-ttl" default:"1h" placeholder:"DURATION" help:"Life of a notification, 1m to 48h (${default})."`
	NotifyLock     time.Duration `yaml:"notification-lock" name:"notification-lock" default:"60s" placeholder:"DURATION" help:"How long a notification that was received is hidden from other receivers, 5s to 300s (${default})."`
	NotifyDelivery int           `yaml:"notification-max-delivery-count" name:"notification-max-delivery-count" default:"10" placeholder:"N" help:"Abandoned deliveries after which a notification is given up, 1 to 100 (${default})."`
}

func (f *HubFiles) check(bad complaint) {
	if !engine.ValidContainer(f.Container) {
		bad("hub.files.container", "%q is no name of a container: 3 to 63 of a-z, 0-9 and single hyphens between them", f.Container)
	}
	within(bad, "hub.files.max-size", f.MaxSize, 1<<10, 190<<40)
	within(bad, "hub.files.ttl", f.TTL, time.Minute, 24*time.Hour)
	within(bad, "hub.files.notification-ttl", f.NotifyTTL, time.Minute, 48*time.Hour)
	within(bad, "hub.files.notification-lock", f.NotifyLock, 5*time.Second, 300*time.Second)
	within(bad, "hub.files.notification-max-delivery-count", f.NotifyDelivery, 1, 100)
}

func (f *HubFiles) limits() upload.Limits {
	l := upload.StrictLimits()
	l.TTL, l.Notify = f.TTL, f.Notify
	l.NotifyTTL, l.NotifyLock, l.NotifyMaxDelivery = f.NotifyTTL, f.NotifyLock, f.NotifyDelivery
	return l
}

// files are what keeps files and lets clients at them.
type files struct {
	store   *dir.Store
	grants  *grant.Room
	uploads *upload.Room
}

// openFiles opens the store of files and the rooms about them.
func (a *App) openFiles(ctx context.Context, hosts access.Hosts) error {
	f := &a.files
	var err error
	f.store, err = dir.Open(ctx, dir.Config{Path: a.data.join(blobDir), Logger: a.room("blobs"), Registerer: a.registry})
	if err != nil {
		return fmt.Errorf("open the store of files: %w", err)
	}
	a.closers = append(a.closers, f.store.Close)
	f.grants, err = grant.Open(ctx, grant.Deps{DB: a.state, Account: a.cfg.HubName, Host: a.blobHost, Ours: hosts.Match})
	if err != nil {
		return err
	}
	f.uploads, err = upload.Open(ctx, upload.Deps{
		DB: a.state, Blobs: f.store, Grants: f.grants, Container: a.cfg.Hub.Files.Container, Limits: a.cfg.Hub.Files.limits(),
		Logger: a.room("upload"), Registerer: a.registry,
	})
	return err
}

// blobHost is the host that clients of files are told.
func (a *App) blobHost() string {
	if port := portOf(a.httpsOn.Addr()); port != httpsPort {
		return net.JoinHostPort(a.cfg.HostName, port)
	}
	return bracket(a.cfg.HostName)
}

// blobSurface gives the handler of files.
func (a *App) blobSurface() blob.Deps {
	return blob.Deps{Store: a.files.store, Grants: a.files.grants, MaxBlob: int64(a.cfg.Hub.Files.MaxSize), Logger: a.room("blob")}
}

// startFiles runs what the rooms do by themselves, until ctx ends.
func (a *App) startFiles(ctx context.Context, run func(name string, fn func() error)) {
	run("blobs", func() error { return a.files.store.Run(ctx) })
	run("uploads", func() error { return a.files.uploads.Run(ctx) })
}
