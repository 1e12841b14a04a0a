package pki

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The names of the files in Config.Dir.
const (
	caCertFile     = "ca.pem"
	caKeyFile      = "ca.key"
	serverCertFile = "server.pem"
	serverKeyFile  = "server.key"
)

const (
	caLife      = 20 * 365 * 24 * time.Hour
	serverLife  = 397 * 24 * time.Hour // the longest that all common clients accept
	renewBefore = 30 * 24 * time.Hour
)

// Config says where certificates are and which names they carry.
type Config struct {
	// Dir holds the local authority and the server certificate it signed. It
	// is made when missing. Not used when CertFile is set.
	Dir string
	// HostName is the name that clients use, Aliases are further ones; names
	// and addresses alike. The server certificate also names localhost,
	// 127.0.0.1 and ::1.
	HostName string
	Aliases  []string
	// CertFile and KeyFile are a certificate chain and its key (PEM) to use
	// instead of the local authority. CAFile, optional, names the authority
	// that clients are told to trust.
	CertFile string
	KeyFile  string
	CAFile   string
}

// Authority holds the server certificate in use and renews it. Its methods
// may be called by any goroutine.
type Authority struct {
	cfg  Config
	mu   sync.Mutex // one renewal at a time
	cert atomic.Pointer[tls.Certificate]
	tls  *tls.Config
}

// Open reads the certificates, making or renewing those that are missing, near
// their end, or made for other names. The local authority is kept whatever
// happens to the server certificate, so that clients need not be told again.
func Open(cfg Config) (*Authority, error) {
	a := &Authority{cfg: cfg}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, fmt.Errorf("pki: a certificate file and its key file belong together: set both or none")
	}
	if _, err := a.Renew(time.Now()); err != nil {
		return nil, err
	}
	a.tls = &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Every client is asked for a certificate and none has to show one.
		// Nothing is checked in the handshake: a self-signed or expired
		// certificate gets an answer in the device's protocol instead of a
		// broken socket. No list of authorities is sent, because clients that
		// see one hold back certificates of any other issuer.
		ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.cert.Load(), nil
		},
	}
	return a, nil
}

// TLS gives the one configuration that all listeners share. It must not be
// changed.
func (a *Authority) TLS() *tls.Config { return a.tls }

// CAFile names the file with the authority that clients must trust, empty when
// the operator's certificate comes without one.
func (a *Authority) CAFile() string {
	if a.cfg.CertFile != "" {
		return a.cfg.CAFile
	}
	return filepath.Join(a.cfg.Dir, caCertFile)
}

// NotAfter is when the server certificate in use ends.
func (a *Authority) NotAfter() time.Time { return a.cert.Load().Leaf.NotAfter }

// Renew replaces the server certificate when it is needed at time now and
// reports whether it did. With the operator's files it reads them again, so
// that a certificate replaced on disk is taken up. Connections that are open
// keep what they have. After an error the certificate in use stays.
func (a *Authority) Renew(now time.Time) (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cfg.CertFile != "" {
		return a.reload()
	}
	if err := os.MkdirAll(a.cfg.Dir, 0o700); err != nil {
		return false, fmt.Errorf("pki: make the certificate directory: %w", err)
	}
	ca, err := openCA(a.cfg.Dir, now)
	if err != nil {
		return false, err
	}
	cert, err := readPair(a.path(serverCertFile), a.path(serverKeyFile))
	if err == nil && a.serves(cert.Leaf, ca.cert, now) {
		if old := a.cert.Load(); old != nil && old.Leaf.Equal(cert.Leaf) {
			return false, nil
		}
		a.cert.Store(cert)
		return false, nil
	}
	// Whatever was wrong with the old one, a new one is the cure.
	cert, err = ca.issue(now, a.names(), a.path(serverCertFile), a.path(serverKeyFile))
	if err != nil {
		return false, err
	}
	a.cert.Store(cert)
	return true, nil
}

func (a *Authority) path(name string) string { return filepath.Join(a.cfg.Dir, name) }

func (a *Authority) reload() (bool, error) {
	cert, err := readPair(a.cfg.CertFile, a.cfg.KeyFile)
	if err != nil {
		return false, fmt.Errorf("pki: own server certificate: %w", err)
	}
	old := a.cert.Load()
	if old != nil && old.Leaf.Equal(cert.Leaf) {
		return false, nil
	}
	a.cert.Store(cert)
	return old != nil, nil
}

// names lists what the server certificate must say, without repetition.
func (a *Authority) names() []string {
	var names []string
	for _, n := range slices.Concat([]string{a.cfg.HostName}, a.cfg.Aliases, []string{"localhost", "127.0.0.1", "::1"}) {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// serves reports whether leaf can go on being used.
func (a *Authority) serves(leaf, ca *x509.Certificate, now time.Time) bool {
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter.Add(-renewBefore)) || leaf.CheckSignatureFrom(ca) != nil {
		return false
	}
	for _, n := range a.names() {
		if leaf.VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}
