package upload

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/lease"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/trust/grant"
	"dunlin/internal/wire/blobsas"
)

//go:embed migrations
var migrations embed.FS

// Deps is what the room needs.
type Deps struct {
	DB     state.DB
	Blobs  blob.Store
	Grants *grant.Room
	// Container takes the files; Open makes it when it is missing.
	Container  string
	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	db        state.DB
	blobs     blob.Store
	grants    *grant.Room
	container string
	limits    Limits
	logger    *slog.Logger
	metrics   *metrics
	notes     *lease.Desk
}

// Open brings the schema up to date and gives the room. Run is to be called
// with it.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	if err := d.DB.Migrate(ctx, "upload", files); err != nil {
		return nil, err
	}
	if err := d.Blobs.MakeContainer(ctx, d.Container); err != nil {
		return nil, fmt.Errorf("upload: make the container: %w", err)
	}
	return &Room{
		db: d.DB, blobs: d.Blobs, grants: d.Grants, container: d.Container, limits: d.Limits, logger: d.Logger,
		metrics: newMetrics(d.Registerer), notes: lease.NewDesk(),
	}, nil
}

// Container is where the files of devices are, each below the id of its device.
func (r *Room) Container() string { return r.container }

// sweepEvery is how often what has expired is removed.
const sweepEvery = 10 * time.Minute

// Run removes what has expired until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := r.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.logger.Error("uploads that have expired not removed", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (r *Room) sweep(ctx context.Context, now time.Time) error {
	return r.db.Write(ctx, func(tx state.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM upload WHERE expires <= ?", now.Add(-answerFor).UnixNano()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM upload_note WHERE expires <= ?", now.UnixNano())
		return err
	})
}

// Ticket is what a device needs to upload a file. It puts the address together
// as https://HOST/CONTAINER/NAME?QUERY.
type Ticket struct {
	Correlation string // names the upload when it has ended
	Host        string // with its port, unless that is 443
	Container   string
	Name        string // as it stands in an address
	Query       string // the signature, with the question mark
}

// Begin opens an upload of a device for a time. host is the name by which the
// device came here, empty when that is not known.
func (r *Room) Begin(ctx context.Context, device string, generation uint64, name, host string) (Ticket, error) {
	full, err := fullName(device, name)
	if err != nil {
		return Ticket{}, err
	}
	now := time.Now()
	expires := now.Add(r.limits.TTL)
	t := Ticket{Correlation: correlation(), Host: r.grants.HostFor(host), Container: r.container, Name: escape(full)}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var open int
		err := tx.QueryRow(ctx, "SELECT count(*) FROM upload WHERE device = ? AND generation = ? AND done = 0 AND expires > ?", device, int64(generation), now.UnixNano()).Scan(&open)
		if err != nil {
			return err
		}
		if open >= r.limits.Open {
			return iot.Errorf(iot.TooManyUploads,
				"%d file uploads of %s are open, which is the limit for one device: notify the hub of those that have ended; others end by themselves %s after they began", open, device, r.limits.TTL)
		}
		_, err = tx.Exec(ctx, "INSERT INTO upload (id, device, generation, name, begun, expires, done) VALUES (?, ?, ?, ?, ?, ?, 0)",
			t.Correlation, device, int64(generation), full, now.UnixNano(), expires.UnixNano())
		return err
	})
	if err != nil {
		return Ticket{}, stored(err, "begin an upload")
	}
	// The signature is for what the name says to whoever reads the address.
	t.Query = "?" + r.grants.Sign(blobsas.Spec{
		Container: r.container, Blob: full, Permissions: blobsas.Read | blobsas.Write, Expiry: expires,
	})
	r.metrics.begun.Inc()
	return t, nil
}

func correlation() string {
	var b [18]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// fullName puts the device before the name that it gave.
func fullName(device, name string) (string, error) {
	switch n := utf8.RuneCountInString(name); {
	case name == "":
		return "", iot.Errorf(iot.ArgumentNull, "blobName is missing: it names the file, such as logs/2026-01-02.txt")
	case n > maxName:
		return "", iot.Errorf(iot.ArgumentInvalid, "blobName has %d characters, the limit is %d", n, maxName)
	}
	for part := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		if part == "." || part == ".." {
			return "", iot.Errorf(iot.ArgumentInvalid, "blobName has a part '%s', which addresses do not keep: name the file without it", part)
		}
	}
	full := device + "/" + name
	if !blob.ValidName(full) {
		return "", iot.Errorf(iot.ArgumentInvalid,
			"blobName is not valid: with the device id and a slash before it, it has at most %d characters of UTF-8 without control characters, in at most %d parts between slashes", blob.MaxName, blob.MaxSegments)
	}
	return full, nil
}

// escape encodes of a name what would end or change the path of an address
// into which clients put it as it is. They encode the rest themselves.
func escape(name string) string {
	return strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23", `\`, "%5C").Replace(name)
}

// Finish ends an upload of a device. A success is told to applications; it may
// be said twice, if the answer was lost.
func (r *Room) Finish(ctx context.Context, device string, generation uint64, id string, success bool) error {
	now := time.Now()
	var (
		name          string
		expires, done int64
	)
	err := r.db.Get(ctx, []any{&name, &expires, &done}, "SELECT name, expires, done FROM upload WHERE id = ? AND device = ? AND generation = ?", id, device, int64(generation))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return errNoUpload(device)
	case err != nil:
		return stored(err, "read an upload")
	case done != 0:
		return nil
	case expires <= now.UnixNano():
		return iot.Errorf(iot.ExpiredCorrelationID, "the upload has expired at %s: begin it anew", time.Unix(0, expires).UTC().Format(time.RFC3339))
	}
	var p blob.Properties
	if success {
		p, err = r.blobs.Head(ctx, blob.Ref{Container: r.container, Name: name})
		if errors.Is(err, blob.ErrNotFound) {
			return iot.Errorf(iot.InvalidBlob, "the upload was said to be a success, but there is no file %s: upload it, or say that the upload has failed", name)
		}
		if err != nil {
			return stored(err, "look for the file")
		}
	}
	told := false
	err = r.db.Write(ctx, func(tx state.Tx) error {
		told = false
		n, err := tx.Exec(ctx, "UPDATE upload SET done = 1 WHERE id = ? AND done = 0", id)
		if err != nil || n == 0 || !success || !r.limits.Notify {
			return err
		}
		told = true
		return r.tell(ctx, tx, device, name, p, now)
	})
	if err != nil {
		return stored(err, "end an upload")
	}
	r.metrics.finish(success, told)
	return nil
}

func errNoUpload(device string) *iot.Error {
	return iot.Errorf(iot.InvalidCorrelationID, "no open upload of the device %s has this correlation id: it is that of the answer to the beginning of the upload", device)
}

// stored turns an error of a store into one of the domain where a caller can
// do something about it; other errors stay as they are and are for the log.
func stored(err error, doing string) error {
	var domain *iot.Error
	switch {
	case err == nil, errors.As(err, &domain):
		return err
	case errors.Is(err, state.ErrFull), errors.Is(err, blob.ErrFull):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the disk of the server is full, nothing was changed: try again once there is space", Err: err}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed), errors.Is(err, blob.ErrClosed):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the store is not available at the moment: try again later", Err: err}
	}
	return fmt.Errorf("upload: %s: %w", doing, err)
}
