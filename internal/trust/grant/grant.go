// Package grant gives out and checks access to blobs: it holds the key that
// signs shared access signatures for single blobs and for containers. A
// signature is good for what it says until it expires; nothing takes it back.
package grant

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"hash/crc32"
	"io/fs"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/wire/blobsas"
)

//go:embed migrations
var migrations embed.FS

// keyLen is the length of the key in bytes, as public blob accounts have it.
const keyLen = 64

// Deps is what the room needs.
type Deps struct {
	DB state.DB
	// Account stands in what is signed; it is the name of the hub.
	Account string
	// Host gives the host that clients are told, with its port unless that is
	// 443. It is asked for each address that is made.
	Host func() string
	// Ours reports whether a host, with or without a port, names this hub.
	Ours func(host string) bool
}

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	key     []byte
	account string
	host    func() string
	ours    func(string) bool
}

// Open reads the key and, on the first start, makes it.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("grant: %w", err)
	}
	if err := d.DB.Migrate(ctx, "blobgrant", files); err != nil {
		return nil, err
	}
	fresh := make([]byte, keyLen)
	rand.Read(fresh)
	err = d.DB.Write(ctx, func(tx state.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO blob_key (id, value, sum) VALUES (1, ?, ?) ON CONFLICT (id) DO NOTHING", fresh, checksum(fresh))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("grant: make the key: %w", err)
	}
	r := &Room{account: d.Account, host: d.Host, ours: d.Ours}
	var sum int64
	if err := d.DB.Get(ctx, []any{&r.key, &sum}, "SELECT value, sum FROM blob_key WHERE id = 1"); err != nil {
		return nil, fmt.Errorf("grant: read the key: %w", err)
	}
	if len(r.key) != keyLen || sum != checksum(r.key) {
		return nil, state.DamagedRow(d.DB, "the key of blobs")
	}
	return r, nil
}

func checksum(b []byte) int64 {
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// Sign gives a signature: the query of an address, without the question mark.
func (r *Room) Sign(s blobsas.Spec) string { return blobsas.Sign(r.key, r.account, s) }

// Host gives the host that clients are told, with its port unless it is 443.
func (r *Room) Host() string { return r.host() }

// HostFor gives the host for a client that has come here by some host: the same
// if it names this hub, as only the client knows the ports of what stands
// between; else that which all are told.
func (r *Room) HostFor(host string) string {
	if host != "" && r.ours(host) {
		return host
	}
	return r.host()
}

// URI gives the address of a container or, with a name, of a blob.
func (r *Room) URI(container, name string) string {
	u := "https://" + r.host() + "/" + container
	if name != "" {
		parts := strings.Split(name, "/")
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		u += "/" + strings.Join(parts, "/")
	}
	return u
}

// RefusedError says why a signature does not open what was asked for. Code is one
// of those that the public interface documents, all with the status 403.
type RefusedError struct {
	Code   string
	Detail string
}

func (e *RefusedError) Error() string { return e.Code + ": " + e.Detail }

// The codes.
const (
	codeAuthentication = "AuthenticationFailed"
	codeProtocol       = "AuthorizationProtocolMismatch"
	codeAddress        = "AuthorizationSourceIPMismatch"
)

// Check finds out what the query of an address lets its bearer do with a blob;
// an empty name is the container itself, which only a signature of the
// container opens. Errors are *RefusedError. That the permission is enough is for
// the caller to see.
func (r *Room) Check(q url.Values, ref blob.Ref, from netip.Addr, secure bool, now time.Time) (*blobsas.Claim, error) {
	c, err := blobsas.Parse(q)
	if err != nil {
		return nil, &RefusedError{codeAuthentication, err.Error()}
	}
	if ref.Name == "" && c.Resource != blobsas.Container || !c.SignedBy(r.key, r.account, ref.Container, ref.Name) {
		return nil, &RefusedError{codeAuthentication, "Signature did not match: it was made for another resource, with other fields or with another key"}
	}
	const form = time.RFC1123
	switch {
	case !now.Before(c.Expiry):
		return nil, &RefusedError{codeAuthentication, fmt.Sprintf("Signature not valid in the specified time frame: Expiry [%s] - Current [%s]", c.Expiry.UTC().Format(form), now.UTC().Format(form))}
	case now.Before(c.Start):
		return nil, &RefusedError{codeAuthentication, fmt.Sprintf("Signature not valid in the specified time frame: Start [%s] - Current [%s]", c.Start.UTC().Format(form), now.UTC().Format(form))}
	case c.HTTPSOnly && !secure:
		return nil, &RefusedError{codeProtocol, "the signature allows HTTPS only"}
	case !c.AllowsAddress(from):
		return nil, &RefusedError{codeAddress, "the signature does not allow the address " + from.String()}
	}
	return &c, nil
}

// Container takes apart the address of a container with its signature, as jobs
// are given it: https://host/container?sv=...&sr=c&sig=... It answers the
// container and what the bearer may do with it. Errors carry an iot.Code.
func (r *Room) Container(uri string, now time.Time) (container string, p blobsas.Permission, err error) {
	const form = "it must be https://HOST/CONTAINER?sv=...&sr=c&sig=..., as dunlin file sas CONTAINER prints it"
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return "", 0, iot.Errorf(iot.ArgumentInvalid, "the container URI is not an address: %s", form)
	}
	if !r.ours(u.Host) {
		return "", 0, iot.Errorf(iot.ArgumentInvalid, "the container URI names the host '%.200s': only containers of this hub can be used, on %s", u.Host, r.host())
	}
	container = strings.Trim(u.Path, "/")
	if !blob.ValidContainer(container) {
		return "", 0, iot.Errorf(iot.ArgumentInvalid, "the container URI names the container '%.80s', which is no name of a container: %s", container, form)
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return "", 0, iot.Errorf(iot.ArgumentInvalid, "the query of the container URI is not valid: %w", err)
	}
	c, err := r.Check(q, blob.Ref{Container: container}, netip.Addr{}, true, now)
	if err != nil {
		return "", 0, iot.Errorf(iot.ArgumentInvalid, "the container URI does not open the container: %w", err)
	}
	return container, c.Permissions, nil
}
