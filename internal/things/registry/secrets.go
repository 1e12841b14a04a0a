package registry

import (
	"bytes"
	"crypto/rand"
	"strings"

	"dunlin/internal/iot"
	"dunlin/internal/wire/sas"
)

const keyLen = 32 // bytes of a key that is made here

func newKey() []byte {
	b := make([]byte, keyLen)
	rand.Read(b)
	return b
}

// change gives the secrets that the spec asks for, where old is what the
// identity has so far; the zero Secrets for a new one.
func (spec *SecretsSpec) change(old Secrets) (Secrets, error) {
	if spec == nil {
		spec = &SecretsSpec{}
		if len(old.PrimaryKey) > 0 || old.Proof != ProofSAS {
			return old, nil
		}
	}
	s := Secrets{Proof: old.Proof}
	switch {
	case spec.Proof != nil:
		s.Proof = *spec.Proof
	case spec.PrimaryThumbprint != "" || spec.SecondaryThumbprint != "":
		s.Proof = ProofThumbprint
	case spec.PrimaryKey != "" || spec.SecondaryKey != "":
		s.Proof = ProofSAS
	}
	var err error
	switch s.Proof {
	case ProofSAS:
		err = s.keys(spec, old)
	case ProofThumbprint:
		err = s.thumbprints(spec, old)
	case ProofAuthority, ProofNone:
	}
	return s, err
}

func (s *Secrets) keys(spec *SecretsSpec, old Secrets) error {
	if spec.PrimaryKey == "" && spec.SecondaryKey == "" {
		s.PrimaryKey, s.SecondaryKey = old.PrimaryKey, old.SecondaryKey
		if len(s.PrimaryKey) == 0 {
			s.PrimaryKey, s.SecondaryKey = newKey(), newKey()
		}
		return nil
	}
	if spec.PrimaryKey == "" || spec.SecondaryKey == "" {
		return iot.Errorf(iot.ArgumentInvalid,
			"only one of authentication.symmetricKey.primaryKey and secondaryKey is given: give both, or neither to have them made")
	}
	var err error
	if s.PrimaryKey, err = sas.ParseKey(spec.PrimaryKey); err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "authentication.symmetricKey.primaryKey: %w", err)
	}
	if s.SecondaryKey, err = sas.ParseKey(spec.SecondaryKey); err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "authentication.symmetricKey.secondaryKey: %w", err)
	}
	return nil
}

func (s *Secrets) thumbprints(spec *SecretsSpec, old Secrets) error {
	s.PrimaryThumbprint, s.SecondaryThumbprint = spec.PrimaryThumbprint, spec.SecondaryThumbprint
	if s.PrimaryThumbprint == "" && s.SecondaryThumbprint == "" {
		s.PrimaryThumbprint, s.SecondaryThumbprint = old.PrimaryThumbprint, old.SecondaryThumbprint
	}
	if s.PrimaryThumbprint == "" && s.SecondaryThumbprint == "" {
		return iot.Errorf(iot.ArgumentInvalid, "authentication.type selfSigned needs authentication.x509Thumbprint with at least one thumbprint")
	}
	for _, t := range [...]string{s.PrimaryThumbprint, s.SecondaryThumbprint} {
		if t != "" && !validThumbprint(t) {
			return iot.Errorf(iot.ArgumentInvalid,
				"authentication.x509Thumbprint '%.70s' is not valid: 40 (SHA-1) or 64 (SHA-256) hexadecimal digits without colons", t)
		}
	}
	return nil
}

func validThumbprint(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i])) {
			return false
		}
	}
	return true
}

// weaker reports whether a connection that proved itself with old may not be
// able to with s: then it has to end.
func (s *Secrets) weaker(old *Secrets) bool {
	return s.Proof != old.Proof ||
		!bytes.Equal(s.PrimaryKey, old.PrimaryKey) || !bytes.Equal(s.SecondaryKey, old.SecondaryKey) ||
		!strings.EqualFold(s.PrimaryThumbprint, old.PrimaryThumbprint) || !strings.EqualFold(s.SecondaryThumbprint, old.SecondaryThumbprint)
}
