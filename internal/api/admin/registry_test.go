package admin_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/api/admin"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/command"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
)

type nobody struct{}

func (nobody) State(iot.ID) (connected bool, since, last time.Time, known bool) { return }
func (nobody) Kick(iot.ID, error)                                               {}
func (nobody) Forget(iot.ID)                                                    {}
func (nobody) Connected() int                                                   { return 0 }

// registrySite gives the address of a surface with a registry behind it.
func registrySite(t *testing.T) (string, *registry.Registry) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	policies, err := access.Open(t.Context(), db, access.NewHosts("hub.example"))
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(t.Context(), registry.Deps{DB: db, Policies: policies, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := command.Open(t.Context(), command.Deps{
		DB: db, Deliver: func(iot.ID, *iot.Inbound) bool { return false }, Connected: func(iot.ID) bool { return false },
		Limits: command.StrictLimits(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = commands.Close() })
	server := httptest.NewServer(admin.New(admin.Deps{
		Token: "secret", Hub: hub.NewServices(hub.ServiceDeps{Registry: reg, Policies: policies, Presence: nobody{}, Commands: commands}), Logger: slog.New(slog.DiscardHandler),
	}))
	t.Cleanup(server.Close)
	return server.URL, reg
}

// call makes a call as the administrator.
func call(t *testing.T, method, url string, body io.Reader) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestCertificates(t *testing.T) {
	url, _ := registrySite(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	var c admin.Certificate
	want := func(what string, status int, answer string, code int, word string) {
		t.Helper()
		if status != code || !strings.Contains(answer, word) {
			t.Errorf("%s: %d %s, want %d with %q", what, status, answer, code, word)
		}
		if status == http.StatusOK && strings.HasPrefix(answer, "{") {
			c = admin.Certificate{}
			if err := json.Unmarshal([]byte(answer), &c); err != nil {
				t.Error(err)
			}
		}
	}
	s, a := call(t, "GET", url+"/api/certificates", nil)
	want("empty list", s, a, 200, "[]")
	s, a = call(t, "PUT", url+"/api/certificates/ca", strings.NewReader("nonsense"))
	want("nonsense", s, a, 400, "X.509")
	s, a = call(t, "PUT", url+"/api/certificates/ca", nil)
	want("empty", s, a, 400, "empty")
	s, a = call(t, "PUT", url+"/api/certificates/ca", strings.NewReader(strings.Repeat("x", 100_000)))
	want("large", s, a, 413, "larger")
	s, a = call(t, "PUT", url+"/api/certificates/ca", strings.NewReader(text))
	want("PEM", s, a, 200, `"isVerified":false`)
	s, a = call(t, "PUT", url+"/api/certificates/ca", strings.NewReader(text))
	want("again", s, a, 409, "already")
	b, err := json.Marshal(map[string]string{"certificate": text})
	if err != nil {
		t.Fatal(err)
	}
	s, a = call(t, "PUT", url+"/api/certificates/ca2", strings.NewReader(string(b)))
	want("JSON", s, a, 200, "CN=CA")
	s, a = call(t, "POST", url+"/api/certificates/ca/code", nil)
	want("code", s, a, 200, "verificationCode")
	proof, err := registry.SignProof(ca, key, c.VerificationCode, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, a = call(t, "POST", url+"/api/certificates/ca2/verify", strings.NewReader(string(proof)))
	want("no code was asked for", s, a, 400, "code")
	s, a = call(t, "POST", url+"/api/certificates/ca/verify", strings.NewReader(string(proof)))
	want("verify", s, a, 200, `"isVerified":true`)
	s, a = call(t, "GET", url+"/api/certificates/ca", nil)
	want("read", s, a, 200, "BEGIN CERTIFICATE")
	s, a = call(t, "DELETE", url+"/api/certificates/ca", nil)
	want("delete", s, a, 204, "")
	s, a = call(t, "GET", url+"/api/certificates/ca", nil)
	want("read what is gone", s, a, 404, "ca")
}

func TestImportDevices(t *testing.T) {
	url, reg := registrySite(t)
	if _, _, err := reg.PutDevice(t.Context(), registry.DeviceSpec{ID: "dev-7"}, registry.Match{}, time.Now()); err != nil {
		t.Fatal(err)
	}
	type line struct {
		ID, Key         string
		Error           *struct{ Code, Message string }
		Created, Failed int
	}
	lines := func(answer string) (out []line) {
		t.Helper()
		in := bufio.NewScanner(strings.NewReader(answer))
		for in.Scan() {
			var l line
			if err := json.Unmarshal(in.Bytes(), &l); err != nil {
				t.Fatalf("%v: %s", err, in.Text())
			}
			out = append(out, l)
		}
		return out
	}
	s, a := call(t, "POST", url+"/api/devices/import?count=1203&prefix=dev-&first=5", nil)
	got := lines(a)
	if s != 200 || len(got) != 1204 || got[1203].Created != 1202 || got[1203].Failed != 1 || got[0].ID != "dev-5" || got[2].Error == nil || got[2].Error.Code != "DeviceAlreadyExists" {
		t.Fatalf("%d, %d lines, last %+v", s, len(got), got[len(got)-1])
	}
	for _, l := range []line{got[0], got[700], got[1202]} {
		d, err := reg.Device(t.Context(), l.ID)
		if err != nil || base64.StdEncoding.EncodeToString(d.PrimaryKey) != l.Key {
			t.Errorf("%s: %v, key %s", l.ID, err, l.Key)
		}
	}
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	s, a = call(t, "POST", url+"/api/devices/import", strings.NewReader(`{"id":"x1"}`+"\n\n"+`{"id":"x2","primaryKey":"`+key+`"}`+"\n"+`{"id":"bad id"}`))
	got = lines(a)
	if s != 200 || len(got) != 4 || got[1].Key != key || got[2].Error == nil || got[3].Created != 2 || got[3].Failed != 1 {
		t.Errorf("%d %s", s, a)
	}
	// An error ends the import; what was made before is there and said so.
	var body strings.Builder
	for i := range 600 {
		fmt.Fprintf(&body, "{\"id\":\"y%d\"}\n", i)
	}
	_, a = call(t, "POST", url+"/api/devices/import", strings.NewReader(body.String()+"nonsense\n"))
	got = lines(a)
	last := got[len(got)-1]
	if last.Created != 600 || last.Error == nil || !strings.Contains(last.Error.Message, "line 601") {
		t.Errorf("last line %+v", last)
	}
	for _, q := range []string{"count=0", "count=x", "count=5&first=-1", "count=5&prefix=a%20b", "count=99999999999"} {
		if s, a := call(t, "POST", url+"/api/devices/import?"+q, nil); s != 400 {
			t.Errorf("%s: %d %s", q, s, a)
		}
	}
}
