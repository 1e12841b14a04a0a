package registry

import (
	"context"
	"crypto/x509"
	"database/sql"
	"errors"
	"strings"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/sas"
)

// Claim is what a peer shows to be taken for an identity.
type Claim struct {
	ID       iot.ID
	HostName string // hub as the peer spells it, port included; may be empty
	Token    string // shared access signature; empty with a certificate
	// Certificates is the chain of the TLS connection, leaf first, unchecked.
	Certificates []*x509.Certificate
}

// Identity is a device or module that has proven to be one.
type Identity struct {
	ID iot.ID
	// Generation is that of the device or of the module itself.
	Generation uint64
	Auth       iot.AuthMethod
	// Expiry is when the proof ends and the connection with it: the expiry of
	// a token, the allowance for clock skew included, or of a certificate.
	Expiry time.Time
}

// Reasons of a refusal: short and stable, for metrics and for grouping.
const (
	ReasonBadID             = "bad_id"
	ReasonWrongHub          = "wrong_hub"
	ReasonNoCredentials     = "no_credentials"
	ReasonTokenMalformed    = "token_malformed"
	ReasonTokenExpired      = "token_expired"
	ReasonClockSkew         = "clock_skew"
	ReasonTokenOther        = "token_for_other_identity"
	ReasonBadSignature      = "bad_signature"
	ReasonUnknownPolicy     = "unknown_policy"
	ReasonPolicyTooWeak     = "policy_without_device_connect"
	ReasonUnknownDevice     = "unknown_device"
	ReasonUnknownModule     = "unknown_module"
	ReasonDisabled          = "device_disabled"
	ReasonWrongProof        = "wrong_authentication_type"
	ReasonThumbprint        = "thumbprint_mismatch"
	ReasonCertExpired       = "certificate_expired"
	ReasonCertEarly         = "certificate_not_yet_valid"
	ReasonUnknownCA         = "unknown_ca"
	ReasonCANotVerified     = "ca_not_verified"
	ReasonCertBroken        = "certificate_invalid"
	ReasonCommonName        = "common_name_mismatch"
	ReasonStoreNotAvailable = "store_unavailable"
)

// Reasons lists all reasons.
func Reasons() []string {
	return []string{
		ReasonBadID, ReasonWrongHub, ReasonNoCredentials, ReasonTokenMalformed, ReasonTokenExpired, ReasonClockSkew, ReasonTokenOther,
		ReasonBadSignature, ReasonUnknownPolicy, ReasonPolicyTooWeak, ReasonUnknownDevice, ReasonUnknownModule, ReasonDisabled, ReasonWrongProof,
		ReasonThumbprint, ReasonCertExpired, ReasonCertEarly, ReasonUnknownCA, ReasonCANotVerified, ReasonCertBroken, ReasonCommonName,
		ReasonStoreNotAvailable,
	}
}

// Refused is why a claim was not accepted. Its text is meant for whoever owns
// the device; a door that talks to strangers shows less.
type Refused struct { //nolint:errname // the noun that the hub speaks of
	Reason string // one of the Reason constants
	Err    *iot.Error
}

func (r *Refused) Error() string { return r.Reason + ": " + r.Err.Message }

func (r *Refused) Unwrap() error { return r.Err }

func refuse(reason string, code iot.Code, format string, args ...any) *Refused {
	return &Refused{Reason: reason, Err: iot.Errorf(code, format, args...)}
}

// credentials is the part of an identity that a claim is checked against.
type credentials struct {
	generation int64 // of the device or module
	status     Status
	secrets    Secrets
}

// Authenticate decides whether the claim proves to be its identity, at now by
// the clock of the server. It costs one read of the store by primary key. An
// error is a *Refused with the code IotHubUnauthorizedAccess, DeviceNotFound
// (only when a token of the hub was shown), or ServiceUnavailable.
func (r *Registry) Authenticate(ctx context.Context, c Claim, now time.Time) (Identity, error) {
	if !iot.ValidID(c.ID.Device) || (c.ID.Module != "" && !iot.ValidID(c.ID.Module)) {
		return Identity{}, refuse(ReasonBadID, iot.UnauthorizedAccess, "the id '%.140s' is not one that a device or module can have", c.ID)
	}
	if hosts := r.policies.Hosts(); !hosts.Match(c.HostName) {
		return Identity{}, refuse(ReasonWrongHub, iot.UnauthorizedAccess,
			"the connection is for the hub '%.140s', this hub is %s: use one of these names in the connection string, or start the server with --host-name", c.HostName, hosts)
	}
	if c.Token != "" {
		return r.byToken(ctx, &c, now)
	}
	if len(c.Certificates) == 0 {
		return Identity{}, refuse(ReasonNoCredentials, iot.UnauthorizedAccess, "neither a token (password) nor a client certificate was shown")
	}
	return r.byCertificate(ctx, &c, now)
}

func (r *Registry) byToken(ctx context.Context, c *Claim, now time.Time) (Identity, error) {
	t, err := sas.Parse(c.Token)
	if err != nil {
		return Identity{}, refuse(ReasonTokenMalformed, iot.UnauthorizedAccess, "%w", err)
	}
	host := t.Host()
	if hosts := r.policies.Hosts(); !hosts.Match(host) {
		return Identity{}, refuse(ReasonWrongHub, iot.UnauthorizedAccess, "the token is for the hub '%.140s', this hub is %s", host, hosts)
	}
	var buf [3 * iot.MaxIDLen]byte
	resource := append(append(append(buf[:0], host...), "/devices/"...), c.ID.Device...)
	if c.ID.IsModule() {
		resource = append(append(resource, "/modules/"...), c.ID.Module...)
	}
	if !t.Covers(string(resource)) {
		return Identity{}, refuse(ReasonTokenOther, iot.UnauthorizedAccess, "the token is for '%.300s' but the connection says %s", t.Resource(), c.ID)
	}
	if t.Policy() != "" {
		return r.byPolicy(ctx, c, &t, now)
	}
	have, err := r.credentials(ctx, c.ID)
	if err != nil {
		return Identity{}, r.unknown(err, c.ID, iot.UnauthorizedAccess)
	}
	if have.secrets.Proof != ProofSAS {
		return Identity{}, refuse(ReasonWrongProof, iot.UnauthorizedAccess,
			"%s is registered with authentication type %s but the connection shows a token: connect with its certificate, or change the type to sas", c.ID, have.secrets.Proof)
	}
	if !t.Verify(have.secrets.PrimaryKey) && !t.Verify(have.secrets.SecondaryKey) {
		return Identity{}, refuse(ReasonBadSignature, iot.UnauthorizedAccess,
			"the signature does not match either key of %s: was the key regenerated, cut while copying, or is it another device's?", c.ID)
	}
	if err := expired(&t, uint64(have.generation), now); err != nil {
		return Identity{}, err
	}
	if have.status == Disabled {
		return Identity{}, errDisabled(c.ID)
	}
	scope := iot.ScopeDevice
	if c.ID.IsModule() {
		scope = iot.ScopeModule
	}
	return Identity{
		ID: c.ID, Generation: uint64(have.generation), Auth: iot.AuthMethod{Scope: scope, Type: iot.AuthSAS}, Expiry: t.Expiry().Add(sas.Skew),
	}, nil
}

// byPolicy takes a token signed with the key of a hub policy: it may act for
// any device that its resource covers.
func (r *Registry) byPolicy(ctx context.Context, c *Claim, t *sas.Token, now time.Time) (Identity, error) {
	policy, ok := r.policies.Find(t.Policy())
	if !ok {
		return Identity{}, refuse(ReasonUnknownPolicy, iot.UnauthorizedAccess, "the token names the shared access policy '%.64s' (skn), which this hub does not have", t.Policy())
	}
	if !policy.Verify(t) {
		return Identity{}, refuse(ReasonBadSignature, iot.UnauthorizedAccess,
			"the signature does not match either key of the shared access policy '%s': is it the key of this hub?", policy.Name)
	}
	if policy.Permissions&access.DeviceConnect == 0 {
		return Identity{}, refuse(ReasonPolicyTooWeak, iot.UnauthorizedAccess,
			"the shared access policy '%s' grants %s: a device needs DeviceConnect, such as the policy 'device' grants", policy.Name, policy.Permissions)
	}
	if err := expired(t, 0, now); err != nil {
		return Identity{}, err
	}
	have, err := r.credentials(ctx, c.ID)
	if err != nil {
		// The peer has proven to be trusted by the hub: it may know.
		return Identity{}, r.unknown(err, c.ID, iot.DeviceNotFound)
	}
	if have.status == Disabled {
		return Identity{}, errDisabled(c.ID)
	}
	return Identity{
		ID: c.ID, Generation: uint64(have.generation), Auth: iot.AuthMethod{Scope: iot.ScopeHub, Type: iot.AuthSAS}, Expiry: t.Expiry().Add(sas.Skew),
	}, nil
}

func errDisabled(id iot.ID) error {
	return refuse(ReasonDisabled, iot.UnauthorizedAccess, "the device %s is disabled: enable it to let it connect", id.Device)
}

// expired says how long ago and by which clock. A token that ended before its
// key was made comes from a device whose clock is behind.
func expired(t *sas.Token, generation uint64, now time.Time) error {
	if !t.Expired(now) {
		return nil
	}
	ago := now.Sub(t.Expiry()).Round(time.Second)
	at, clock := t.Expiry().Format(time.RFC3339), now.UTC().Format(time.RFC3339)
	if generation > 0 && t.Expiry().Before(madeAt(generation)) {
		return refuse(ReasonClockSkew, iot.UnauthorizedAccess,
			"the token expired at %s, before the identity was even registered: the clock of the device is behind, the server's says %s; set it, by NTP for example", at, clock)
	}
	return refuse(ReasonTokenExpired, iot.UnauthorizedAccess,
		"the token expired %s ago, at %s by the server's clock %s: make a new one; when it was just made, the clock of the device is behind", span(ago), at, clock)
}

// span writes a duration as people say it: 40 s, 12 min, 3 h, 2 days.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return itoa(d/time.Second) + " s"
	case d < 2*time.Hour:
		return itoa(d/time.Minute) + " min"
	case d < 48*time.Hour:
		return itoa(d/time.Hour) + " h"
	}
	return itoa(d/(24*time.Hour)) + " days"
}

const (
	deviceCredentials = "SELECT generation, status, auth, key1, key2, thumb1, thumb2, sum FROM device WHERE id = ?"
	moduleCredentials = "SELECT m.generation, d.status, m.auth, m.key1, m.key2, m.thumb1, m.thumb2, m.sum FROM module m JOIN device d ON d.id = m.device WHERE m.device = ? AND m.id = ?"
)

func (r *Registry) credentials(ctx context.Context, id iot.ID) (c credentials, err error) {
	var thumb1, thumb2 sql.NullString
	var sum int64
	dest := []any{&c.generation, &c.status, &c.secrets.Proof, &c.secrets.PrimaryKey, &c.secrets.SecondaryKey, &thumb1, &thumb2, &sum}
	if id.IsModule() {
		err = r.db.Get(ctx, dest, moduleCredentials, id.Device, id.Module)
	} else {
		err = r.db.Get(ctx, dest, deviceCredentials, id.Device)
	}
	c.secrets.PrimaryThumbprint, c.secrets.SecondaryThumbprint = thumb1.String, thumb2.String
	if err == nil {
		status := c.status
		if id.IsModule() {
			status = Enabled // that of the device is not part of the module's row
		}
		if sum != c.secrets.sum(id, uint64(c.generation), status) {
			return c, state.DamagedRow(r.db, "identity "+id.String())
		}
		return c, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return c, err
	}
	if !id.IsModule() {
		return c, errNoDevice(id.Device)
	}
	if _, err := readDevice(ctx, r.db, id.Device); err != nil {
		return c, err
	}
	return c, errNoModule(id)
}

// unknown translates the error of a read. code is what a peer is told when the
// identity does not exist.
func (r *Registry) unknown(err error, id iot.ID, code iot.Code) error {
	switch iot.CodeOf(err) { //nolint:exhaustive // a read gives no other code
	case iot.DeviceNotFound:
		return refuse(ReasonUnknownDevice, code, "IotHub '%s' does not contain the specified device '%s'", r.policies.Hosts().Name(), id.Device)
	case iot.ModuleNotFound:
		if code == iot.DeviceNotFound {
			code = iot.ModuleNotFound
		}
		return refuse(ReasonUnknownModule, code, "the device '%s' has no module '%s'", id.Device, id.Module)
	}
	return &Refused{Reason: ReasonStoreNotAvailable, Err: &iot.Error{
		Code: iot.ServiceUnavailable, Message: "the registry cannot be read at the moment, try again later", Err: err,
	}}
}

// sameThumbprint compares hexadecimal digits in any case.
func sameThumbprint(registered, shown string) bool {
	return registered != "" && strings.EqualFold(registered, shown)
}
