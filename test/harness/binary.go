package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

var build = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("DUNLIN_BIN"); bin != "" {
		return bin, nil
	}
	dir, err := os.MkdirTemp("", "dunlin-bin-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "dunlin")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/dunlin")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/dunlin: %w\n%s", err, out)
	}
	return bin, nil
})

// Binary gives the path of the program under test: the one that DUNLIN_BIN
// names (make test sets it), else one built now, once for the test process.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Main runs the tests of a package and removes a binary that was built for it.
// m is a *testing.M, or what runs one.
func Main(m interface{ Run() int }) {
	code := m.Run()
	if os.Getenv("DUNLIN_BIN") == "" {
		if bin, err := build(); err == nil {
			os.RemoveAll(filepath.Dir(bin))
		}
	}
	os.Exit(code)
}

// Root is the directory of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// MachineTemperature is the recording of a real machine that the tests send.
func MachineTemperature() string {
	return filepath.Join(Root(), "samples", "machine-temperature", "machine_temperature_system_failure.csv")
}
