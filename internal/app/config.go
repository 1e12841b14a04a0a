package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"dunlin/internal/iot"
)

// Config is everything that can be set. One name serves three places: a key in
// the YAML file, a flag (--host-name) and a variable (DUNLIN_HOST_NAME); a
// flag wins over a variable and a variable over the file. What stands in a
// section of the file (hub.profile) has dashes elsewhere (--hub-profile). The
// tags other than yaml are read by the command line.
type Config struct {
	// Data is the directory that holds everything the instance keeps.
	Data string `yaml:"data" kong:"-"`

	HostName    string   `yaml:"host-name" name:"host-name" default:"localhost" placeholder:"NAME" group:"Names" help:"Name that devices and SDKs connect to (${default}); it stands in the certificate and in connection strings. Some SDKs need a dot in it."`
	HostAliases []string `yaml:"host-aliases" name:"host-aliases" placeholder:"NAME,..." group:"Names" help:"Further names or addresses that the certificate carries and that are accepted as the hub's name."`
	HubName     string   `yaml:"hub-name" name:"hub-name" default:"dunlin" placeholder:"NAME" group:"Names" help:"Name of the hub, as events and the Event Hubs-compatible endpoint show it (${default})."`

	MQTTAddr      string `yaml:"mqtt-addr" name:"mqtt-addr" default:":8883" placeholder:"ADDR" group:"Addresses" help:"MQTT over TLS (${default}). Port 0 takes a free one; dunlin info says which."`
	MQTTPlainAddr string `yaml:"mqtt-plain-addr" name:"mqtt-plain-addr" placeholder:"ADDR" group:"Addresses" help:"MQTT without TLS, for closed networks and measurements (off)."`
	HTTPSAddr     string `yaml:"https-addr" name:"https-addr" default:":443" placeholder:"ADDR" group:"Addresses" help:"HTTPS: REST, administration, MQTT over WebSocket (${default}). Where 443 is not permitted, 8443 is taken."`
	MetricsAddr   string `yaml:"metrics-addr" name:"metrics-addr" default:"127.0.0.1:9090" placeholder:"ADDR" group:"Addresses" help:"Prometheus metrics over plain HTTP (${default}; a free port when taken). off switches it off."`

	TLSCert string `yaml:"tls-cert" name:"tls-cert" placeholder:"FILE" group:"Certificates" help:"Own server certificate chain (PEM) instead of one signed by the local CA. Needs tls-key."`
	TLSKey  string `yaml:"tls-key" name:"tls-key" placeholder:"FILE" group:"Certificates" help:"Key of tls-cert (PEM)."`
	TLSCA   string `yaml:"tls-ca" name:"tls-ca" placeholder:"FILE" group:"Certificates" help:"CA of tls-cert (PEM), for clients that do not know it; dunlin info names it."`

	Durability     string        `yaml:"durability" name:"durability" default:"sync" placeholder:"sync|os" group:"Event log" help:"When a message counts as stored: sync, on disk (${default}); os, handed to the operating system: faster, but a power failure can lose acknowledged messages."`
	Partitions     int           `yaml:"partitions" name:"partitions" default:"4" placeholder:"N" group:"Event log" help:"Partitions of the event log, 1 to 32, fixed at the first start (${default})."`
	RetentionAge   time.Duration `yaml:"retention-age" name:"retention-age" default:"168h" placeholder:"DURATION" group:"Event log" help:"Events older than this are removed; 0 keeps them (${default})."`
	RetentionBytes Bytes         `yaml:"retention-bytes" name:"retention-bytes" default:"0" placeholder:"SIZE" group:"Event log" help:"The oldest events are removed when the log is larger, for example 50GB; 0 means no limit (${default})."`
	CommitGap      time.Duration `yaml:"commit-gap" name:"commit-gap" default:"2ms" placeholder:"DURATION" group:"Event log" help:"How long messages gather before they are written together under load (${default}). 5ms costs less CPU, 0 less delay."`

	Database string   `yaml:"database" name:"database" placeholder:"URL" group:"Engines" help:"PostgreSQL for the state instead of embedded SQLite: postgres://user:password@host/name, or file:PATH or env:NAME of where that stands."`
	NATS     string   `yaml:"nats" name:"nats" placeholder:"URL" group:"Engines" help:"NATS cluster with JetStream for the event log instead of the embedded one: nats://host:4222, or file:PATH or env:NAME."`
	Roles    []string `yaml:"roles" name:"roles" default:"gateway,api" placeholder:"ROLE,..." group:"Engines" help:"What this process does (${default}): gateway serves devices, api serves applications."`

	Hub HubSettings `yaml:"hub" embed:"" prefix:"hub-" group:"Hub"`

	MaxConnections int `yaml:"max-connections" name:"max-connections" default:"0" placeholder:"N" group:"Limits" help:"Open device connections, 0 for as many as the system lets through (${default})."`

	LogFormat string `yaml:"log-format" name:"log-format" default:"text" placeholder:"text|json" group:"Logging" help:"Form of the log on standard error (${default})."`
	LogLevel  string `yaml:"log-level" name:"log-level" default:"info" placeholder:"LEVEL" group:"Logging" help:"debug, info, warn or error (${default})."`

	lines map[string]string // where the file sets a key: file and line
}

// The roles that exist.
const (
	roleGateway = "gateway"
	roleAPI     = "api"
)

var roles = []string{roleGateway, roleAPI}

const off = "off"

// Default gives the configuration of an empty command line. Data is not set.
func Default() Config {
	var c Config
	for _, f := range c.fields() {
		if f.text == "" {
			continue
		}
		if err := setField(f.value, f.text); err != nil {
			panic("app: default of " + f.key + ": " + err.Error()) // a mistake in this file
		}
	}
	return c
}

// setField reads the text of a flag into a field.
func setField(field reflect.Value, text string) error {
	node := &yaml.Node{Kind: yaml.ScalarNode, Value: text}
	if d, long := reflect.TypeAssert[*time.Duration](field.Addr()); long {
		var err error
		*d, err = time.ParseDuration(text)
		return err
	}
	if field.Kind() == reflect.Slice {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for item := range strings.SplitSeq(text, ",") {
			list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: item})
		}
		node = list
	}
	return node.Decode(field.Addr().Interface())
}

// field is one setting.
type field struct {
	key   string // sections before it, joined by dots: hub.limits.calls
	text  string // the default, as a flag would be written
	value reflect.Value
}

// flag is the name of the setting on the command line.
func (f *field) flag() string { return flagName(f.key) }

func flagName(key string) string { return strings.ReplaceAll(key, ".", "-") }

// fields lists the settings in their order.
func (c *Config) fields() []field { return fieldsOf(nil, "", reflect.ValueOf(c).Elem()) }

func fieldsOf(dst []field, section string, v reflect.Value) []field {
	for i := range v.NumField() {
		t := v.Type().Field(i)
		key, set := t.Tag.Lookup("yaml")
		switch {
		case !set:
		case t.Type.Kind() == reflect.Struct:
			dst = fieldsOf(dst, section+key+".", v.Field(i))
		default:
			dst = append(dst, field{section + key, t.Tag.Get("default"), v.Field(i)})
		}
	}
	return dst
}

// Flags lists the names of all settings as flags spell them.
func Flags() []string {
	var c Config
	var names []string
	for _, f := range c.fields() {
		names = append(names, f.flag())
	}
	return names
}

// Validate reports every setting that cannot be meant.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s%s: %s", c.lines[key], key, fmt.Sprintf(format, args...)))
	}
	c.Hub.check(bad)
	if c.Data == "" {
		bad("data", "no data directory: give one with --data DIR or DUNLIN_DATA")
	}
	if c.HostName == "" || strings.ContainsAny(c.HostName, ":/; \t") && net.ParseIP(c.HostName) == nil {
		bad("host-name", "%q is not a host name: give the name alone, without scheme or port", c.HostName)
	}
	if !iot.ValidID(c.HubName) || strings.ContainsAny(c.HubName, ".;/=") {
		bad("hub-name", "%q: letters, digits and dashes only", c.HubName)
	}
	for _, a := range []struct {
		key, addr string
		empty     bool
	}{
		{"mqtt-addr", c.MQTTAddr, false},
		{"mqtt-plain-addr", c.MQTTPlainAddr, true},
		{"https-addr", c.HTTPSAddr, false},
		{"metrics-addr", c.MetricsAddr, true},
	} {
		if a.addr == "" && a.empty || a.addr == off && a.key == "metrics-addr" {
			continue
		}
		if _, port, err := net.SplitHostPort(a.addr); err != nil || port == "" {
			bad(a.key, "%q is not an address: write host:port or :port, for example %q", a.addr, ":8883")
		}
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("tls-cert", "tls-cert and tls-key belong together: set both or none")
	}
	if c.Durability != "sync" && c.Durability != "os" {
		bad("durability", "%q is not known: sync or os", c.Durability)
	}
	if c.Partitions < 1 || c.Partitions > 32 {
		bad("partitions", "%d: 1 to 32", c.Partitions)
	}
	if c.RetentionAge < 0 || c.RetentionAge > 0 && c.RetentionAge < time.Minute {
		bad("retention-age", "%s: at least 1m, or 0 to keep everything", c.RetentionAge)
	}
	if c.CommitGap < 0 || c.CommitGap > time.Second {
		bad("commit-gap", "%s: 0 to 1s", c.CommitGap)
	}
	if len(c.Roles) == 0 {
		bad("roles", "empty: name at least one of %s", strings.Join(roles, ", "))
	}
	for _, r := range c.Roles {
		if !slices.Contains(roles, r) {
			bad("roles", "%q is not known to this version: %s", r, strings.Join(roles, ", "))
		}
	}
	if c.MaxConnections < 0 {
		bad("max-connections", "%d: 0 or more", c.MaxConnections)
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log-format", "%q is not known: text or json", c.LogFormat)
	}
	if _, err := parseLevel(c.LogLevel); err != nil {
		bad("log-level", "%q is not known: debug, info, warn or error", c.LogLevel)
	}
	return errors.Join(errs...)
}

// has reports whether this process plays a role.
func (c *Config) has(role string) bool { return slices.Contains(c.Roles, role) }

// secret gives a value that may stand elsewhere: file:PATH or env:NAME.
func secret(key, value string) (string, error) {
	if path, ok := strings.CutPrefix(value, "file:"); ok {
		b, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", key, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if name, ok := strings.CutPrefix(value, "env:"); ok {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("%s: the environment has no variable %s", key, name)
		}
		return v, nil
	}
	return value, nil
}
