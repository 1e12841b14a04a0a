package registry

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // the thumbprint that people compare
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Authority is a device CA certificate: devices of the kind ProofAuthority may
// show a certificate signed by it, once it is verified.
type Authority struct {
	Name        string
	ETag        string
	Certificate *x509.Certificate
	Verified    bool
	// Code is the verification code asked for last, empty without one: the
	// common name of the certificate that proves possession of the key.
	Code             string
	Created, Updated time.Time
}

// Thumbprint is the SHA-1 of the certificate in hexadecimal digits.
func (a *Authority) Thumbprint() string {
	sum := sha1.Sum(a.Certificate.Raw) //nolint:gosec // see above
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

const maxAuthorityName = 64

func validAuthorityName(s string) bool {
	if s == "" || len(s) > maxAuthorityName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return true
}

func errNoAuthority(name string) error {
	return iot.Errorf(iot.NotFound, "there is no device CA certificate '%.64s'", name)
}

const authorityColumns = "name, etag, der, verified, code, created_at, updated_at"

func scanAuthority(row scanner) (a Authority, err error) {
	var der []byte
	var created, updated int64
	if err := row.Scan(&a.Name, &a.ETag, &der, &a.Verified, &a.Code, &created, &updated); err != nil {
		return a, err
	}
	a.Created, a.Updated = moment(created), moment(updated)
	if a.Certificate, err = x509.ParseCertificate(der); err != nil {
		return a, fmt.Errorf("stored certificate %s: %w", a.Name, err)
	}
	return a, nil
}

func getAuthority(ctx context.Context, tx state.Tx, name string) (Authority, error) {
	a, err := scanAuthority(tx.QueryRow(ctx, "SELECT "+authorityColumns+" FROM authority WHERE name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return a, errNoAuthority(name)
	}
	return a, err
}

// Authorities lists the device CA certificates in the order of their names.
func (r *Registry) Authorities(ctx context.Context) ([]Authority, error) {
	set, err := r.authorities.load(ctx, r.db, true)
	if err != nil {
		return nil, stored(err, "list device CA certificates")
	}
	return set.list, nil
}

// Authority gives one device CA certificate.
func (r *Registry) Authority(ctx context.Context, name string) (a Authority, err error) {
	err = r.db.Read(ctx, func(tx state.Tx) error {
		a, err = getAuthority(ctx, tx, name)
		return err
	})
	return a, stored(err, "read a device CA certificate")
}

// AddAuthority registers a certificate, PEM or DER, that is not verified yet.
func (r *Registry) AddAuthority(ctx context.Context, name string, certificate []byte, now time.Time) (Authority, error) {
	if !validAuthorityName(name) {
		return Authority{}, iot.Errorf(iot.ArgumentInvalid, "the name '%.80s' is not valid: 1 to %d of A-Z a-z 0-9 - . _", name, maxAuthorityName)
	}
	cert, err := ParseCertificate(certificate)
	if err != nil {
		return Authority{}, err
	}
	switch {
	case !cert.IsCA || !cert.BasicConstraintsValid:
		return Authority{}, iot.Errorf(iot.ArgumentInvalid, "the certificate '%s' is not one of a certificate authority (basicConstraints CA:TRUE is missing): "+
			"register the certificate that signs the devices' certificates", cert.Subject)
	case now.After(cert.NotAfter):
		return Authority{}, iot.Errorf(iot.ArgumentInvalid, "the certificate '%s' expired at %s", cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	a := Authority{Name: name, ETag: newETag(), Certificate: cert, Created: now.UTC(), Updated: now.UTC()}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		n, err := tx.Exec(ctx, "INSERT INTO authority ("+authorityColumns+") VALUES (?, ?, ?, 0, '', ?, ?) ON CONFLICT (name) DO NOTHING",
			name, a.ETag, cert.Raw, nanos(now), nanos(now))
		if err == nil && n == 0 {
			return iot.Errorf(iot.Conflict, "there is a device CA certificate '%s' already: delete it first, or choose another name", name)
		}
		return err
	})
	r.authorities.drop()
	return a, stored(err, "register a device CA certificate")
}

// ProofCode makes a new verification code for a certificate and answers it.
func (r *Registry) ProofCode(ctx context.Context, name string, now time.Time) (a Authority, err error) {
	var b [24]byte
	rand.Read(b[:])
	code, etag := strings.ToUpper(hex.EncodeToString(b[:])), newETag()
	err = r.db.Write(ctx, func(tx state.Tx) error {
		if a, err = getAuthority(ctx, tx, name); err != nil {
			return err
		}
		a.Code, a.ETag, a.Updated = code, etag, now.UTC()
		_, err = tx.Exec(ctx, "UPDATE authority SET code = ?, etag = ?, updated_at = ? WHERE name = ?", code, etag, nanos(now), name)
		return err
	})
	return a, stored(err, "make a verification code")
}

// VerifyAuthority takes the proof of possession: a certificate, PEM or DER,
// whose common name is the verification code, signed by the authority.
func (r *Registry) VerifyAuthority(ctx context.Context, name string, proof []byte, now time.Time) (a Authority, err error) {
	cert, err := ParseCertificate(proof)
	if err != nil {
		return a, err
	}
	etag := newETag()
	err = r.db.Write(ctx, func(tx state.Tx) error {
		if a, err = getAuthority(ctx, tx, name); err != nil {
			return err
		}
		if err := a.checkProof(cert, now); err != nil {
			return err
		}
		a.Verified, a.Code, a.ETag, a.Updated = true, "", etag, now.UTC()
		_, err = tx.Exec(ctx, "UPDATE authority SET verified = 1, code = '', etag = ?, updated_at = ? WHERE name = ?", etag, nanos(now), name)
		return err
	})
	r.authorities.drop()
	return a, stored(err, "verify a device CA certificate")
}

func (a *Authority) checkProof(proof *x509.Certificate, now time.Time) error {
	if a.Code == "" {
		return iot.Errorf(iot.InvalidOperation, "no verification code was asked for: get one first, then sign a certificate whose common name is the code")
	}
	if proof.Subject.CommonName != a.Code {
		return iot.Errorf(iot.ArgumentInvalid, "the common name of the verification certificate is '%.80s' and not the verification code asked for last, '%s'",
			proof.Subject.CommonName, a.Code)
	}
	if err := proof.CheckSignatureFrom(a.Certificate); err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "the verification certificate is not signed by '%s': %v", a.Certificate.Subject, err)
	}
	if now.After(proof.NotAfter) {
		return iot.Errorf(iot.ArgumentInvalid, "the verification certificate expired at %s", proof.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// DeleteAuthority removes a certificate. Devices that it signed cannot connect
// any more; those that are connected stay until they disconnect.
func (r *Registry) DeleteAuthority(ctx context.Context, name string) error {
	err := r.db.Write(ctx, func(tx state.Tx) error {
		n, err := tx.Exec(ctx, "DELETE FROM authority WHERE name = ?", name)
		if err == nil && n == 0 {
			return errNoAuthority(name)
		}
		return err
	})
	r.authorities.drop()
	return stored(err, "delete a device CA certificate")
}

// ParseCertificate reads the first certificate of a PEM text, or DER bytes.
func ParseCertificate(b []byte) (*x509.Certificate, error) {
	der := b
	for rest := b; ; {
		block, more := pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			der = block.Bytes
			break
		}
		rest = more
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, iot.Errorf(iot.ArgumentInvalid, "this is not an X.509 certificate in PEM or DER form: %w", err)
	}
	return cert, nil
}

// SignProof makes the verification certificate, in PEM, with the private key
// of the authority: for a command that has the key at hand and proves
// possession in one step.
func SignProof(ca *x509.Certificate, key crypto.Signer, code string, now time.Time) ([]byte, error) {
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes([]byte(code)[:min(16, len(code))]),
		Subject:      pkix.Name{CommonName: code},
		NotBefore:    now.Add(-5 * time.Minute),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
	// The certificate only proves who signed it; whose public key it holds
	// does not matter, so the authority's own serves.
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		return nil, iot.Errorf(iot.ArgumentInvalid, "the private key does not sign for the certificate '%s': %v", ca.Subject, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// authoritySet is what connecting devices are checked against.
type authoritySet struct {
	list                 []Authority
	verified, unverified *x509.CertPool
	loaded               time.Time
}

// authorityMaxAge bounds how long another node's change stays unseen.
const authorityMaxAge = 10 * time.Second

// authorityCache keeps the few authorities parsed.
type authorityCache struct {
	mu    sync.Mutex
	set   *authoritySet
	epoch int // counts changes made here, so that a load begun before one is not kept
}

func (c *authorityCache) drop() {
	c.mu.Lock()
	c.set, c.epoch = nil, c.epoch+1
	c.mu.Unlock()
}

func (c *authorityCache) load(ctx context.Context, db state.DB, fresh bool) (*authoritySet, error) {
	c.mu.Lock()
	set, epoch := c.set, c.epoch
	c.mu.Unlock()
	if set != nil && !fresh && time.Since(set.loaded) < authorityMaxAge {
		return set, nil
	}
	var next *authoritySet
	begun := time.Now()
	err := db.Read(ctx, func(tx state.Tx) error {
		next = &authoritySet{verified: x509.NewCertPool(), unverified: x509.NewCertPool(), loaded: begun}
		rows, err := tx.Query(ctx, "SELECT "+authorityColumns+" FROM authority ORDER BY name")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			a, err := scanAuthority(rows)
			if err != nil {
				return err
			}
			next.list = append(next.list, a)
			if a.Verified {
				next.verified.AddCert(a.Certificate)
			} else {
				next.unverified.AddCert(a.Certificate)
			}
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	if c.epoch == epoch {
		c.set = next
	}
	c.mu.Unlock()
	return next, nil
}
