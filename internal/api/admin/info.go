package admin

import (
	"net/http"
)

// Info says how to reach a running instance. Programs rely on its JSON keys:
// add, never rename.
type Info struct {
	HostName string       `json:"hostName"`
	CAFile   string       `json:"caFile"` // on the machine of the instance
	HTTPS    string       `json:"https"`
	MQTT     string       `json:"mqtt"`
	Plain    string       `json:"mqttPlain,omitempty"`
	Console  string       `json:"console"`
	Metrics  string       `json:"metrics,omitempty"`
	Hub      HubInfo      `json:"hub"`
	EventHub EventHubInfo `json:"eventHub"`
	Admin    AccessInfo   `json:"admin"`
	Version  string       `json:"version"`
	PID      int          `json:"pid"`
	DataDir  string       `json:"dataDir"`
	Warnings []string     `json:"warnings,omitempty"`
}

// HubInfo holds the hub's connection strings by policy name, in the spelling of
// the surface: iothubowner, service, device, registryRead, registryReadWrite.
type HubInfo struct {
	Name              string            `json:"name"`
	ConnectionStrings map[string]string `json:"connectionStrings"`
	Profile           string            `json:"profile"`           // of size limits: strict or open
	Indexes           []string          `json:"indexes,omitempty"` // members of twins that queries find fast
	Tier              *TierInfo         `json:"tier,omitempty"`    // nil: rates and daily messages are not limited
}

// TierInfo is what a hub with a tier may do in a day, and has done today.
type TierInfo struct {
	Name     string `json:"name"` // with its units
	Messages int64  `json:"messages"`
	Limit    int64  `json:"limit"`
}

// EventHubInfo is the Event Hubs-compatible endpoint.
type EventHubInfo struct {
	ConnectionString string `json:"connectionString"`
	Name             string `json:"name"`
	Partitions       int    `json:"partitions"`
}

// AccessInfo holds the secret of this surface.
type AccessInfo struct {
	Token string `json:"token"`
}

func (s *server) info(w http.ResponseWriter, r *http.Request) {
	i, err := s.deps.Info(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, r, i)
}
