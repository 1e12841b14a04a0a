package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/trust/guard"
)

type deviceCmd struct {
	Create           deviceCreateCmd     `cmd:"" help:"Register a device, or many."`
	List             deviceListCmd       `cmd:"" help:"List devices."`
	Show             deviceShowCmd       `cmd:"" help:"Show a device with its keys."`
	Update           deviceUpdateCmd     `cmd:"" help:"Change a device."`
	Delete           deviceDeleteCmd     `cmd:"" help:"Delete devices."`
	ConnectionString deviceConnectionCmd `cmd:"" name:"connection-string" help:"Print what a device connects with."`
	Problems         deviceProblemsCmd   `cmd:"" help:"Show why devices were refused lately."`
}

// device is the registry's form of a device, as far as it is used here.
type device struct {
	ID                         string   `json:"deviceId"`
	Generation                 string   `json:"generationId,omitempty"`
	ETag                       string   `json:"etag,omitempty"`
	ConnectionState            string   `json:"connectionState,omitempty"`
	Status                     string   `json:"status,omitempty"`
	StatusReason               *string  `json:"statusReason,omitempty"`
	ConnectionStateUpdatedTime string   `json:"connectionStateUpdatedTime,omitempty"`
	LastActivityTime           string   `json:"lastActivityTime,omitempty"`
	Authentication             *proof   `json:"authentication,omitempty"`
	Scope                      string   `json:"deviceScope,omitempty"`
	ParentScopes               []string `json:"parentScopes,omitempty"`
	Capabilities               *struct {
		IoTEdge bool `json:"iotEdge"`
	} `json:"capabilities,omitempty"`
}

type proof struct {
	Type       string      `json:"type,omitempty"`
	Key        *keyPair    `json:"symmetricKey,omitempty"`
	Thumbprint *thumbprint `json:"x509Thumbprint,omitempty"`
}

type keyPair struct {
	Primary   string `json:"primaryKey,omitempty"`
	Secondary string `json:"secondaryKey,omitempty"`
}

type thumbprint struct {
	Primary   string `json:"primaryThumbprint,omitempty"`
	Secondary string `json:"secondaryThumbprint,omitempty"`
}

// devicePath is where the registry keeps an identity.
func devicePath(id, module string) string {
	p := "/devices/" + url.PathEscape(id)
	if module != "" {
		p += "/modules/" + url.PathEscape(module)
	}
	return p
}

func checkID(id string) error {
	if !iot.ValidID(id) {
		return usagef("%q is not a device id: 1 to %d of letters, digits and - . + %% _ # * ? ! ( ) , : = @ $ '", id, iot.MaxIDLen)
	}
	return nil
}

// proofFlags say what an identity proves itself with.
type proofFlags struct {
	Auth                string `name:"auth" enum:",sas,self-signed,ca,none" default:"" placeholder:"sas|self-signed|ca|none" help:"What it proves itself with: a key (default), its own certificate, or one signed by a registered CA."`
	PrimaryKey          string `name:"primary-key" placeholder:"BASE64" help:"Its key instead of a random one."`
	SecondaryKey        string `name:"secondary-key" placeholder:"BASE64" help:"Its second key."`
	PrimaryThumbprint   string `name:"primary-thumbprint" placeholder:"HEX" help:"SHA-1 or SHA-256 of its certificate (DER)."`
	SecondaryThumbprint string `name:"secondary-thumbprint" placeholder:"HEX" help:"Of its second certificate."`
}

var authTypes = map[string]string{"sas": "sas", "self-signed": "selfSigned", "ca": "certificateAuthority", "none": "none"}

// proof gives what the flags ask for; nil when they ask for nothing.
func (f *proofFlags) proof() (*proof, error) {
	p := proof{Type: authTypes[f.Auth]}
	if f.PrimaryKey != "" || f.SecondaryKey != "" {
		if f.PrimaryKey == "" || f.SecondaryKey == "" {
			return nil, usagef("give --primary-key and --secondary-key together")
		}
		p.Key = &keyPair{f.PrimaryKey, f.SecondaryKey}
	}
	if f.PrimaryThumbprint != "" || f.SecondaryThumbprint != "" {
		plain := func(s string) string { return strings.NewReplacer(":", "", " ", "").Replace(s) }
		p.Thumbprint = &thumbprint{plain(f.PrimaryThumbprint), plain(f.SecondaryThumbprint)}
		if p.Type == "" {
			p.Type = "selfSigned"
		}
	}
	if p.Type == "selfSigned" && p.Thumbprint == nil {
		return nil, usagef("--auth self-signed needs --primary-thumbprint: openssl x509 -in device.pem -noout -fingerprint -sha256")
	}
	if p.Type == "" && p.Key == nil {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	return &p, nil
}

type deviceCreateCmd struct {
	ID     string `arg:"" optional:"" help:"Id of the device."`
	Module string `name:"module" placeholder:"ID" help:"Register this module of the device instead."`
	proofFlags
	Disabled bool `name:"disabled" help:"It may not connect yet."`
	Edge     bool `name:"edge" help:"It is an edge device."`

	Count   int    `name:"count" placeholder:"N" group:"Many" help:"Register so many devices."`
	Prefix  string `name:"prefix" default:"dev-" placeholder:"TEXT" group:"Many" help:"Their ids are TEXT0, TEXT1 and so on (${default})."`
	KeysOut string `name:"keys-out" placeholder:"FILE" group:"Many" help:"Write lines \"id base64key\" to this file."`
}

// Run registers.
func (c *deviceCreateCmd) Run(s *session) error {
	if c.Count != 0 {
		if c.ID != "" {
			return usagef("give either an id or --count")
		}
		return c.many(s)
	}
	if c.ID == "" {
		return usagef("which device? dunlin device create ID, or --count N")
	}
	if err := checkID(c.ID); err != nil {
		return err
	}
	p, err := c.proof()
	if err != nil {
		return err
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	if c.Module != "" {
		return c.module(s, cl, p)
	}
	d := device{ID: c.ID, Authentication: p}
	if c.Disabled {
		d.Status = "disabled"
	}
	if c.Edge {
		d.Capabilities = &struct {
			IoTEdge bool `json:"iotEdge"`
		}{true}
	}
	var made json.RawMessage
	err = cl.hub(s.ctx, http.MethodPut, devicePath(c.ID, ""), nil, d, &made)
	if hasCode(err, "DeviceAlreadyExists") {
		return fmt.Errorf("%w; see it with dunlin device show %s, change it with dunlin device update %s", err, c.ID, c.ID)
	}
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(made)
	}
	s.printf("%s registered.\n", c.ID)
	if p == nil || p.Type == "sas" || p.Type == "" {
		s.printf("It connects with: dunlin device connection-string %s\n", c.ID)
	}
	return nil
}

func (c *deviceCreateCmd) module(s *session, cl *client, p *proof) error {
	var made json.RawMessage
	err := cl.hub(s.ctx, http.MethodPut, devicePath(c.ID, c.Module), nil, map[string]any{
		"deviceId": c.ID, "moduleId": c.Module, "authentication": p,
	}, &made)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(made)
	}
	s.printf("%s/%s registered.\n", c.ID, c.Module)
	return nil
}

type deviceShowCmd struct {
	ID     string `arg:"" help:"Id of the device."`
	Module string `name:"module" placeholder:"ID" help:"Show this module of it."`
}

// Run prints a device.
func (c *deviceShowCmd) Run(s *session) error {
	raw, err := s.fetch(c.ID, devicePath(c.ID, c.Module))
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	var d device
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	list := [][2]string{
		{"device", d.ID},
		{"module", c.Module},
		{"status", d.Status},
		{"reason", text(d.StatusReason)},
		{"connection", strings.ToLower(d.ConnectionState) + since(d.ConnectionStateUpdatedTime)},
		{"last activity", ago(parseTime(d.LastActivityTime), time.Now())},
		{"generation", d.Generation},
		{"etag", d.ETag},
	}
	if a := d.Authentication; a != nil {
		list = append(list, [2]string{"proof", a.Type})
		if a.Key != nil {
			list = append(list, [2]string{"primary key", a.Key.Primary}, [2]string{"secondary key", a.Key.Secondary})
		}
		if a.Thumbprint != nil {
			list = append(list, [2]string{"primary thumbprint", a.Thumbprint.Primary}, [2]string{"secondary thumbprint", a.Thumbprint.Secondary})
		}
	}
	if d.Capabilities != nil && d.Capabilities.IoTEdge {
		list = append(list, [2]string{"edge scope", d.Scope})
	}
	return pairs(s.out, list)
}

type deviceUpdateCmd struct {
	ID     string `arg:"" help:"Id of the device."`
	Status string `name:"status" enum:",enabled,disabled" default:"" placeholder:"enabled|disabled" help:"Disabling ends its connection."`
	Reason string `name:"reason" placeholder:"TEXT" help:"Why it has that status."`
	proofFlags
	NewKeys bool `name:"new-keys" help:"Give it new random keys, which ends its connection."`
}

// Run changes a device: it reads it, changes it, and writes it back if nobody
// else has changed it meanwhile.
func (c *deviceUpdateCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	if c.NewKeys {
		if c.PrimaryKey != "" || c.SecondaryKey != "" {
			return usagef("give either --new-keys or the keys")
		}
		c.PrimaryKey, c.SecondaryKey = newKey(), newKey()
	}
	p, err := c.proof()
	if err != nil {
		return err
	}
	if c.Status == "" && c.Reason == "" && p == nil {
		return usagef("nothing to change: see dunlin device update --help")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var d device
	if err := cl.hub(s.ctx, http.MethodGet, devicePath(c.ID, ""), nil, nil, &d); err != nil {
		return notFound(err)
	}
	if c.Status != "" {
		d.Status = c.Status
	}
	if c.Reason != "" {
		d.StatusReason = &c.Reason
	}
	if p != nil {
		d.Authentication = p
	}
	var made json.RawMessage
	if err := cl.hub(s.ctx, http.MethodPut, devicePath(c.ID, ""), map[string]string{"If-Match": `"` + d.ETag + `"`}, d, &made); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(made)
	}
	s.printf("%s changed.\n", c.ID)
	return nil
}

type deviceDeleteCmd struct {
	IDs    []string `arg:"" name:"id" help:"Ids of the devices."`
	Module string   `name:"module" placeholder:"ID" help:"Delete this module of the device instead."`
}

// Run deletes.
func (c *deviceDeleteCmd) Run(s *session) error {
	if c.Module != "" && len(c.IDs) > 1 {
		return usagef("--module belongs to one device")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	for _, id := range c.IDs {
		if err := checkID(id); err != nil {
			return err
		}
		if err := cl.hub(s.ctx, http.MethodDelete, devicePath(id, c.Module), map[string]string{"If-Match": "*"}, nil, nil); err != nil {
			return notFound(err)
		}
		if !s.JSON {
			s.printf("%s deleted.\n", strings.TrimSuffix(id+"/"+c.Module, "/"))
		}
	}
	if s.JSON {
		return s.printJSON(map[string]any{"deleted": c.IDs})
	}
	return nil
}

type deviceConnectionCmd struct {
	ID        string `arg:"" help:"Id of the device."`
	Module    string `name:"module" placeholder:"ID" help:"Of this module of it."`
	Secondary bool   `name:"secondary" help:"With the secondary key."`
	WithPort  bool   `name:"with-port" help:"With the port of MQTT behind the host name, for SDKs that take it from there (Node.js)."`
}

// Run prints the connection string.
func (c *deviceConnectionCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	i, err := cl.info(s.ctx)
	if err != nil {
		return err
	}
	var d device
	if err := cl.hub(s.ctx, http.MethodGet, devicePath(c.ID, c.Module), nil, nil, &d); err != nil {
		return notFound(err)
	}
	host := i.HostName
	_, port, _ := strings.Cut(i.MQTT, host+":")
	switch {
	case c.WithPort && port != "":
		host += ":" + port
	case port != "" && port != "8883" && !s.JSON:
		s.notef("Note: MQTT is on port %s, not 8883; with the Node.js SDK use --with-port.\n", port)
	}
	cs := "HostName=" + host + ";DeviceId=" + c.ID
	if c.Module != "" {
		cs += ";ModuleId=" + c.Module
	}
	switch a := d.Authentication; {
	case a == nil || a.Type == "sas" || a.Type == "":
		if a == nil || a.Key == nil {
			return fmt.Errorf("the instance does not show the keys of %s", c.ID)
		}
		key := a.Key.Primary
		if c.Secondary {
			key = a.Key.Secondary
		}
		cs += ";SharedAccessKey=" + key
	case a.Type == "none":
		return fmt.Errorf("%s has no credentials of its own (authentication none)", c.ID)
	default:
		cs += ";x509=true"
	}
	if s.JSON {
		return s.printJSON(map[string]string{"connectionString": cs})
	}
	s.printf("%s\n", cs)
	return nil
}

type deviceProblemsCmd struct {
	ID string `arg:"" optional:"" help:"Only of this device."`
}

// Run prints refused connects, newest first.
func (c *deviceProblemsCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	path := "/api/problems"
	if c.ID != "" {
		path += "?device=" + url.QueryEscape(c.ID)
	}
	list := []guard.Refusal{}
	if err := cl.admin(s.ctx, http.MethodGet, path, nil, &list); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(list)
	}
	if len(list) == 0 {
		if c.ID != "" {
			s.printf("No connect of %s was refused.\n", c.ID)
			return nil
		}
		s.printf("No connect was refused.\n")
		return nil
	}
	now := time.Now()
	for n, r := range list {
		if n > 0 {
			s.printf("\n")
		}
		who := r.Device
		if who == "" {
			who = "(unknown)"
		}
		if r.Module != "" {
			who += "/" + r.Module
		}
		s.printf("%s from %s over %s: %s, %s, last %s\n  %s\n",
			printable(who), r.Remote, r.Protocol, r.Reason, count(int(r.Count), "time", "times"), ago(r.Last, now), printable(r.Detail))
	}
	return nil
}

// ensureDevice gives the primary key of a device, registering it if need be.
func (c *client) ensureDevice(ctx context.Context, id string) (key string, err error) {
	var d device
	err = c.hub(ctx, http.MethodGet, devicePath(id, ""), nil, nil, &d)
	if hasCode(err, "DeviceNotFound") {
		err = c.hub(ctx, http.MethodPut, devicePath(id, ""), nil, device{ID: id}, &d)
	}
	if err != nil {
		return "", err
	}
	if d.Authentication == nil || d.Authentication.Key == nil {
		return "", fmt.Errorf("the device %s has no key", id)
	}
	return d.Authentication.Key.Primary, nil
}

// notFound says how to go on when an identity is not there.
func notFound(err error) error {
	if hasCode(err, "DeviceNotFound") {
		return fmt.Errorf("%w; dunlin device list shows those that are registered", err)
	}
	return err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// parseTime reads the times of the registry; the zero time is never.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

func since(s string) string {
	if t := parseTime(s); t.Year() > 1 {
		return ", since " + t.Local().Format(time.DateTime)
	}
	return ""
}
