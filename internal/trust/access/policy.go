package access

import (
	"context"
	"crypto/rand"
	"embed"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/wire/sas"
)

//go:embed migrations
var migrations embed.FS

// keyLen is the length in bytes of the keys that are made here.
const keyLen = 32

// Policy is a shared access policy: whoever has one of its keys may do what it
// grants.
type Policy struct {
	Name         string
	Permissions  Permission
	PrimaryKey   []byte
	SecondaryKey []byte
}

// builtIn are the policies that every hub has from its first start.
var builtIn = [...]Policy{
	{Name: "iothubowner", Permissions: All},
	{Name: "service", Permissions: ServiceConnect},
	{Name: "device", Permissions: DeviceConnect},
	{Name: "registryRead", Permissions: RegistryRead},
	{Name: "registryReadWrite", Permissions: RegistryRead | RegistryWrite},
}

// Policies are the shared access policies of the hub. They do not change while
// it runs, so that checking a token needs no lock and no read of the store.
type Policies struct {
	hosts  Hosts
	list   []Policy
	byName map[string]*Policy
}

// Open reads the policies and, on the first start, makes them with random keys.
func Open(ctx context.Context, db state.DB, hosts Hosts) (*Policies, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	if err := db.Migrate(ctx, "access", files); err != nil {
		return nil, err
	}
	err = db.Write(ctx, func(tx state.Tx) error {
		for _, p := range builtIn {
			p.PrimaryKey, p.SecondaryKey = newKey(), newKey()
			_, err := tx.Exec(ctx, "INSERT INTO policy (name, permissions, primary_key, secondary_key, sum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
				p.Name, int64(p.Permissions), p.PrimaryKey, p.SecondaryKey, p.sum())
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("access: make the shared access policies: %w", err)
	}
	p := &Policies{hosts: hosts, byName: map[string]*Policy{}}
	if err := db.Read(ctx, p.load(ctx, db)); err != nil {
		return nil, fmt.Errorf("access: read the shared access policies: %w", err)
	}
	for i := range p.list {
		p.byName[p.list[i].Name] = &p.list[i]
	}
	return p, nil
}

func newKey() []byte {
	b := make([]byte, keyLen)
	rand.Read(b)
	return b
}

func (p *Policies) load(ctx context.Context, db state.DB) func(tx state.Tx) error {
	return func(tx state.Tx) error {
		p.list = p.list[:0]
		rows, err := tx.Query(ctx, "SELECT name, permissions, primary_key, secondary_key, sum FROM policy ORDER BY name")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var one Policy
			var permissions, sum int64
			if err := rows.Scan(&one.Name, &permissions, &one.PrimaryKey, &one.SecondaryKey, &sum); err != nil {
				return err
			}
			one.Permissions = Permission(permissions) & All
			if sum != one.sum() {
				return state.DamagedRow(db, "shared access policy "+one.Name)
			}
			p.list = append(p.list, one)
		}
		return rows.Err()
	}
}

// sum guards a policy against bits that flip on the disk.
func (p *Policy) sum() int64 {
	b := append([]byte{byte(p.Permissions), byte(len(p.PrimaryKey))}, p.Name...)
	b = append(append(b, p.PrimaryKey...), p.SecondaryKey...)
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// List gives all policies in the order of their names. The keys are secret.
func (p *Policies) List() []Policy { return slices.Clone(p.list) }

// Find gives a policy by its exact name.
func (p *Policies) Find(name string) (*Policy, bool) {
	one, ok := p.byName[name]
	return one, ok
}

// Hosts are the names the hub answers to.
func (p *Policies) Hosts() Hosts { return p.hosts }

// Verify reports whether the token was signed with one of the policy's keys.
func (p *Policy) Verify(t *sas.Token) bool {
	return t.Verify(p.PrimaryKey) || t.Verify(p.SecondaryKey)
}

// Authorize checks the token of an application for a path below the hub, such
// as "/devices/d1" (decoded). Errors carry the code IotHubUnauthorizedAccess
// and say what to do. What the principal may do there is asked separately.
func (p *Policies) Authorize(token, path string, now time.Time) (Principal, error) {
	if strings.TrimSpace(token) == "" {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "Authorization header missing")
	}
	t, err := sas.Parse(token)
	if err != nil {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "%w", err)
	}
	if !p.hosts.Match(t.Host()) {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "the token is for the hub '%s', this hub is %s", t.Host(), p.hosts)
	}
	if t.Policy() == "" {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess,
			"the token names no shared access policy (skn): a token of a device does not open the service side")
	}
	policy, ok := p.Find(t.Policy())
	if !ok {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "there is no shared access policy '%s' (skn)", t.Policy())
	}
	if !policy.Verify(&t) {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess,
			"the signature matches neither key of the shared access policy '%s': is it the key of this hub and this policy?", policy.Name)
	}
	if t.Expired(now) {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "the token expired at %s, the clock of the server says %s",
			t.Expiry().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if !t.Covers(t.Host() + path) {
		return Principal{}, iot.Errorf(iot.UnauthorizedAccess, "the token is for '%s' and does not cover '%s'", t.Resource(), path)
	}
	return Principal{Name: policy.Name, Permissions: policy.Permissions}, nil
}
