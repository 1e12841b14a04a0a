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
