package conformance

import (
	"strings"
	"testing"
)

// TestNodeTransfers imports and exports identities with the service SDK, from
// and to a container of the hub itself.
func TestNodeTransfers(t *testing.T) {
	t.Parallel()
	for i, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s, n := hub(t, "127.43.16."+string(rune('1'+i)), store.args(t)...)
			checkTable(t, n, "transfers.js", map[string]any{
				"service": s.Policy("iothubowner"), "host": s.Info.HostName, "transport": "https", "prefix": "t",
				"container": strings.TrimSpace(s.CLI("file", "sas", "box", "--permissions", "racwdl")),
			})
			if err := s.Stop(); err != nil {
				t.Errorf("SIGTERM: %v", err)
			}
		})
	}
}
