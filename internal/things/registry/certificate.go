package registry

import (
	"context"
	"crypto/sha1" //nolint:gosec // one of the two documented thumbprints
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
)

func itoa(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }

func (r *Registry) byCertificate(ctx context.Context, c *Claim, now time.Time) (Identity, error) {
	have, err := r.credentials(ctx, c.ID)
	if err != nil {
		return Identity{}, r.unknown(err, c.ID, iot.UnauthorizedAccess)
	}
	leaf := c.Certificates[0]
	id := Identity{ID: c.ID, Generation: uint64(have.generation), Expiry: leaf.NotAfter}
	if c.ID.IsModule() {
		id.Auth.Scope = iot.ScopeModule
	}
	switch have.secrets.Proof {
	case ProofThumbprint:
		id.Auth.Type = iot.AuthX509
		err = checkThumbprint(c.ID, &have.secrets, leaf)
	case ProofAuthority:
		id.Auth.Type = iot.AuthX509Authority
		err = r.checkChain(ctx, c, now)
	case ProofSAS, ProofNone:
		return Identity{}, refuse(ReasonWrongProof, iot.UnauthorizedAccess,
			"%s is registered with authentication type %s but the connection shows a certificate and no token: change the type to selfSigned or certificateAuthority, or connect with a key",
			c.ID, have.secrets.Proof)
	}
	if err != nil {
		return Identity{}, err
	}
	if err := checkDates(leaf, now); err != nil {
		return Identity{}, err
	}
	if have.status == Disabled {
		return Identity{}, errDisabled(c.ID)
	}
	return id, nil
}

func checkDates(cert *x509.Certificate, now time.Time) error {
	clock := now.UTC().Format(time.RFC3339)
	switch {
	case now.After(cert.NotAfter):
		return refuse(ReasonCertExpired, iot.UnauthorizedAccess, "the certificate '%s' expired at %s, the server's clock says %s",
			cert.Subject, cert.NotAfter.UTC().Format(time.RFC3339), clock)
	case now.Before(cert.NotBefore):
		return refuse(ReasonCertEarly, iot.UnauthorizedAccess, "the certificate '%s' is not valid before %s, the server's clock says %s",
			cert.Subject, cert.NotBefore.UTC().Format(time.RFC3339), clock)
	}
	return nil
}

func checkThumbprint(id iot.ID, have *Secrets, leaf *x509.Certificate) error {
	sum1 := sha1.Sum(leaf.Raw) //nolint:gosec // see above
	sum256 := sha256.Sum256(leaf.Raw)
	short, long := hex.EncodeToString(sum1[:]), hex.EncodeToString(sum256[:])
	for _, t := range [...]string{have.PrimaryThumbprint, have.SecondaryThumbprint} {
		if sameThumbprint(t, short) || sameThumbprint(t, long) {
			return nil
		}
	}
	return refuse(ReasonThumbprint, iot.UnauthorizedAccess,
		"the certificate '%s' has the thumbprint %s (SHA-256 %s), which is neither of the two registered for %s", leaf.Subject, short, long, id)
}

// checkChain looks for a way from the leaf to a registered authority through
// the certificates that the peer sent along, then compares the name.
func (r *Registry) checkChain(ctx context.Context, c *Claim, now time.Time) error {
	leaf := c.Certificates[0]
	set, err := r.authorities.load(ctx, r.db, false)
	if err != nil {
		return r.unknown(err, c.ID, iot.UnauthorizedAccess)
	}
	between := x509.NewCertPool()
	for _, cert := range c.Certificates[1:] {
		between.AddCert(cert)
	}
	options := x509.VerifyOptions{
		Roots: set.verified, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // certificates of devices often name none
	}
	if _, err := leaf.Verify(options); err != nil {
		return r.chainError(err, leaf, options, set)
	}
	if leaf.Subject.CommonName != c.ID.String() {
		return refuse(ReasonCommonName, iot.UnauthorizedAccess, "the common name of the certificate is '%.140s' but the connection says %s: they must be equal",
			leaf.Subject.CommonName, c.ID)
	}
	return nil
}

func (r *Registry) chainError(err error, leaf *x509.Certificate, options x509.VerifyOptions, set *authoritySet) error {
	if refused := checkDates(leaf, options.CurrentTime); refused != nil {
		return refused
	}
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		if refused := checkDates(invalid.Cert, options.CurrentTime); refused != nil {
			return refused
		}
	case errors.As(err, &unknown):
		options.Roots = set.unverified
		if _, err := leaf.Verify(options); err == nil {
			return refuse(ReasonCANotVerified, iot.UnauthorizedAccess,
				"the certificate '%s' is signed by a registered CA whose owner has not proven possession of its key: verify it first, then the device can connect", leaf.Subject)
		}
		return refuse(ReasonUnknownCA, iot.UnauthorizedAccess,
			"the chain of the certificate '%s' (issuer '%s') does not end at a registered CA: register the CA (%s), and let the device send its intermediate certificates",
			leaf.Subject, leaf.Issuer, names(set.list))
	}
	return refuse(ReasonCertBroken, iot.UnauthorizedAccess, "the certificate '%s' is not acceptable: %v", leaf.Subject, err)
}

// names lists the authorities there are, for the text of an error.
func names(list []Authority) string {
	if len(list) == 0 {
		return "none is registered"
	}
	var b strings.Builder
	b.WriteString("registered: ")
	for i := range list {
		if i == 5 {
			b.WriteString(", ...")
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(list[i].Name)
	}
	return b.String()
}
