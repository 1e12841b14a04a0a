package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dunlin/test/harness"
)

// hub starts a server that unmodified SDKs reach. They have port 443 built in
// for REST and WebSockets, so it gets an address of its own in 127.0.0.0/8,
// and that address as its name, which needs no entry in any hosts file. Where
// 443 may not be bound, redirect.js takes the SDK's connections to 443 to the
// port that was possible.
func hub(t *testing.T, listen string, args ...string) (*harness.Server, node) {
	t.Helper()
	o := harness.Options{Listen: listen, Host: listen, Args: args}
	n := node{t: t}
	l, err := net.Listen("tcp", net.JoinHostPort(listen, "443"))
	if err == nil {
		l.Close()
		o.HTTPS = 443
	} else {
		o.HTTPS = harness.FreePort(t, listen)
		n.redirect = fmt.Sprintf("%s:443=%d", listen, o.HTTPS)
		t.Logf("%v: redirecting the SDK's connections to port %d", err, o.HTTPS)
	}
	s := harness.Start(t, o)
	n.ca = s.Info.CAFile
	return s, n
}

// node runs scripts of the folder node.
type node struct {
	t        *testing.T
	ca       string
	redirect string
}

// reply is one line that a script printed.
type reply struct {
	Error        string `json:"error"`
	Message      string `json:"message"`
	Step         string `json:"step"`
	Connected    bool   `json:"connected"`
	Acknowledged *int   `json:"acknowledged"`
}

// run runs a script and gives its lines and whether it succeeded.
func (n node) run(script string, input map[string]any) ([]reply, error) {
	n.t.Helper()
	var lines []reply
	err := n.lines(script, input, func(b []byte) error {
		var r reply
		if err := json.Unmarshal(b, &r); err != nil {
			return err
		}
		lines = append(lines, r)
		return nil
	})
	return lines, err
}

func (n node) lines(script string, input map[string]any, each func([]byte) error) error {
	n.t.Helper()
	input = maps.Clone(input)
	input["ca"] = n.ca
	arg, err := json.Marshal(input)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := os.Stat("node/node_modules/azure-iot-device/package.json"); err != nil {
		n.t.Fatalf("the SDKs are not installed: run `make node-modules` (%v)", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	args := []string{"--no-deprecation"}
	if n.redirect != "" {
		args = append(args, "--require", "./redirect.js")
	}
	cmd := exec.CommandContext(ctx, "node", append(args, script, string(arg))...)
	cmd.Dir = "node"
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+n.ca, "REDIRECT="+n.redirect)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		n.t.Fatalf("node: %v", err)
	}
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if err := each(sc.Bytes()); err != nil {
			n.t.Errorf("%s: %v in %q", script, err, sc.Text())
		}
	}
	err = errors.Join(sc.Err(), cmd.Wait())
	if errs.Len() > 0 {
		n.t.Logf("%s wrote: %s", script, errs.String())
	}
	return err
}

// rows reads the recording as the script does.
func rows(t *testing.T, n int) [][2]string {
	t.Helper()
	f, err := os.Open(harness.MachineTemperature())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	var got [][2]string
	for i := 0; i <= n; i++ {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			got = append(got, [2]string{rec[0], rec[1]})
		}
	}
	if len(got) != n {
		t.Fatalf("the recording has %d rows, want %d", len(got), n)
	}
	return got
}

const sentRows = 2000

// TestNodeTelemetry is the spine: a device SDK with a connection string and a
// CA sends a recording; every acknowledged row is in the log, in order, with
// body, application and system properties as sent.
func TestNodeTelemetry(t *testing.T) {
	t.Parallel()
	s, n := hub(t, "127.43.0.2")
	for _, transport := range []string{"mqtt", "mqtt-ws"} {
		t.Run(transport, func(t *testing.T) {
			id := "machine-" + transport
			s.Device(id)
			n := n
			n.t = t
			cs := s.ConnectionString(id)
			if transport == "mqtt" {
				cs = mqttString(t, s, cs)
			}
			lines, err := n.run("send.js", map[string]any{
				"connectionString": cs, "transport": transport,
				"csv": harness.MachineTemperature(), "rows": sentRows, "window": 50,
			})
			if err != nil {
				t.Fatalf("send.js: %v: %+v", err, lines[max(0, len(lines)-1):])
			}
			checkRows(t, s.Tail("--device", id), lines, id, "")
		})
	}
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// mqttString puts the port of MQTT into a connection string: the SDK takes it
// from there (HostName=host:port).
func mqttString(t *testing.T, s *harness.Server, cs string) string {
	t.Helper()
	host := harness.Field(cs, "HostName")
	_, port, err := net.SplitHostPort(s.MQTTAddr())
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(cs, "HostName="+host, "HostName="+host+":"+port, 1)
}

func checkRows(t *testing.T, events []harness.Event, lines []reply, device, module string) {
	t.Helper()
	want := rows(t, len(lines))
	at := map[int]int{} // row -> position in the log
	for i, e := range events {
		row, err := strconv.Atoi(e.Properties["row"])
		if err != nil {
			t.Fatalf("event %d has no row: %+v", i, e)
		}
		if _, seen := at[row]; !seen {
			at[row] = i
		}
	}
	last := -1
	for _, l := range lines {
		if l.Acknowledged == nil {
			t.Fatalf("unexpected line %+v", l)
		}
	}
	for row := range want {
		i, ok := at[row]
		if !ok {
			t.Errorf("row %d was acknowledged and is not in the log", row)
			continue
		}
		if i <= last {
			t.Errorf("row %d stands at %d, before an earlier row at %d", row, i, last)
		}
		last = i
		checkEvent(t, events[i], row, want[row], device, module)
		if t.Failed() {
			return
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d acknowledged, %d sent", len(lines), len(want))
	}
	for i := 1; i < len(events); i++ {
		if events[i].Partition == events[i-1].Partition && events[i].Sequence() <= events[i-1].Sequence() {
			t.Fatalf("sequence number %d follows %d", events[i].Sequence(), events[i-1].Sequence())
		}
	}
}

func checkEvent(t *testing.T, e harness.Event, row int, cells [2]string, device, module string) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(e.Body, &body); err != nil {
		t.Fatalf("row %d: body %q: %v", row, e.Body, err)
	}
	value, err := strconv.ParseFloat(cells[1], 64)
	if err != nil {
		t.Fatal(err)
	}
	if body["timestamp"] != cells[0] || body["value"] != value || len(body) != 2 {
		t.Errorf("row %d: body %v, want %v", row, body, cells)
	}
	wantProps := map[string]string{"row": strconv.Itoa(row), "unit": "°F", "a b&c=d/e": "50% + 1", "empty": ""}
	if !maps.Equal(e.Properties, wantProps) {
		t.Errorf("row %d: properties %v, want %v", row, e.Properties, wantProps)
	}
	wantSystem := map[string]string{
		"message-id": "row-" + strconv.Itoa(row), "correlation-id": "replay/1",
		"content-type": "application/json", "content-encoding": "utf-8",
		"iothub-connection-device-id": device, "iothub-message-source": "Telemetry",
	}
	if module != "" {
		wantSystem["iothub-connection-module-id"] = module
	}
	for k, v := range wantSystem {
		if e.SystemProperties[k] != v {
			t.Errorf("row %d: system property %s is %v, want %q", row, k, e.SystemProperties[k], v)
		}
	}
	for _, k := range []string{"iothub-connection-auth-method", "iothub-connection-auth-generation-id", "iothub-enqueuedtime"} {
		if text, ok := e.SystemProperties[k].(string); !ok || text == "" {
			t.Errorf("row %d: system property %s is missing: %v", row, k, slices.Sorted(maps.Keys(e.SystemProperties)))
		}
	}
	if e.DeviceID != device || e.ModuleID != module {
		t.Errorf("row %d: from %q/%q, want %q/%q", row, e.DeviceID, e.ModuleID, device, module)
	}
}

// TestNodeIdentities connects with every kind of credential and sends a few rows.
func TestNodeIdentities(t *testing.T) {
	t.Parallel()
	s, n := hub(t, "127.43.0.4")
	dir := t.TempDir()
	self := newCertificate(t, dir, "thumb", nil)
	ca := newCertificate(t, dir, "Factory CA", nil)
	signed := newCertificate(t, dir, "signed", ca)
	stranger := newCertificate(t, dir, "signed2", nil)
	s.CLI("certificate", "create", "--name", "factory", "--file", ca.file, "--key", ca.keyFile, "--verify")

	identities := []map[string]any{
		{"deviceId": "thumb", "authentication": map[string]any{"type": "selfSigned", "x509Thumbprint": map[string]any{"primaryThumbprint": self.thumbprint()}}},
		{"deviceId": "thumb256", "authentication": map[string]any{"type": "selfSigned", "x509Thumbprint": map[string]any{"primaryThumbprint": self.thumbprint(), "secondaryThumbprint": stranger.thumbprint256()}}},
		{"deviceId": "signed", "authentication": map[string]any{"type": "certificateAuthority"}},
		{"deviceId": "signed2", "authentication": map[string]any{"type": "certificateAuthority"}},
		{"deviceId": "parent"},
		{"deviceId": "parent", "moduleId": "camera", "managedBy": "test"},
	}
	var moduleKey string
	err := n.lines("identities.js", map[string]any{"connectionString": s.Policy("iothubowner"), "create": identities}, func(b []byte) error {
		var id struct {
			Error, Message, ModuleID string
			Authentication           struct {
				SymmetricKey struct{ PrimaryKey string }
			}
		}
		if err := json.Unmarshal(b, &id); err != nil {
			return err
		}
		if id.Error != "" {
			t.Errorf("identities.js: %s: %s", id.Error, id.Message)
		}
		if id.ModuleID != "" {
			moduleKey = id.Authentication.SymmetricKey.PrimaryKey
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	host := s.Info.HostName
	certOf := func(device string) string { return "HostName=" + host + ";DeviceId=" + device + ";x509=true" }
	tests := []struct {
		name, device, module, cs string
		cert                     *certificate
		refused                  bool
	}{
		{name: "thumbprint", device: "thumb", cs: certOf("thumb"), cert: self},
		{name: "secondary SHA-256 thumbprint", device: "thumb256", cs: certOf("thumb256"), cert: stranger},
		{name: "signed by a registered CA", device: "signed", cs: certOf("signed"), cert: signed},
		{name: "module", device: "parent", module: "camera", cs: "HostName=" + host + ";DeviceId=parent;ModuleId=camera;SharedAccessKey=" + moduleKey},
		{name: "key", device: "parent", cs: "HostName=" + host + ";DeviceId=parent;SharedAccessKey=" + harness.Field(s.ConnectionString("parent"), "SharedAccessKey")},
		{name: "another thumbprint", device: "thumb", cs: certOf("thumb"), cert: stranger, refused: true},
		{name: "certificate of another device", device: "signed2", cs: certOf("signed2"), cert: signed, refused: true},
		{name: "not signed by a registered CA", device: "signed2", cs: certOf("signed2"), cert: stranger, refused: true},
		{name: "certificate for a device with keys", device: "parent", cs: certOf("parent"), cert: self, refused: true},
		{name: "certificate of the CA itself", device: "signed", cs: certOf("signed"), cert: ca, refused: true},
	}
	for _, transport := range []string{"mqtt", "mqtt-ws"} {
		for _, tt := range tests {
			t.Run(transport+"/"+tt.name, func(t *testing.T) {
				n := n
				n.t = t
				cs := tt.cs
				if transport == "mqtt" {
					cs = mqttString(t, s, cs)
				}
				in := map[string]any{"connectionString": cs, "transport": transport, "csv": harness.MachineTemperature(), "rows": 5, "window": 1}
				if tt.cert != nil {
					in["cert"], in["key"] = tt.cert.file, tt.cert.keyFile
				}
				if tt.refused {
					checkRefused(t, n, in)
					return
				}
				before := len(s.Tail("--device", tt.device))
				lines, err := n.run("send.js", in)
				if err != nil {
					t.Fatalf("send.js: %v: %+v", err, lines)
				}
				checkRows(t, s.Tail("--device", tt.device)[before:], lines, tt.device, tt.module)
			})
		}
	}
}

// TestNodeRefused: a mistake in the credentials reaches the application at
// once, as the error that the SDK documents for it.
func TestNodeRefused(t *testing.T) {
	t.Parallel()
	s, n := hub(t, "127.43.0.5")
	key := s.Device("known")
	s.Device("other")
	s.Device("off")
	s.CLI("device", "update", "off", "--status", "disabled")
	host := s.Info.HostName
	cs := func(device, key string) string {
		return "HostName=" + host + ";DeviceId=" + device + ";SharedAccessKey=" + key
	}
	tests := []struct{ name, cs string }{
		{"wrong key", cs("known", "c29tZWJvZHkgZWxzZSdzIGtleSwgMzIgYnl0ZXMgbG9uZw==")},
		{"key of another device", cs("other", key)},
		{"unknown device", cs("nobody", key)},
		{"disabled device", cs("off", harness.Field(s.ConnectionString("off"), "SharedAccessKey"))},
	}
	for _, transport := range []string{"mqtt", "mqtt-ws"} {
		for _, tt := range tests {
			t.Run(transport+"/"+tt.name, func(t *testing.T) {
				n := n
				n.t = t
				c := tt.cs
				if transport == "mqtt" {
					c = mqttString(t, s, c)
				}
				checkRefused(t, n, map[string]any{"connectionString": c, "transport": transport})
			})
		}
	}
	var problems []map[string]any
	if err := json.Unmarshal([]byte(s.CLI("device", "problems", "known", "--json")), &problems); err != nil {
		t.Fatal(err)
	}
	if len(problems) == 0 {
		t.Error("device problems shows nothing of the wrong key")
	}
}

func checkRefused(t *testing.T, n node, in map[string]any) {
	t.Helper()
	start := time.Now()
	lines, err := n.run("connect.js", in)
	if err == nil {
		t.Fatalf("was let in: %+v", lines)
	}
	if len(lines) != 1 || lines[0].Error != "UnauthorizedError" {
		t.Errorf("the SDK reported %+v, want UnauthorizedError", lines)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the refusal took %s", d)
	}
}
