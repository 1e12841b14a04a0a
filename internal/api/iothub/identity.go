package iothub

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// deviceJSON is a device as this surface writes it.
type deviceJSON struct {
	DeviceID                   string         `json:"deviceId"`
	GenerationID               string         `json:"generationId"`
	ETag                       string         `json:"etag"`
	ConnectionState            string         `json:"connectionState"`
	Status                     string         `json:"status"`
	StatusReason               *string        `json:"statusReason"`
	ConnectionStateUpdatedTime string         `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string         `json:"statusUpdatedTime"`
	LastActivityTime           string         `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int            `json:"cloudToDeviceMessageCount"`
	Authentication             authentication `json:"authentication"`
	Capabilities               capabilities   `json:"capabilities"`
	DeviceScope                string         `json:"deviceScope,omitempty"`
	ParentScopes               []string       `json:"parentScopes"`
}

// moduleJSON is a module as this surface writes it.
type moduleJSON struct {
	ModuleID                   string         `json:"moduleId"`
	DeviceID                   string         `json:"deviceId"`
	ManagedBy                  *string        `json:"managedBy"`
	GenerationID               string         `json:"generationId"`
	ETag                       string         `json:"etag"`
	ConnectionState            string         `json:"connectionState"`
	ConnectionStateUpdatedTime string         `json:"connectionStateUpdatedTime"`
	LastActivityTime           string         `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int            `json:"cloudToDeviceMessageCount"`
	Authentication             authentication `json:"authentication"`
}

type authentication struct {
	SymmetricKey   symmetricKey   `json:"symmetricKey"`
	X509Thumbprint x509Thumbprint `json:"x509Thumbprint"`
	Type           string         `json:"type"`
}

type symmetricKey struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

type x509Thumbprint struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

type capabilities struct {
	IotEdge bool `json:"iotEdge"`
}

const never = "0001-01-01T00:00:00"

func timeText(t time.Time) string {
	if t.IsZero() {
		return never
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

func connectionState(connected bool) string {
	if connected {
		return "Connected"
	}
	return "Disconnected"
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func keyText(key []byte) *string {
	if len(key) == 0 {
		return nil
	}
	s := base64.StdEncoding.EncodeToString(key)
	return &s
}

func secretsOut(s *registry.Secrets) authentication {
	return authentication{
		SymmetricKey:   symmetricKey{keyText(s.PrimaryKey), keyText(s.SecondaryKey)},
		X509Thumbprint: x509Thumbprint{optional(s.PrimaryThumbprint), optional(s.SecondaryThumbprint)},
		Type:           s.Proof.String(),
	}
}

func deviceOut(d *registry.Device) deviceJSON {
	parents := d.ParentScopes
	if parents == nil {
		parents = []string{}
	}
	return deviceJSON{
		DeviceID: d.ID, GenerationID: strconv.FormatUint(d.Generation, 10), ETag: d.ETag,
		ConnectionState: connectionState(d.Connected), Status: d.Status.String(), StatusReason: d.StatusReason,
		ConnectionStateUpdatedTime: timeText(d.Since), StatusUpdatedTime: timeText(d.StatusSince), LastActivityTime: timeText(d.Last),
		CloudToDeviceMessageCount: d.Messages,
		Authentication:            secretsOut(&d.Secrets), Capabilities: capabilities{d.Edge}, DeviceScope: d.Scope, ParentScopes: parents,
	}
}

func moduleOut(m *registry.Module) moduleJSON {
	return moduleJSON{
		ModuleID: m.ID.Module, DeviceID: m.ID.Device, ManagedBy: optional(m.ManagedBy),
		GenerationID: strconv.FormatUint(m.Generation, 10), ETag: m.ETag,
		ConnectionState: connectionState(m.Connected), ConnectionStateUpdatedTime: timeText(m.Since), LastActivityTime: timeText(m.Last),
		CloudToDeviceMessageCount: m.Messages,
		Authentication:            secretsOut(&m.Secrets),
	}
}

// deviceIn is what a caller may set of a device. Members that are absent or
// null keep what is there, except statusReason, which null clears.
type deviceIn struct {
	Status         *string         `json:"status"`
	StatusReason   json.RawMessage `json:"statusReason"`
	Authentication *secretsIn      `json:"authentication"`
	Capabilities   *struct {
		IotEdge *bool `json:"iotEdge"`
	} `json:"capabilities"`
	DeviceScope  *string   `json:"deviceScope"`
	ParentScopes *[]string `json:"parentScopes"`
}

type secretsIn struct {
	Type           *string         `json:"type"`
	SymmetricKey   *symmetricKey   `json:"symmetricKey"`
	X509Thumbprint *x509Thumbprint `json:"x509Thumbprint"`
}

func (in *secretsIn) spec() (*registry.SecretsSpec, error) {
	if in == nil {
		return nil, nil //nolint:nilnil // nothing is asked for
	}
	spec := &registry.SecretsSpec{}
	if in.Type != nil && *in.Type != "" {
		p, err := registry.ParseProof(*in.Type)
		if err != nil {
			return nil, err
		}
		spec.Proof = &p
	}
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return *s
	}
	if k := in.SymmetricKey; k != nil {
		spec.PrimaryKey, spec.SecondaryKey = text(k.PrimaryKey), text(k.SecondaryKey)
	}
	if t := in.X509Thumbprint; t != nil {
		spec.PrimaryThumbprint, spec.SecondaryThumbprint = text(t.PrimaryThumbprint), text(t.SecondaryThumbprint)
	}
	return spec, nil
}

func (in *deviceIn) spec(id string) (registry.DeviceSpec, error) {
	spec := registry.DeviceSpec{ID: id, Scope: in.DeviceScope, ParentScopes: in.ParentScopes}
	if in.Status != nil {
		s, err := registry.ParseStatus(*in.Status)
		if err != nil {
			return spec, err
		}
		spec.Status = &s
	}
	if in.StatusReason != nil {
		var reason *string
		if err := json.Unmarshal(in.StatusReason, &reason); err != nil {
			return spec, iot.Errorf(iot.ArgumentInvalid, "statusReason has the wrong JSON type, a text is needed")
		}
		spec.StatusReason = &reason
	}
	if in.Capabilities != nil {
		spec.Edge = in.Capabilities.IotEdge
	}
	var err error
	spec.Secrets, err = in.Authentication.spec()
	return spec, err
}
