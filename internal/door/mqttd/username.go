package mqttd

import (
	"net/url"
	"strings"

	"dunlin/internal/iot"
)

// identity is what the username of a CONNECT says.
type identity struct {
	host    string // as the device spells it, port included
	id      iot.ID
	model   string
	product string // DeviceClientType
}

// parseUsername reads {hub}/{device}[/{module}][/][?param&param]. Ids are not
// escaped and may themselves hold a question mark, so the parameters begin at
// the first "/?". Older clients write {hub}/{device}/api-version=... without
// the question mark, or no parameters at all.
func parseUsername(s string) (identity, *iot.Error) {
	head, query, found := strings.Cut(s, "/?")
	if !found {
		if i := strings.LastIndex(s, "/api-version="); i >= 0 {
			head, query = s[:i], s[i+1:]
		}
	}
	parts := strings.Split(strings.TrimSuffix(head, "/"), "/")
	if len(parts) < 2 || len(parts) > 3 {
		return identity{}, iot.Errorf(iot.ArgumentInvalid,
			"the MQTT username must be {hub}/{device}/?api-version=2021-04-12 or {hub}/{device}/{module}/?api-version=2021-04-12, got %d segments", len(parts))
	}
	u := identity{host: parts[0], id: iot.ID{Device: parts[1]}}
	if len(parts) == 3 {
		u.id.Module = parts[2]
	}
	for name := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(name, "=")
		decoded, err := url.PathUnescape(value)
		if err != nil {
			return identity{}, iot.Errorf(iot.ArgumentInvalid,
				"parameter %q of the MQTT username has a bad percent escape", name)
		}
		switch name {
		case "model-id":
			u.model = decoded
		case "DeviceClientType":
			u.product = decoded
		}
	}
	return u, nil
}

// checkClientID compares the client id with the username: {device} or
// {device}/{module}.
func (u *identity) checkClientID(clientID string) *iot.Error {
	if clientID == u.id.String() {
		return nil
	}
	return iot.Errorf(iot.ArgumentInvalid,
		"the MQTT client id must be %q, the identity of the username, not %q", u.id, clientID)
}
