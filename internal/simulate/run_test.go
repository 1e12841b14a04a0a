package simulate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/internal/wire/sas"
)

var testKey = bytes.Repeat([]byte{7}, 32)

func policyString() string {
	return "HostName=hub.test;SharedAccessKeyName=device;SharedAccessKey=" + base64.StdEncoding.EncodeToString(testKey)
}

// numbers gives the seq of the messages of one device, in order of arrival.
func numbers(t *testing.T, msgs []published, device string) []int {
	t.Helper()
	var out []int
	for _, m := range msgs {
		if !strings.HasPrefix(m.topic, "devices/"+device+"/messages/events/") {
			continue
		}
		var body struct{ Seq int }
		if err := json.Unmarshal([]byte(m.body), &body); err != nil {
			t.Fatalf("%q: %v", m.body, err)
		}
		out = append(out, body.Seq)
	}
	return out
}

// checkOrder demands 1..n, where after a loss the sequence may fall back, but
// never skips forward.
func checkOrder(t *testing.T, device string, got []int, n int) {
	t.Helper()
	high := 0
	for i, v := range got {
		if v > high+1 {
			t.Fatalf("%s: message %d came at place %d, before %d", device, v, i, high+1)
		}
		high = max(high, v)
	}
	if high != n {
		t.Fatalf("%s: the last message is %d, want %d", device, high, n)
	}
}

func TestRunSendsEverythingOnce(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	var progress bytes.Buffer
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true,
		Devices: 5, Fleet: "counter", Flat: true, Count: 200, QoS: 1, Progress: &progress,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Devices != 5 || s.Sent != 1000 || s.Acked != 1000 || s.Resent != 0 || s.Reconnects != 0 || s.Failed != 0 {
		t.Errorf("summary %+v", s)
	}
	if s.AckP50MS <= 0 || s.AckP99MS < s.AckP50MS || s.AckMaxMS < s.AckP99MS {
		t.Errorf("latencies %v %v %v", s.AckP50MS, s.AckP99MS, s.AckMaxMS)
	}
	msgs := a.messages()
	if len(msgs) != 1000 {
		t.Errorf("%d messages arrived", len(msgs))
	}
	for i := range 5 {
		id := fmt.Sprintf("sim-%d", i)
		checkOrder(t, id, numbers(t, msgs, id), 200)
	}
	if want := "devices/sim-0/messages/events/%24.ce=utf-8&%24.ct=application%2Fjson"; !strings.HasPrefix(msgs[0].topic[:9], "devices/s") || !strings.HasSuffix(msgs[0].topic, want[len("devices/sim-0"):]) {
		t.Errorf("topic %s", msgs[0].topic)
	}
	for _, c := range a.connects {
		id := string(c.ClientID)
		if c.CleanStart || c.KeepAlive != 180 || !strings.HasPrefix(string(c.UserName), "hub.test/"+id+"/?api-version=") {
			t.Errorf("CONNECT %s: user %s, clean %v, keep alive %d", id, c.UserName, c.CleanStart, c.KeepAlive)
		}
		token, err := sas.Parse(string(c.Password))
		if err != nil || !token.Verify(testKey) {
			t.Errorf("token of %s does not verify: %v", id, err)
		}
	}
	var table bytes.Buffer
	if err := s.WriteTable(&table); err != nil || !strings.Contains(table.String(), "Acknowledged") {
		t.Errorf("table %q, %v", table.String(), err)
	}
}

func TestRunResendsInOrderAfterTheServerDied(t *testing.T) {
	a := newAcceptor(t)
	next := 150
	a.die = func(n int) bool {
		if n < next {
			return false
		}
		next += 400
		return next < 2000
	}
	a.up()
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true,
		Devices: 1, Fleet: "counter", Flat: true, Count: 1500, QoS: 1, InFlight: 32,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Sent != 1500 || s.Acked != 1500 || s.Reconnects < 3 || s.Resent < 3 {
		t.Errorf("summary %+v", s)
	}
	msgs := a.messages()
	checkOrder(t, "sim-0", numbers(t, msgs, "sim-0"), 1500)
	seen := map[string]bool{}
	for _, m := range msgs {
		if m.dup && !strings.Contains(m.body, `"seq"`) {
			t.Errorf("repetition changed: %q", m.body)
		}
		seen[m.body] = true
	}
	// A repetition is the same message, time included.
	if len(seen) != 1500 {
		t.Errorf("%d different bodies, want 1500", len(seen))
	}
}

func TestRunReplaysTheRecordingOverTLS(t *testing.T) {
	a := newAcceptor(t)
	var ca string
	a.conf, ca = testCertificate(t)
	a.die = func(n int) bool { return n == 9000 }
	a.up()
	key := base64.StdEncoding.EncodeToString(testKey)
	s, err := Run(t.Context(), Config{
		ConnectionString: "HostName=localhost;DeviceId=m1;SharedAccessKey=" + key, Server: a.addr, CAFile: ca,
		Replay: sample, TimeColumn: "timestamp", ValueColumns: []string{"value"}, Speedup: 1e12, QoS: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Acked != 22695 || s.Sent != 22695 || s.Devices != 1 {
		t.Errorf("summary %+v", s)
	}
	high := 0
	for _, m := range a.messages() {
		_, bag, ok := strings.Cut(m.topic, "devices/m1/messages/events/%24.ce=utf-8&%24.ct=application%2Fjson&%24.mid=")
		if !ok {
			t.Fatalf("topic %s", m.topic)
		}
		var row int
		if _, err := fmt.Sscan(bag, &row); err != nil || row > high+1 {
			t.Fatalf("row %q after %d: %v", bag, high, err)
		}
		high = max(high, row)
	}
	if high != 22695 {
		t.Errorf("last row %d", high)
	}
	if body := a.messages()[0].body; body != `{"timestamp":"2013-12-02 21:15:00","value":73.96732207}` {
		t.Errorf("first body %s", body)
	}
}

func TestRunQoS0WaitsUntilTheServerHasRead(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true,
		Devices: 3, Template: `{"seq":{{seq}}}`, Flat: true, Count: 500, QoS: 0,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Sent != 1500 || s.Acked != 0 {
		t.Errorf("summary %+v", s)
	}
	if n := len(a.messages()); n != 1500 {
		t.Errorf("%d messages arrived, want 1500", n)
	}
}

func TestRunRenewsTokens(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true,
		Fleet: "counter", Rate: 200, Count: 300, QoS: 1, TokenTTL: 600 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Renewals < 2 || s.Reconnects != 0 || s.Acked != 300 || s.Resent != 0 {
		t.Errorf("summary %+v", s)
	}
	checkOrder(t, "sim-0", numbers(t, a.messages(), "sim-0"), 300)
}

func TestRunKeepsTheRate(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true,
		Devices: 10, Fleet: "counter", TotalRate: 500, QoS: 1, Duration: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	if s.Acked != s.Sent || s.Sent < 350 || s.Sent > 550 {
		t.Errorf("sent %d, acknowledged %d, want about 500", s.Sent, s.Acked)
	}
}

func TestRunStopsWhenTheHubRefuses(t *testing.T) {
	a := newAcceptor(t)
	a.refuse = 5
	a.up()
	s, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true, Devices: 2, QoS: 1,
	})
	if err == nil || !strings.Contains(err.Error(), "refused the credentials") || s.Failed != 2 {
		t.Errorf("%v, summary %+v", err, s)
	}
}

func TestRunTellsAnUntrustedCertificate(t *testing.T) {
	a := newAcceptor(t)
	a.conf, _ = testCertificate(t)
	_, other := testCertificate(t)
	a.up()
	_, err := Run(t.Context(), Config{
		ConnectionString: strings.Replace(policyString(), "hub.test", "localhost", 1), Server: a.addr, CAFile: other, QoS: 1,
	})
	if err == nil || !strings.Contains(err.Error(), "certificate is not trusted") {
		t.Errorf("error %v", err)
	}
}

func TestRunGivesUpOnAnAbsentServer(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	a.down()
	_, err := Run(t.Context(), Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true, QoS: 1, GiveUp: 300 * time.Millisecond,
	})
	if err == nil || !strings.Contains(err.Error(), "no connection for") {
		t.Errorf("error %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	a := newAcceptor(t)
	a.up()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	s, err := Run(ctx, Config{
		ConnectionString: policyString(), Server: a.addr, Plain: true, Devices: 20, Fleet: "thermostat", Rate: 50, QoS: 1,
	})
	if err != nil || s.Sent == 0 || s.Acked != s.Sent {
		t.Errorf("%v, summary %+v", err, s)
	}
}

func TestConfigRefusesContradictions(t *testing.T) {
	ok := Config{ConnectionString: policyString()}
	for name, change := range map[string]func(*Config){
		"no credentials":      func(c *Config) { c.ConnectionString = "" },
		"QoS 2":               func(c *Config) { c.QoS = 2 },
		"in flight":           func(c *Config) { c.InFlight = 70000 },
		"either a rate":       func(c *Config) { c.Rate, c.TotalRate = 1, 1 },
		"no fleet":            func(c *Config) { c.Fleet = "zeppelin" },
		"one of fleet":        func(c *Config) { c.Fleet, c.Template = "pump", "x" },
		"belong to a replay":  func(c *Config) { c.Speedup = 2 },
		"needs the time":      func(c *Config) { c.Replay, c.Speedup = sample, 2 },
		"keep alive must not": func(c *Config) { c.KeepAlive = -1 },
		"takes its payload":   func(c *Config) { c.Replay, c.Template = sample, "x" },
		"no such file":        func(c *Config) { c.TemplateFile = filepath.Join(t.TempDir(), "none") },
		"HostName is missing": func(c *Config) { c.ConnectionString = "DeviceId=d" },
		"not name=value":      func(c *Config) { c.ConnectionString = "HostName" },
		"SharedAccessKey:":    func(c *Config) { c.ConnectionString = "HostName=h;DeviceId=d;SharedAccessKey=???" },
		"hub policy": func(c *Config) {
			c.ConnectionString = strings.Replace(policyString(), "SharedAccessKeyName=device", "DeviceId=d", 1)
			c.Devices = 2
		},
		"{{walk 1}}": func(c *Config) { c.Template = "{{walk 1}}" },
		"properties": func(c *Config) { c.Properties = map[string]string{"a": "{{nope}}"} },
	} {
		c := ok
		change(&c)
		_, err := Run(t.Context(), c)
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestKeysFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	key := base64.StdEncoding.EncodeToString(testKey)
	for text, want := range map[string]string{
		"":                               "is empty",
		"a\n":                            `:1: want "id base64key"`,
		"# x\n\na !!!\n":                 ":3: device a",
		"a " + key + "\na " + key:        "listed twice",
		"a " + key + "\nb " + key + "\n": "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ids, keys, err := readKeys(file)
		switch {
		case want == "" && (err != nil || len(ids) != 2 || !bytes.Equal(keys["b"], testKey)):
			t.Errorf("%q: %v %v %v", text, ids, keys, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func testCertificate(t *testing.T) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}
