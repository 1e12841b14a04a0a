package apptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"dunlin/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestScripts runs the command lines of testdata/script. A script starts its
// instance with: exec dunlin serve $SERVE &server&
func TestScripts(t *testing.T) {
	bin := harness.Binary(t)
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(e *testscript.Env) error {
			// The scripts say dunlin, whatever the binary is called.
			dir := filepath.Join(e.WorkDir, ".bin")
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			if err := os.Symlink(bin, filepath.Join(dir, "dunlin")); err != nil {
				return err
			}
			e.Setenv("PATH", dir+string(os.PathListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"makeca": makeCA,
			"lines":  lines,
			"until":  until,
		},
	})
}

// makeCA NAME writes NAME.pem and NAME.key, a device CA.
func makeCA(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: makeca NAME")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	t := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: args[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	ts.Check(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	write := func(name, kind string, b []byte) {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600))
	}
	write(args[0]+".pem", "CERTIFICATE", der)
	write(args[0]+".key", "PRIVATE KEY", keyDER)
}

// lines N FILE checks that a file (or stdout) has N lines.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	want, got := args[0], strings.Count(ts.ReadFile(args[1]), "\n")
	if want != itoa(got) {
		ts.Fatalf("%s has %d lines, want %s", args[1], got, want)
	}
}

// until TEXT COMMAND... runs a command again until its output holds a text,
// or with ! until it does not.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: until TEXT COMMAND [ARGUMENT...]")
	}
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) != neg {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("the output still is %s", ts.ReadFile("stdout"))
		}
	}
}
