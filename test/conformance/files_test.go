package conformance

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dunlin/test/harness"
)

// TestNodeFiles and TestNodeBlobs hold a row of the compatibility table in each
// of their subtests.
func TestNodeFiles(t *testing.T) { table(t, "files.js", "127.43.10.", "http") }

// TestNodeLargeFile uploads a file that is larger than the server may become.
func TestNodeLargeFile(t *testing.T) {
	t.Parallel()
	const (
		most = 64 << 20 // bytes that the server may take for it
		size = 300_000_000
	)
	s, n := hub(t, "127.43.11.1")
	before := peak(t, s)
	start := time.Now()
	checkTable(t, n, "files.js", map[string]any{
		"service": s.Policy("iothubowner"), "host": s.Info.HostName, "transport": "http", "prefix": "t", "large": true,
	})
	after := peak(t, s)
	t.Logf("uploaded and read again in %s; the server grew by %d MB", time.Since(start).Round(time.Millisecond), (after-before)>>20)
	if after-before > most {
		t.Errorf("the server grew by %d bytes for a file of %d, at most %d are allowed", after-before, size, most)
	}
	out := s.CLI("file", "list", "--json")
	if !strings.Contains(out, `"size":`+strconv.Itoa(size)) {
		t.Errorf("file list: %s", out)
	}
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

var highWater = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB`)

// peak gives the most memory that the server ever held, in bytes.
func peak(t *testing.T, s *harness.Server) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/status")
	if err != nil {
		t.Skipf("this system does not tell: %v", err)
	}
	m := highWater.FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmHWM in %s", b)
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestNodeBlobs: the public client of blobs with addresses that the
// administrator has made.
func TestNodeBlobs(t *testing.T) {
	t.Parallel()
	const name = "blobs.example"
	s, n := hub(t, "127.43.12.1", "--host-aliases", name)
	sas := func(args ...string) string {
		uri := strings.TrimSpace(s.CLI(append([]string{"file", "sas"}, args...)...))
		return strings.Replace(uri, "//"+s.Info.HostName, "//"+name, 1)
	}
	expired := sas("box", "--permissions", "rl", "--expires", "1s")
	time.Sleep(1100 * time.Millisecond)
	if n.redirect != "" {
		n.redirect = strings.Replace(n.redirect, s.Info.HostName, name, 1)
	}
	checkTable(t, n, "blobs.js", map[string]any{
		"name": name, "address": s.Info.HostName, "expired": expired,
		"container": sas("box", "--permissions", "racwdl"), "readOnly": sas("box", "--permissions", "r"),
		"createOnly": sas("box", "--permissions", "c"), "other": sas("boxes", "--permissions", "rw"),
	})
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
