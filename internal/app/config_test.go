package app

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dunlin/internal/things/command"
	"dunlin/internal/things/twin"
)

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	c := Default()
	c.Data = t.TempDir()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.HostName != "localhost" || c.MQTTAddr != ":8883" || c.HTTPSAddr != ":443" || c.Partitions != 4 ||
		c.RetentionAge != 168*time.Hour || c.CommitGap != 2*time.Millisecond || len(c.Roles) != 2 || c.Durability != "sync" {
		t.Errorf("%+v", c)
	}
}

// The key in the file, the flag and the variable must be one name.
func TestOneNamePerSetting(t *testing.T) {
	oneName(t, reflect.TypeFor[Config]())
}

func oneName(t *testing.T, of reflect.Type) {
	for f := range of.Fields() {
		if f.Tag.Get("kong") == "-" || !f.IsExported() {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			if f.Tag.Get("prefix") != f.Tag.Get("yaml")+"-" {
				t.Errorf("section %s: yaml %q, prefix %q", f.Name, f.Tag.Get("yaml"), f.Tag.Get("prefix"))
			}
			oneName(t, f.Type)
			continue
		}
		if name := f.Tag.Get("yaml"); name == "" || name != f.Tag.Get("name") || f.Tag.Get("help") == "" {
			t.Errorf("%s: yaml %q, name %q, help %q", f.Name, name, f.Tag.Get("name"), f.Tag.Get("help"))
		}
	}
}

func TestFileGivesFlagTexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dunlin.yaml")
	const content = `# a comment
host-name: hub.example.test
host-aliases: [a.test, 10.0.0.1]
roles: gateway,api
partitions: 8
retention-age: 24h
retention-bytes: 20GiB
commit-gap: 0
hub:
  profile: open
  indexes: [tags.site, properties.reported.fw]
  limits:
    queue-depth: 70
`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"host-name": "hub.example.test", "host-aliases": "a.test,10.0.0.1", "roles": "gateway,api", "partitions": "8",
		"retention-age": "24h", "retention-bytes": "20GiB", "commit-gap": "0",
		"hub-profile": "open", "hub-indexes": "tags.site,properties.reported.fw", "hub-limits-queue-depth": "70",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if empty, err := parseFile("f", []byte("# nothing\nhub:\n")); err != nil || len(empty.values) != 0 {
		t.Errorf("a file without settings: %v, %v", empty, err)
	}
}

func TestFileErrorsNameFileAndLine(t *testing.T) {
	tests := []struct {
		name, content string
		words         []string
	}{
		{"unknown key", "log-level: info\n\nmqtt-adr: :1\n", []string{"d.yaml:3:", `"mqtt-adr"`, `did you mean "mqtt-addr"`}},
		{"key in another spelling", "hostName: x\n", []string{"d.yaml:1:", `did you mean "host-name"`}},
		{"key like no other", "colour: red\n", []string{"d.yaml:1:", `"colour"`, "--help"}},
		{"two unknown keys", "a1: 1\nb2: 2\n", []string{"d.yaml:1:", "d.yaml:2:"}},
		{"twice", "partitions: 1\npartitions: 2\n", []string{"d.yaml:2:", "line 1"}},
		{"not a number", "partitions: many\n", []string{"d.yaml:1:", "partitions", "a number"}},
		{"not a duration", "retention-age: soon\n", []string{"d.yaml:1:", "a duration"}},
		{"not a size", "retention-bytes: big\n", []string{"d.yaml:1:", "a size"}},
		{"nested", "mqtt-addr:\n  port: 1\n", []string{"d.yaml:1:", "one value"}},
		{"section as a value", "hub: open\n", []string{"d.yaml:1:", "key: value"}},
		{"unknown key of a section", "hub:\n  profile: open\n  limits:\n    queuedepth: 3\n", []string{"d.yaml:4:", `"hub.limits.queuedepth"`, `did you mean "hub.limits.queue-depth"`}},
		{"section twice", "hub:\n  profile: open\nhub:\n  profile: open\n", []string{"d.yaml:3:", "line 1"}},
		{"not a size in a section", "hub:\n  limits:\n    twin-tags: big\n", []string{"d.yaml:3:", "hub.limits.twin-tags", "a size"}},
		{"a list", "- a\n- b\n", []string{"d.yaml:1:", "key: value"}},
		{"not YAML", "a: [\n", []string{"d.yaml", "line 1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parseFile("d.yaml", []byte(tt.content))
			wantError(t, err, tt.words...)
		})
	}
	_, err := ReadFile(filepath.Join(t.TempDir(), "none.yaml"))
	wantError(t, err, "none.yaml")
}

func TestValidateRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		words  []string
	}{
		{"no data directory", func(c *Config) { c.Data = "" }, []string{"--data"}},
		{"host name with port", func(c *Config) { c.HostName = "h:8883" }, []string{"host-name", "port"}},
		{"host name with scheme", func(c *Config) { c.HostName = "https://h" }, []string{"host-name"}},
		{"address without port", func(c *Config) { c.MQTTAddr = "8883" }, []string{"mqtt-addr", ":8883"}},
		{"unknown durability", func(c *Config) { c.Durability = "never" }, []string{"durability", "sync or os"}},
		{"no partition", func(c *Config) { c.Partitions = 0 }, []string{"partitions", "1 to 32"}},
		{"too many partitions", func(c *Config) { c.Partitions = 33 }, []string{"partitions"}},
		{"unknown role", func(c *Config) { c.Roles = []string{"gateway", "warm"} }, []string{"roles", `"warm"`, "gateway, api"}},
		{"no role", func(c *Config) { c.Roles = nil }, []string{"roles"}},
		{"certificate without key", func(c *Config) { c.TLSCert = "x" }, []string{"tls-key"}},
		{"short retention", func(c *Config) { c.RetentionAge = time.Second }, []string{"retention-age"}},
		{"long gap", func(c *Config) { c.CommitGap = time.Minute }, []string{"commit-gap"}},
		{"unknown log format", func(c *Config) { c.LogFormat = "xml" }, []string{"log-format"}},
		{"unknown log level", func(c *Config) { c.LogLevel = "loud" }, []string{"log-level"}},
		{"unknown profile", func(c *Config) { c.Hub.Profile = "wide" }, []string{"hub.profile", "strict or open"}},
		{"limits of the strict profile", func(c *Config) { c.Hub.Limits.QueueDepth = 60 }, []string{"hub.limits.queue-depth", "hub.profile"}},
		{"limit out of range", func(c *Config) { c.Hub.Profile, c.Hub.Limits.TwinTags = "open", 2<<20 }, []string{"hub.limits.twin-tags", "1.0 MiB"}},
		{"long life of messages", func(c *Config) { c.Hub.C2D.TTL = 49 * time.Hour }, []string{"hub.c2d.ttl", "48h"}},
		{"no delivery", func(c *Config) { c.Hub.C2D.MaxDelivery = 0 }, []string{"hub.c2d.max-delivery-count", "1 to 100"}},
		{"index over nothing", func(c *Config) { c.Hub.Indexes = []string{"tags.a = 1"} }, []string{"hub.indexes", "tags.site"}},
		{"index over an identity", func(c *Config) { c.Hub.Indexes = []string{"deviceId"} }, []string{"hub.indexes"}},
		{"two mistakes", func(c *Config) { c.LogLevel, c.Partitions = "loud", 0 }, []string{"log-level", "partitions"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Default()
			c.Data = t.TempDir()
			tt.change(&c)
			wantError(t, c.Validate(), tt.words...)
		})
	}
	c := Default()
	c.Data, c.HostName = t.TempDir(), "::1"
	if err := c.Validate(); err != nil {
		t.Errorf("an address as host name: %v", err)
	}
}

func TestSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte("postgres://u:p@h/d\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("A_DATABASE_URL", "postgres://env")
	for in, want := range map[string]string{
		"postgres://x": "postgres://x", "file:" + path: "postgres://u:p@h/d", "env:A_DATABASE_URL": "postgres://env", "": "",
	} {
		if got, err := secret("database", in); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	_, err := secret("database", "env:NO_SUCH_VARIABLE")
	wantError(t, err, "database", "NO_SUCH_VARIABLE")
	_, err = secret("database", "file:/no/such/file")
	wantError(t, err, "database", "/no/such/file")
}

func TestBytes(t *testing.T) {
	for in, want := range map[string]Bytes{
		"0": 0, "1048576": 1 << 20, "500MB": 500e6, "20GiB": 20 << 30, "1.5 kib": 1536, "2t": 2e12, "7B": 7,
	} {
		var b Bytes
		if err := b.UnmarshalText([]byte(in)); err != nil || b != want {
			t.Errorf("%s: %d, %v", in, b, err)
		}
	}
	for _, in := range []string{"", "x", "-1", "1e30GB", "NaN", "5 apples"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(in)); err == nil {
			t.Errorf("%q was read as %d", in, b)
		}
	}
	for b, want := range map[Bytes]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 20 << 30: "20.0 GiB"} {
		if got := b.String(); got != want {
			t.Errorf("%d: %s", int64(b), got)
		}
	}
}

// TestValidateNamesLines shows that what is wrong in a file is found there.
func TestValidateNamesLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.yaml")
	if err := os.WriteFile(path, []byte("partitions: 77\nhub:\n  limits:\n    calls: 5\n    twin-depth: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Default()
	c.Data, c.Partitions, c.Hub.Limits.Calls, c.Hub.Limits.TwinDepth = t.TempDir(), 77, 5, 9
	if err := c.Locate(path); err != nil {
		t.Fatal(err)
	}
	err := c.Validate()
	wantError(t, err, path+":1: partitions", path+":4: hub.limits.calls", "hub.limits.twin-depth")
	if strings.Contains(err.Error(), path+":5") {
		t.Errorf("%v blames the file for what was set elsewhere", err)
	}
}

func TestProfiles(t *testing.T) {
	c := Default()
	if have := c.Hub.twins(); have != twin.StrictLimits() {
		t.Errorf("strict: %+v", have)
	}
	if have := c.Hub.commands(); have != command.StrictLimits() {
		t.Errorf("strict: %+v", have)
	}
	c.Hub.Profile = profileOpen
	if have := c.Hub.twins(); have != twin.OpenLimits() {
		t.Errorf("open: %+v", have)
	}
	if have := c.Hub.commands(); have != command.OpenLimits() {
		t.Errorf("open: %+v", have)
	}
	c.Hub.Limits = HubLimits{
		TwinTags: 1, TwinDesired: 2, TwinReported: 3, TwinDepth: 4, TwinKey: 5, TwinText: 6, Method: 7, Calls: 8, QueueDepth: 9, C2DMessage: 10, C2DExpiry: 11,
	}
	c.Hub.C2D = HubMessages{TTL: 12, MaxDelivery: 13, FeedbackTTL: 14, FeedbackLock: 15, FeedbackDelivery: 16}
	tw, cm := c.Hub.twins(), c.Hub.commands()
	if tw.Tags != 1 || tw.Desired != 2 || tw.Reported != 3 || tw.Depth != 4 || tw.Key != 5 || tw.String != 6 {
		t.Errorf("%+v", tw)
	}
	if cm.MethodPayload != 7 || cm.CallsPerDevice != 8 || cm.Depth != 9 || cm.MessageBytes != 10 || cm.MaxTTL != 11 ||
		cm.TTL != 12 || cm.MaxDelivery != 13 || cm.FeedbackTTL != 14 || cm.FeedbackLock != 15 || cm.FeedbackMaxDelivery != 16 {
		t.Errorf("%+v", cm)
	}
}
