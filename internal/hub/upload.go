package hub

import (
	"context"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/iot"
	"dunlin/internal/things/upload"
	"dunlin/internal/trust/access"
	"dunlin/internal/trust/quota"
	"dunlin/internal/wire/blobsas"
)

// BeginUpload opens the upload of a file by the device. host is the name by
// which it came here.
func (d *Visitor) BeginUpload(ctx context.Context, name, host string) (upload.Ticket, error) {
	q := d.visits.desk.quota
	if err := q.Left(); err != nil {
		return upload.Ticket{}, err
	}
	if err := q.Take(ctx, quota.Uploads, 1); err != nil {
		return upload.Ticket{}, err
	}
	q.Note(0)
	return d.visits.desk.uploads.Begin(ctx, d.identity.ID.Device, d.identity.Generation, name, host)
}

// FinishUpload ends an upload that the device has begun.
func (d *Visitor) FinishUpload(ctx context.Context, correlation string, success bool) error {
	return d.visits.desk.uploads.Finish(ctx, d.identity.ID.Device, d.identity.Generation, correlation, success)
}

// ReceiveNotification gives a notification of an uploaded file that waits, nil
// when there is none.
func (s *Service) ReceiveNotification(ctx context.Context) (*upload.Notification, error) {
	if err := s.connect("messages/servicebound/filenotifications"); err != nil {
		return nil, err
	}
	return s.deps.Uploads.ReceiveNotification(ctx)
}

// SettleNotification removes a notification that was received, or gives it
// back.
func (s *Service) SettleNotification(ctx context.Context, token iot.LockToken, o iot.Outcome) error {
	if err := s.connect("messages/servicebound/filenotifications"); err != nil {
		return err
	}
	return s.deps.Uploads.SettleNotification(ctx, token, o)
}

// maxGrant is the longest life of an address that GrantFiles makes.
const maxGrant = 366 * 24 * time.Hour

// GrantFiles gives the address of a container or, with a name, of a blob, with
// a signature that allows its bearer something for a time. An empty container
// is that of the files of devices; one that is not there is made, unless a
// blob of it is asked for. It needs every permission of the hub.
func (s *Service) GrantFiles(ctx context.Context, ref blob.Ref, p blobsas.Permission, life time.Duration) (uri string, err error) {
	if err := s.principal.Require(access.All, "files"); err != nil {
		return "", err
	}
	if ref.Container == "" {
		ref.Container = s.deps.Uploads.Container()
	}
	switch {
	case !blob.ValidContainer(ref.Container):
		return "", iot.Errorf(iot.ArgumentInvalid, "'%.80s' is no name of a container: 3 to 63 of a-z, 0-9 and single hyphens between them", ref.Container)
	case ref.Name != "" && !blob.ValidName(ref.Name):
		return "", iot.Errorf(iot.ArgumentInvalid, "'%.80s' is no name of a file: at most %d characters of UTF-8 without control characters", ref.Name, blob.MaxName)
	case p == 0:
		return "", iot.Errorf(iot.ArgumentInvalid, "no permissions: name some of r (read), a (add), c (create), w (write), d (delete), l (list)")
	case life <= 0 || life > maxGrant:
		return "", iot.Errorf(iot.ArgumentInvalid, "an address is good for more than nothing and at most %s, not %s", maxGrant, life)
	}
	if ref.Name == "" {
		if err := s.deps.Blobs.MakeContainer(ctx, ref.Container); err != nil {
			return "", err
		}
	}
	query := s.deps.Grants.Sign(blobsas.Spec{Container: ref.Container, Blob: ref.Name, Permissions: p, Expiry: time.Now().Add(life)})
	return s.deps.Grants.URI(ref.Container, ref.Name) + "?" + query, nil
}

// Containers lists the containers of files. It needs every permission of the
// hub.
func (s *Service) Containers(ctx context.Context) ([]string, error) {
	if err := s.principal.Require(access.All, "files"); err != nil {
		return nil, err
	}
	return s.deps.Blobs.Containers(ctx)
}
