package pki

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T, cfg Config) *Authority {
	t.Helper()
	a, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// handshake connects a client to a's configuration and gives the server's view.
func handshake(t *testing.T, a *Authority, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	cn, sn := net.Pipe()
	defer cn.Close()
	defer sn.Close()
	srv := tls.Server(sn, a.TLS())
	done := make(chan error, 1)
	go func() { done <- srv.HandshakeContext(context.Background()) }()
	c := tls.Client(cn, client)
	cerr := c.HandshakeContext(t.Context())
	if cerr != nil {
		cn.Close()
		<-done
		return tls.ConnectionState{}, cerr
	}
	go c.Read(make([]byte, 1)) // takes the session ticket
	if err := <-done; err != nil {
		return tls.ConnectionState{}, err
	}
	return srv.ConnectionState(), nil
}

func roots(t *testing.T, a *Authority) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(read(t, a.CAFile())) {
		t.Fatal("no certificate in the CA file")
	}
	return pool
}

func TestFirstStartServesEveryName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	a := open(t, Config{Dir: dir, HostName: "hub.example.test", Aliases: []string{"10.0.0.7"}})
	pool := roots(t, a)
	for _, name := range []string{"hub.example.test", "localhost", "127.0.0.1", "::1", "10.0.0.7"} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if _, err := handshake(t, a, &tls.Config{RootCAs: pool, ServerName: name, MinVersion: v, MaxVersion: v}); err != nil {
				t.Errorf("%s with %s: %v", name, tls.VersionName(v), err)
			}
		}
	}
	if _, err := handshake(t, a, &tls.Config{RootCAs: pool, ServerName: "other.test"}); err == nil {
		t.Error("a foreign name was accepted")
	}
	if _, err := handshake(t, a, &tls.Config{RootCAs: pool, ServerName: "localhost", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	for _, key := range []string{caKeyFile, serverKeyFile} {
		st, err := os.Stat(filepath.Join(dir, key))
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", key, st.Mode())
		}
	}
}

func TestRestartKeepsCertificates(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, HostName: "localhost"})
	ca, leaf := read(t, filepath.Join(dir, caCertFile)), a.cert.Load().Leaf
	b := open(t, Config{Dir: dir, HostName: "localhost"})
	if !bytes.Equal(ca, read(t, filepath.Join(dir, caCertFile))) || !b.cert.Load().Leaf.Equal(leaf) {
		t.Error("a restart made new certificates")
	}
}

func TestNewHostNameKeepsCA(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, HostName: "localhost"})
	pool := roots(t, a)
	b := open(t, Config{Dir: dir, HostName: "hub.example.test"})
	if _, err := handshake(t, b, &tls.Config{RootCAs: pool, ServerName: "hub.example.test"}); err != nil {
		t.Error(err)
	}
}

func TestRenewNearTheEnd(t *testing.T) {
	dir := t.TempDir()
	a := open(t, Config{Dir: dir, HostName: "localhost"})
	pool, old := roots(t, a), a.cert.Load().Leaf
	if changed, err := a.Renew(old.NotAfter.Add(-renewBefore - time.Hour)); err != nil || changed {
		t.Fatalf("renewed too early: %v, %v", changed, err)
	}
	at := old.NotAfter.Add(-renewBefore + time.Hour)
	if changed, err := a.Renew(at); err != nil || !changed {
		t.Fatalf("not renewed: %v, %v", changed, err)
	}
	if !a.NotAfter().After(old.NotAfter) {
		t.Error("the new certificate does not last longer")
	}
	// The same configuration shows the new certificate under the same CA.
	if _, err := handshake(t, a, &tls.Config{RootCAs: pool, ServerName: "localhost", Time: func() time.Time { return at }}); err != nil {
		t.Error(err)
	}
}

func TestDamage(t *testing.T) {
	t.Run("server certificate is made again", func(t *testing.T) {
		dir := t.TempDir()
		open(t, Config{Dir: dir, HostName: "localhost"})
		if err := os.WriteFile(filepath.Join(dir, serverCertFile), []byte("junk"), 0o644); err != nil {
			t.Fatal(err)
		}
		a := open(t, Config{Dir: dir, HostName: "localhost"})
		if _, err := handshake(t, a, &tls.Config{RootCAs: roots(t, a), ServerName: "localhost"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("authority is refused with file and remedy", func(t *testing.T) {
		dir := t.TempDir()
		open(t, Config{Dir: dir, HostName: "localhost"})
		path := filepath.Join(dir, caCertFile)
		if err := os.WriteFile(path, []byte("junk"), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Config{Dir: dir, HostName: "localhost"})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove") {
			t.Errorf("got %v", err)
		}
		if string(read(t, path)) != "junk" {
			t.Error("the damaged authority was replaced")
		}
	})
}

func TestOwnFiles(t *testing.T) {
	dir := t.TempDir()
	made := open(t, Config{Dir: dir, HostName: "own.test"})
	cfg := Config{
		HostName: "own.test", CertFile: filepath.Join(dir, serverCertFile),
		KeyFile: filepath.Join(dir, serverKeyFile), CAFile: filepath.Join(dir, caCertFile),
	}
	a := open(t, cfg)
	if a.CAFile() != cfg.CAFile || !a.cert.Load().Leaf.Equal(made.cert.Load().Leaf) {
		t.Error("the operator's files are not in use")
	}
	cfg.KeyFile = ""
	if _, err := Open(cfg); err == nil {
		t.Error("a certificate without a key was accepted")
	}
	cfg.KeyFile = filepath.Join(dir, caKeyFile)
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), cfg.KeyFile) {
		t.Errorf("a foreign key: %v", err)
	}
}

// A certificate that has ended must reach the device's protocol.
func TestExpiredClientCertificatePassesHandshake(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dev1"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	if err != nil {
		t.Fatal(err)
	}
	a := open(t, Config{Dir: t.TempDir(), HostName: "localhost"})
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var asked []([]byte)
		st, err := handshake(t, a, &tls.Config{
			RootCAs: roots(t, a), ServerName: "localhost", MinVersion: v, MaxVersion: v,
			GetClientCertificate: func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked = r.AcceptableCAs
				return &pair, nil
			},
		})
		if err != nil {
			t.Fatalf("%s: %v", tls.VersionName(v), err)
		}
		if len(st.PeerCertificates) != 1 || st.PeerCertificates[0].Subject.CommonName != "dev1" {
			t.Errorf("%s: certificate did not arrive", tls.VersionName(v))
		}
		if len(asked) != 0 {
			t.Errorf("%s: the list of authorities is restricted", tls.VersionName(v))
		}
	}
}
