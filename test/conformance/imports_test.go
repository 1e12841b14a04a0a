package conformance

import (
	"strings"
	"testing"
)

// TestNodeImports imports modules and keys with the service SDK, also with the
// right of the hub over its own containers.
func TestNodeImports(t *testing.T) {
	t.Parallel()
	for i, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			s, n := hub(t, "127.43.19."+string(rune('1'+i)), store.args(t)...)
			container := strings.TrimSpace(s.CLI("file", "sas", "imports", "--permissions", "rwdl"))
			plain, _, _ := strings.Cut(container, "?")
			checkTable(t, n, "imports.js", map[string]any{
				"service": s.Policy("iothubowner"), "host": s.Info.HostName, "transport": "http", "prefix": "t", "container": container, "plain": plain,
			})
			if err := s.Stop(); err != nil {
				t.Errorf("SIGTERM: %v", err)
			}
		})
	}
}
