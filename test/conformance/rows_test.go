package conformance

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dunlin/internal/engine/state/statetest"
	"dunlin/test/harness"
)

func TestMain(m *testing.M) { harness.Main(withPostgres{m}) }

// withPostgres stops the PostgreSQL server that tests started.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return statetest.Main(w.m) }

// stores are what a hub can keep its state in.
var stores = []struct {
	name string
	args func(t *testing.T) []string
}{
	{"sqlite", func(*testing.T) []string { return nil }},
	{"postgres", func(t *testing.T) []string { return []string{"--database", statetest.PostgresURL(t)} }},
}

// row is a line of a script that checks rows of the compatibility table.
type row struct {
	Plan         []string `json:"plan"`
	Row          string   `json:"row"`
	Failed       string   `json:"failed"`
	Milliseconds int      `json:"milliseconds"`
	Error        string   `json:"error"`
	Message      string   `json:"message"`
}

// table runs a script once for each store and transport, and gives each of its
// rows a test of its own. The hubs have addresses that begin with net.
func table(t *testing.T, script, net string, transports ...string) {
	t.Helper()
	tableThen(t, script, net, nil, transports...)
}

// tableThen looks at the server, too, once the rows were checked.
func tableThen(t *testing.T, script, net string, then func(*testing.T, *harness.Server), transports ...string) {
	t.Helper()
	t.Parallel()
	for i, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s, n := hub(t, net+string(rune('1'+i)), store.args(t)...)
			for _, transport := range transports {
				t.Run(transport, func(t *testing.T) {
					n := n
					n.t = t
					host := s.Info.HostName
					if transport == "mqtt" {
						host = s.MQTTAddr()
					}
					checkTable(t, n, script, map[string]any{
						"service": s.Policy("iothubowner"), "host": host, "transport": transport, "prefix": "t",
						"readOnly": s.Policy("registryRead"), "wrongKey": wrongKey(s.Policy("iothubowner")),
					})
				})
			}
			if then != nil {
				then(t, s)
			}
			if err := s.Stop(); err != nil {
				t.Errorf("SIGTERM: %v", err)
			}
		})
	}
}

// wrongKey is a connection string with the key of somebody else.
func wrongKey(cs string) string {
	return strings.Replace(cs, harness.Field(cs, "SharedAccessKey"), "c29tZWJvZHkgZWxzZSdzIGtleSwgMzIgYnl0ZXMgbG9uZw==", 1)
}

func checkTable(t *testing.T, n node, script string, input map[string]any) {
	t.Helper()
	var plan []string
	done := map[string]row{}
	var last row
	err := n.lines(script, input, func(b []byte) error {
		last = row{}
		if err := json.Unmarshal(b, &last); err != nil {
			return err
		}
		switch {
		case last.Plan != nil:
			plan = last.Plan
		case last.Row != "":
			done[last.Row] = last
		}
		return nil
	})
	if err != nil || len(plan) == 0 {
		t.Errorf("%s: %v: %d rows planned, %d done, then %+v", script, err, len(plan), len(done), last)
	}
	for _, name := range plan {
		t.Run(name, func(t *testing.T) {
			r, ok := done[name]
			if !ok {
				t.Fatal("the script ended before this row")
			}
			if r.Failed != "" {
				t.Fatalf("after %d ms: %s", r.Milliseconds, r.Failed)
			}
		})
	}
	slowest := slices.SortedFunc(maps.Values(done), func(a, b row) int { return b.Milliseconds - a.Milliseconds })
	for _, r := range slowest[:min(3, len(slowest))] {
		t.Logf("%5d ms  %s", r.Milliseconds, r.Row)
	}
}

// TestNodeRegistry and those below hold a row of the compatibility table in each
// of their subtests.
func TestNodeRegistry(t *testing.T) { table(t, "registry.js", "127.43.7.", "https") }

func TestNodeTwins(t *testing.T) { table(t, "twins.js", "127.43.1.", "mqtt", "mqtt-ws") }

func TestNodeMethods(t *testing.T) { table(t, "methods.js", "127.43.2.", "mqtt", "mqtt-ws") }

func TestNodeMessages(t *testing.T) { table(t, "messages.js", "127.43.3.", "mqtt", "mqtt-ws") }

func TestNodeQueries(t *testing.T) { table(t, "query.js", "127.43.4.", "mqtt") }

func TestNodeHTTP(t *testing.T) { tableThen(t, "http.js", "127.43.5.", checkHTTP, "http") }

// checkHTTP looks for what http.js has sent.
func checkHTTP(t *testing.T, s *harness.Server) {
	for device, n := range map[string]int{"http-one": 1, "http-many": 20, "http-batch": 100} {
		events := s.Tail("--device", device)
		if len(events) != n {
			t.Errorf("%s: %d messages in the log, want %d", device, len(events), n)
		}
		for i, e := range events {
			row := strconv.Itoa(i)
			if body := `{"row":` + row + `}`; string(e.Payload()) != body {
				t.Errorf("%s: message %d is %s, want %s", device, i, e.Payload(), body)
			}
			if want := map[string]string{"row": row, "a-b": "50% + 1 & more", "machineID": "M 7"}; !maps.Equal(e.Properties, want) {
				t.Errorf("%s: message %d has properties %v, want %v", device, i, e.Properties, want)
			}
			want := map[string]any{"iothub-connection-device-id": device, "iothub-message-source": "Telemetry"}
			if device != "http-batch" { // the SDK leaves them out of batches
				want["message-id"], want["correlation-id"] = "row-"+row, "c/1"
				want["content-type"], want["content-encoding"] = "application/json", "utf-8"
			}
			for k, v := range want {
				if e.SystemProperties[k] != v {
					t.Errorf("%s: message %d: system property %s is %v, want %v", device, i, k, e.SystemProperties[k], v)
				}
			}
			if t.Failed() {
				return
			}
		}
	}
}
