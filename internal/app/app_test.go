package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dunlin/internal/api/admin"
	"dunlin/internal/engine/state/statetest"
)

func TestMain(m *testing.M) {
	code := statetest.Main(m) // which starts PostgreSQL when a test needs it
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, "goroutines are left:", err)
		code = 1
	}
	os.Exit(code)
}

// local is a configuration with free ports of loopback.
func local(t *testing.T) Config {
	t.Helper()
	c := Default()
	c.Data = t.TempDir()
	c.MQTTAddr, c.HTTPSAddr, c.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	return c
}

// running starts an instance; stop ends it and checks that it ended well.
func running(t *testing.T, c Config) (a *App, stop func()) {
	t.Helper()
	a, err := New(t.Context(), c, Build{Version: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the end: %v", err)
		}
	}
	t.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); a.Ready(t.Context()) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("not ready")
		}
		time.Sleep(time.Millisecond)
	}
	return a, stop
}

// get asks the instance as a client on this machine does.
func get(t *testing.T, i Instance, path string, header map[string]string) (int, []byte) {
	t.Helper()
	pem, err := os.ReadFile(i.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: i.HostName}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+i.HTTPS+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func TestInstanceTellsHowToReachIt(t *testing.T) {
	c := local(t)
	c.HostName, c.MQTTPlainAddr = "hub.example.test", "127.0.0.1:0"
	a, stop := running(t, c)
	i, err := ReadInstance(c.Data)
	if err != nil {
		t.Fatal(err)
	}
	status, b := get(t, i, "/api/info", map[string]string{"Authorization": "Bearer " + i.Token})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, b)
	}
	var info admin.Info
	if err := json.Unmarshal(b, &info); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(i.HTTPS)
	if err != nil {
		t.Fatal(err)
	}
	if info.HTTPS != "https://hub.example.test:"+port || info.Console != info.HTTPS+"/" ||
		!strings.HasPrefix(info.MQTT, "hub.example.test:") || !strings.HasPrefix(info.Plain, "hub.example.test:") ||
		info.CAFile != i.CAFile || info.Admin.Token != i.Token || info.Version != "test" || info.EventHub.Partitions != 4 {
		t.Errorf("%+v", info)
	}
	for _, policy := range []string{"iothubowner", "service", "device", "registryRead", "registryReadWrite"} {
		if cs := info.Hub.ConnectionStrings[policy]; !strings.HasPrefix(cs, "HostName=hub.example.test;SharedAccessKeyName="+policy+";SharedAccessKey=") {
			t.Errorf("%s: %q", policy, cs)
		}
	}
	if status, b := get(t, i, "/readyz", nil); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, b)
	}
	if status, _ := get(t, i, "/devices/none?api-version=2021-04-12", nil); status != http.StatusUnauthorized {
		t.Errorf("REST without a token: %d", status)
	}
	resp, err := http.Get("http://" + dialAddr(a.metricsOn.Addr()) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"dunlin_front_connections{", "dunlin_http_requests_total{", "dunlin_log_commit_records_bucket{",
		"dunlin_ingest_messages_total", "dunlin_devices_connected", "dunlin_connects_refused_total", "go_goroutines", "process_resident_memory_bytes",
		`dunlin_build_info{version="test"} 1`,
	} {
		if name != "dunlin_connects_refused_total" && !bytes.Contains(metrics, []byte(name)) {
			t.Errorf("no metric %s", name)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stop()
	if _, err := ReadInstance(c.Data); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
	if a.Ready(t.Context()) == nil {
		t.Error("ready after the end")
	}
}

// What was made at the first start stays, and a new host name changes only
// what must.
func TestSecondStart(t *testing.T) {
	c := local(t)
	a, stop := running(t, c)
	first, err := a.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(first.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	c.HostName = "other.example.test"
	a, stop = running(t, c)
	second, err := a.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(second.CAFile); err != nil || !bytes.Equal(again, ca) {
		t.Errorf("another CA: %v", err)
	}
	key := func(i admin.Info) string {
		return i.Hub.ConnectionStrings["service"][strings.Index(i.Hub.ConnectionStrings["service"], ";"):]
	}
	if first.Admin.Token != second.Admin.Token || key(first) != key(second) {
		t.Error("other secrets")
	}
	if status, _ := get(t, a.Instance(), "/healthz", nil); status != http.StatusOK {
		t.Errorf("under the new name: %d", status)
	}
	stop()
}

// A start that fails gives back what it took: goleak and the second start show it.
func TestFailedStartLeavesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := local(t)
	for setting, set := range map[string]func(c *Config){
		"mqtt-addr":       func(c *Config) { c.MQTTAddr = taken.Addr().String() },
		"mqtt-plain-addr": func(c *Config) { c.MQTTPlainAddr = taken.Addr().String() },
		"https-addr":      func(c *Config) { c.HTTPSAddr = taken.Addr().String() },
		"tls-cert":        func(c *Config) { c.TLSCert, c.TLSKey = "/no/tls-cert.pem", "/no/key.pem" },
		"database":        func(c *Config) { c.Database = "env:NO_SUCH_VARIABLE" },
	} {
		bad := c
		set(&bad)
		_, err := New(t.Context(), bad, Build{}, slog.New(slog.DiscardHandler))
		wantError(t, err, setting)
	}
	a, stop := running(t, c)
	if a.mqtt == nil {
		t.Error("no MQTT")
	}
	stop()
}

// The same instance over PostgreSQL, whose address stands in a file.
func TestStateInPostgreSQL(t *testing.T) {
	c := local(t)
	path := filepath.Join(t.TempDir(), "database")
	if err := os.WriteFile(path, []byte(statetest.PostgresURL(t)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Database = "file:" + path
	a, stop := running(t, c)
	first, err := a.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := os.Stat(filepath.Join(c.Data, "state", "main.db")); err == nil {
		t.Error("SQLite was used")
	}
	a, stop = running(t, c)
	defer stop()
	second, err := a.Info(t.Context())
	if err != nil || first.Hub.ConnectionStrings["iothubowner"] != second.Hub.ConnectionStrings["iothubowner"] {
		t.Errorf("other keys: %v", err)
	}
}

// Roles: a process without the gateway has no device ports and no WebSocket.
func TestRoleAPIAlone(t *testing.T) {
	c := local(t)
	c.Roles = []string{roleAPI}
	a, stop := running(t, c)
	defer stop()
	i := a.Instance()
	if i.MQTT != "" {
		t.Errorf("MQTT on %s", i.MQTT)
	}
	status, b := get(t, i, "/$iothub/websocket", map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Protocol": "mqtt"})
	if status != http.StatusNotFound || !strings.Contains(string(b), "gateway") {
		t.Errorf("WebSocket: %d %s", status, b)
	}
}

func BenchmarkStart(b *testing.B) {
	c := Default()
	c.MQTTAddr, c.HTTPSAddr, c.MetricsAddr = "127.0.0.1:0", "127.0.0.1:0", "off"
	for b.Loop() {
		c.Data = b.TempDir()
		a, err := New(b.Context(), c, Build{}, slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if err := a.Run(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
