package apptest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"testing"
	"time"

	"dunlin/test/harness"
)

// TestHandshakeProblems: why a client gets no further than TLS is told for the
// port of HTTPS and WebSockets as it is for that of MQTT.
func TestHandshakeProblems(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for i, addr := range []string{s.HTTPSAddr(), s.MQTTAddr()} {
		// From two addresses, as what comes from one is told together.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i))}}
		nc, err := d.DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		// It trusts no CA at all.
		if err := tls.Client(nc, &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}).HandshakeContext(t.Context()); err == nil {
			t.Errorf("%s is trusted", addr)
		}
		nc.Close()
	}
	found := map[string]bool{}
	for end := time.Now().Add(10 * time.Second); len(found) < 2 && time.Now().Before(end); {
		var list []struct{ Reason, Protocol, Detail string }
		if err := json.Unmarshal([]byte(s.CLI("device", "problems", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			if p.Reason == "untrusted_server" && p.Detail != "" {
				found[p.Protocol] = true
			}
		}
	}
	if !found["HTTPS"] || !found["TLS"] {
		t.Errorf("device problems tells of %v", found)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
