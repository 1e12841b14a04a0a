package app

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
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
	for f := range reflect.TypeFor[Config]().Fields() {
		if f.Tag.Get("kong") == "-" {
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
commit-gap: 0s
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
		"retention-age": "24h", "retention-bytes": "20GiB", "commit-gap": "0s",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if empty, err := parseFile("f", []byte("# nothing\n")); err != nil || len(empty) != 0 {
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
