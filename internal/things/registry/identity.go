package registry

import (
	"strings"
	"time"

	"dunlin/internal/iot"
)

// Status says whether a device may connect.
type Status uint8

// The states of a device; the numbers are stored.
const (
	Enabled  Status = 0
	Disabled Status = 1
)

// String gives the word of the service, "enabled" or "disabled".
func (s Status) String() string {
	if s == Disabled {
		return "disabled"
	}
	return "enabled"
}

// ParseStatus reads the word in any case.
func ParseStatus(s string) (Status, error) {
	switch {
	case strings.EqualFold(s, "enabled"):
		return Enabled, nil
	case strings.EqualFold(s, "disabled"):
		return Disabled, nil
	}
	return 0, iot.Errorf(iot.ArgumentInvalid, "status '%.40s' is not known: use enabled or disabled", s)
}

// Proof is the kind of proof an identity must show.
type Proof uint8

// The kinds; the numbers are stored.
const (
	ProofSAS        Proof = 0 // token signed with one of its keys
	ProofThumbprint Proof = 1 // certificate with one of its thumbprints
	ProofAuthority  Proof = 2 // certificate signed by a registered authority
	ProofNone       Proof = 3 // cannot connect by itself
)

var proofNames = [...]string{"sas", "selfSigned", "certificateAuthority", "none"}

// String gives the service's name of the kind, such as "selfSigned".
func (p Proof) String() string { return proofNames[min(int(p), len(proofNames)-1)] }

// ParseProof reads the name of a kind in any case.
func ParseProof(s string) (Proof, error) {
	for i, name := range proofNames {
		if strings.EqualFold(s, name) {
			return Proof(i), nil
		}
	}
	return 0, iot.Errorf(iot.ArgumentInvalid, "authentication.type '%.40s' is not known: use sas, selfSigned, certificateAuthority or none", s)
}

// Secrets is what an identity proves itself with.
type Secrets struct {
	Proof        Proof
	PrimaryKey   []byte // 16 to 64 bytes; nil unless Proof is ProofSAS
	SecondaryKey []byte
	// Thumbprints in hexadecimal digits as given: 40 (SHA-1) or 64 (SHA-256).
	PrimaryThumbprint   string
	SecondaryThumbprint string
}

// Activity is what is stored of an identity's connection.
type Activity struct {
	Connected bool
	Since     time.Time // last change of Connected; zero is never
	Last      time.Time // last activity; zero is never
}

// Device is one device of the registry.
type Device struct {
	ID           string
	Generation   uint64
	ETag         string
	Status       Status
	StatusReason *string // nil when none was given
	StatusSince  time.Time
	Secrets
	Edge         bool
	Scope        string
	ParentScopes []string
	Activity
	Messages int // cloud-to-device messages that wait; the hub fills it in
}

// Module is one module of a device.
type Module struct {
	ID         iot.ID
	Generation uint64
	ETag       string
	ManagedBy  string
	Secrets
	Activity
	Messages int // cloud-to-device messages that wait; the hub fills it in
}

// Modules that every edge device has.
const (
	EdgeAgent = "$edgeAgent"
	EdgeHub   = "$edgeHub"
)

// MaxModules is the largest number of modules of one device.
const MaxModules = 50

// SecretsSpec is what a caller wants an identity to prove itself with. A nil
// Proof follows from what is given; keys that are both empty are made, or kept
// when the identity has some.
type SecretsSpec struct {
	Proof                                  *Proof
	PrimaryKey, SecondaryKey               string // base64
	PrimaryThumbprint, SecondaryThumbprint string
}

// DeviceSpec is what a caller wants a device to be. A nil member takes the
// default when the device is made and keeps what is there when it is changed.
type DeviceSpec struct {
	ID           string
	Status       *Status
	StatusReason **string // a pointer to nil clears it
	Secrets      *SecretsSpec
	Edge         *bool
	Scope        *string
	ParentScopes *[]string
}

// ModuleSpec is DeviceSpec for a module.
type ModuleSpec struct {
	ID        iot.ID
	ManagedBy *string
	Secrets   *SecretsSpec
}

// Match is the condition on the ETag of what is to be changed. The zero Match
// is none: a PUT then makes a new identity and a DELETE does not ask.
type Match struct {
	set, any bool
	etag     string
}

// Any is the condition that the identity exists.
func Any() Match { return Match{set: true, any: true} }

// IfETag is the condition that the identity exists and has this ETag.
func IfETag(etag string) Match { return Match{set: true, etag: etag} }

// ETag gives the ETag that is asked for, nil when any will do.
func (m Match) ETag() *string {
	if !m.set || m.any {
		return nil
	}
	return &m.etag
}

// IsSet reports whether there is a condition.
func (m Match) IsSet() bool { return m.set }

func (m Match) check(id iot.ID, etag string) error {
	if !m.set || m.any || m.etag == etag {
		return nil
	}
	return iot.Errorf(iot.PreconditionFailed,
		"the ETag of %s is not the one given: somebody changed it meanwhile, read it again and repeat the change", id)
}
