package simulate

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/sas"
)

// identity is one device and what it proves itself with.
type identity struct {
	id     iot.ID
	key    []byte
	policy string // name of the hub policy that the key belongs to; empty: the device's own
}

// site is the hub as all devices of a run see it.
type site struct {
	host   string      // as spelt in user names and tokens
	server string      // host:port of MQTT
	rest   string      // base URL
	tls    *tls.Config // nil: plain
	roots  *x509.CertPool
}

// resolve turns the configuration into the hub's address and the devices of
// the run, registering them first if asked. want lists the ids that a
// recording needs; nil leaves the choice to the configuration.
func resolve(ctx context.Context, c Config, want []string) (site, []identity, error) {
	cs, err := parseConnectionString(c.ConnectionString)
	if err != nil {
		return site{}, nil, err
	}
	s, err := locate(c, cs)
	if err != nil {
		return site{}, nil, err
	}
	own := map[string][]byte{} // keys of devices
	var listed []string
	if c.KeysFile != "" {
		if listed, own, err = readKeys(c.KeysFile); err != nil {
			return site{}, nil, err
		}
	}
	if cs.device != "" {
		if c.Device != "" && c.Device != cs.device {
			return site{}, nil, fmt.Errorf("the connection string is that of device %s, not of %s", cs.device, c.Device)
		}
		if want != nil && !slices.Equal(want, []string{cs.device}) {
			return site{}, nil, fmt.Errorf("the connection string is that of device %s, but %d devices are to send; give a keys file or a hub policy", cs.device, len(want))
		}
		if c.Devices > 1 {
			return site{}, nil, fmt.Errorf("the connection string is that of one device; %d devices need a keys file or the connection string of a hub policy", c.Devices)
		}
		return s, []identity{{id: iot.ID{Device: cs.device, Module: cs.module}, key: cs.key}}, nil
	}

	ids := want
	switch {
	case ids != nil:
	case c.Device != "":
		ids = []string{c.Device}
	case c.KeysFile != "":
		if c.Devices > len(listed) {
			return site{}, nil, fmt.Errorf("%s has %d devices, %d are wanted", c.KeysFile, len(listed), c.Devices)
		}
		ids = listed
		if c.Devices > 0 {
			ids = listed[:c.Devices]
		}
	default:
		for i := range max(c.Devices, 1) {
			ids = append(ids, c.Prefix+strconv.Itoa(i))
		}
	}

	if c.Create {
		if cs.policy == "" {
			return site{}, nil, errors.New("registering devices needs the connection string of a hub policy with registry write permission")
		}
		var missing []string
		for _, id := range ids {
			if own[id] == nil {
				missing = append(missing, id)
			}
		}
		keys, err := register(ctx, s, cs, missing)
		if err != nil {
			return site{}, nil, err
		}
		maps.Copy(own, keys)
	}
	devices := make([]identity, len(ids))
	for i, id := range ids {
		devices[i] = identity{id: iot.ID{Device: id}, key: own[id]}
		if own[id] == nil {
			if cs.policy == "" {
				return site{}, nil, fmt.Errorf("no key for device %s in %s", id, c.KeysFile)
			}
			devices[i].key, devices[i].policy = cs.key, cs.policy
		}
	}
	return s, devices, nil
}

// password makes a token that is good for ttl.
func (d *identity) password(host string, now time.Time, ttl time.Duration) string {
	resource := host + "/devices/" + d.id.Device
	if d.id.Module != "" {
		resource += "/modules/" + d.id.Module
	}
	return sas.Sign(resource, d.key, now.Add(ttl), d.policy)
}

func (d *identity) clientID() string {
	if d.id.Module != "" {
		return d.id.Device + "/" + d.id.Module
	}
	return d.id.Device
}

func (d *identity) userName(host string) string {
	return host + "/" + d.clientID() + "/?api-version=2021-04-12&DeviceClientType=dunlin-simulate"
}

func (d *identity) topic() string {
	if d.id.Module != "" {
		return "devices/" + d.id.Device + "/modules/" + d.id.Module + "/messages/events/"
	}
	return "devices/" + d.id.Device + "/messages/events/"
}

// connectionString is a parsed connection string; all fields are empty when
// none was given.
type connectionString struct {
	host, device, module, policy string
	key                          []byte
}

func parseConnectionString(s string) (connectionString, error) {
	var c connectionString
	if s == "" {
		return c, nil
	}
	for part := range strings.SplitSeq(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return c, fmt.Errorf("connection string: %q is not name=value", part)
		}
		switch strings.TrimSpace(name) {
		case "HostName":
			c.host = value
		case "DeviceId":
			c.device = value
		case "ModuleId":
			c.module = value
		case "SharedAccessKeyName":
			c.policy = value
		case "SharedAccessKey":
			key, err := sas.ParseKey(value)
			if err != nil {
				return c, fmt.Errorf("connection string: SharedAccessKey: %w", err)
			}
			c.key = key
		}
	}
	switch {
	case c.host == "":
		return c, errors.New("connection string: HostName is missing")
	case c.device == "" && c.policy == "":
		return c, errors.New("connection string: neither DeviceId (a device) nor SharedAccessKeyName (a hub policy) is there")
	case c.key == nil:
		return c, errors.New("connection string: SharedAccessKey is missing; devices with certificates are not simulated")
	}
	return c, nil
}

func locate(c Config, cs connectionString) (site, error) {
	s := site{host: c.HostName, server: c.Server, rest: strings.TrimSuffix(c.REST, "/")}
	if s.host == "" {
		s.host = cs.host
	}
	if s.host == "" {
		return s, errors.New("no host name: give the hub's host name or a connection string")
	}
	name := s.host
	if h, _, err := net.SplitHostPort(s.host); err == nil {
		name = h
	}
	if s.server == "" {
		port := "8883"
		if c.Plain {
			port = "1883"
		}
		s.server = net.JoinHostPort(name, port)
	}
	if s.rest == "" {
		s.rest = "https://" + name
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return s, fmt.Errorf("CA file: %w", err)
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return s, fmt.Errorf("CA file %s holds no PEM certificate", c.CAFile)
		}
	}
	if !c.Plain {
		s.tls = &tls.Config{RootCAs: s.roots, ServerName: name, MinVersion: tls.VersionTLS12}
	}
	return s, nil
}

// readKeys reads lines "id base64key", as `dunlin device create --keys-out`
// writes them. Empty lines and lines that begin with # are skipped.
func readKeys(file string) (ids []string, keys map[string][]byte, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, fmt.Errorf("keys file: %w", err)
	}
	defer f.Close()
	keys = map[string][]byte{}
	in := bufio.NewScanner(f)
	for line := 1; in.Scan(); line++ {
		words := strings.Fields(in.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words) != 2 {
			return nil, nil, fmt.Errorf("%s:%d: want \"id base64key\"", file, line)
		}
		key, err := sas.ParseKey(words[1])
		if err != nil {
			return nil, nil, fmt.Errorf("%s:%d: device %s: %w", file, line, words[0], err)
		}
		if keys[words[0]] != nil {
			return nil, nil, fmt.Errorf("%s:%d: device %s is listed twice", file, line, words[0])
		}
		ids = append(ids, words[0])
		keys[words[0]] = key
	}
	if err := in.Err(); err != nil {
		return nil, nil, fmt.Errorf("keys file: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil, fmt.Errorf("keys file %s is empty", file)
	}
	return ids, keys, nil
}

// derivedKey makes the key that a simulated device is registered with, so
// that a later run with the same policy finds it again without a file.
func derivedKey(policyKey []byte, id string) []byte {
	mac := hmac.New(sha256.New, policyKey)
	mac.Write([]byte("simulate\n" + id))
	return mac.Sum(nil)
}
