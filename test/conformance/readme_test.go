package conformance

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/test/harness"
)

// TestReadme runs the JavaScript of the README as it stands there.
func TestReadme(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "```js\n")
	js, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the README has no JavaScript")
	}
	file := filepath.Join(t.TempDir(), "send.js")
	if err := os.WriteFile(file, []byte(js), 0o600); err != nil {
		t.Fatal(err)
	}
	s := harness.Start(t, harness.Options{})
	s.CLI("device", "create", "thermo")
	modules, err := filepath.Abs("node/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "--no-deprecation", file)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "CA="+s.Info.CAFile,
		"DEVICE="+strings.TrimSpace(s.CLI("device", "connection-string", "thermo", "--with-port")))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	events := s.Tail("--device", "thermo")
	if len(events) != 1 || string(events[0].Body) != `{"temperature":21.5}` || events[0].Properties["room"] != "kitchen" {
		t.Errorf("the log has %+v", events)
	}
}
