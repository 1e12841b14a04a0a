package access

import (
	"net"
	"slices"
	"strings"
)

// Hosts are the names that a hub answers to, without ports, in lower case.
// The first is its own name; the others are aliases, as devices behind a
// gateway or a proxy may spell it in another way.
type Hosts struct{ names []string }

// NewHosts takes the names of a hub; the first one must be there. Empty names
// and repetitions are dropped.
func NewHosts(names ...string) Hosts {
	var h Hosts
	for _, n := range names {
		if n = bare(n); n != "" && !slices.Contains(h.names, n) {
			h.names = append(h.names, n)
		}
	}
	return h
}

// Match reports whether host, with or without a port, names this hub. A client
// that gives no host means this hub.
func (h Hosts) Match(host string) bool {
	if host == "" {
		return true
	}
	if slices.Contains(h.names, host) { // the usual spelling, without the cost of taking it apart
		return true
	}
	return slices.Contains(h.names, bare(host))
}

// Name is the hub's own name.
func (h Hosts) Name() string {
	if len(h.names) == 0 {
		return ""
	}
	return h.names[0]
}

// String lists the names for the texts of errors.
func (h Hosts) String() string { return strings.Join(h.names, ", ") }

// bare takes off the port and the brackets of an IPv6 address.
func bare(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
