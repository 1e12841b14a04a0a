package robust

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dunlin/test/harness"
)

// ownDisks reports whether this process may mount. Where it may not, the test
// is run once more by a child that is root in a user namespace of its own.
func ownDisks(t *testing.T) bool {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the disk is a Linux tmpfs; the Linux run covers this")
	}
	if os.Geteuid() == 0 {
		return true
	}
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // this very program
	out, err := cmd.CombinedOutput()
	t.Logf("in a user namespace:\n%s", out)
	if err != nil {
		t.Fatalf("%v: this test mounts a small tmpfs; where user namespaces are switched off it needs root", err)
	}
	return false
}

// disk mounts a small file system of its own for a test.
func disk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size+",mode=700", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// fill writes a file that leaves only rest bytes free.
func fill(t *testing.T, dir string, rest int64) (remove func()) {
	t.Helper()
	name := filepath.Join(dir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		free, err := freeBytes(dir)
		if err != nil {
			t.Fatal(err)
		}
		if free <= rest {
			break
		}
		if _, err := f.Write(block[:min(int64(len(block)), free-rest)]); err != nil {
			break
		}
	}
	return func() { os.Remove(name) }
}

// TestFullDisk: when the disk is full a device waits or is refused, nothing
// that was acknowledged is lost, the log and metrics say why, and when there
// is room again everything goes on by itself.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if !ownDisks(t) {
		return
	}
	dir := disk(t, "96m")
	s := harness.Start(t, harness.Options{Dir: filepath.Join(dir, "data"), Plain: true})
	var senders []*sender
	for i := range 4 {
		d := newSender(t, s, fmt.Sprintf("disk-%d", i), true)
		d.pad = 8 << 10
		senders = append(senders, d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	stop, done := make(chan struct{}), make(chan error, len(senders))
	for _, d := range senders {
		go func() { done <- d.run(ctx, stop) }()
	}
	acked := func() (n int) {
		for _, d := range senders {
			_, a, _ := d.counts()
			n += a
		}
		return n
	}
	waitFor(t, "the first acknowledgements", 20*time.Second, func() bool { return acked() > 100 })
	remove := fill(t, dir, 6<<20)
	before := -1
	waitFor(t, "a standstill on the full disk", time.Minute, func() bool {
		n := acked()
		still := n == before
		before = n
		time.Sleep(3 * time.Second)
		return still
	})
	full := acked()
	if s.Exited() {
		t.Fatalf("the server ended on a full disk: %v", s.Wait(0))
	}
	if log := strings.ToLower(s.Log()); !strings.Contains(log, "no space") && !strings.Contains(log, "disk") {
		t.Errorf("the log does not say that the disk is full:\n%s", s.Log())
	}
	if n := s.Metric("dunlin_log_stalls_total", `reason="disk_full"`); n == 0 {
		t.Error("dunlin_log_stalls_total does not count the full disk")
	}
	remove()
	waitFor(t, "acknowledgements after there is room again", time.Minute, func() bool { return acked() > full+100 })
	close(stop)
	for range senders {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	checkLog(t, s.Tail("--source", "all"), senders)
	if err := s.Stop(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}

// TestKilledOnFullDisk: a server that is killed on a full disk has kept what
// it acknowledged.
func TestKilledOnFullDisk(t *testing.T) {
	t.Parallel()
	if !ownDisks(t) {
		return
	}
	dir := disk(t, "64m")
	s := harness.Start(t, harness.Options{Dir: filepath.Join(dir, "data"), Plain: true})
	d := newSender(t, s, "disk", true)
	d.pad = 4 << 10
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- d.run(ctx, stop) }()
	acked := func() int { _, a, _ := d.counts(); return a }
	waitFor(t, "the first acknowledgements", 20*time.Second, func() bool { return acked() > 50 })
	remove := fill(t, dir, 3<<20)
	before := -1
	waitFor(t, "a standstill on the full disk", time.Minute, func() bool {
		n := acked()
		still := n == before
		before = n
		time.Sleep(2 * time.Second)
		return still
	})
	s.Kill()
	remove()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	checkLog(t, s.Tail("--source", "all"), []*sender{d})
}

// TestReadOnlyDataDirectory: the start is refused with the directory and what
// to do about it.
func TestReadOnlyDataDirectory(t *testing.T) {
	t.Parallel()
	if !ownDisks(t) {
		return
	}
	dir := disk(t, "32m")
	if out, err := exec.Command("mount", "-i", "-t", "tmpfs", "-o", "remount,ro", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	refusedStart(t, harness.Options{Dir: dir}, dir, "read-only", "--data")
}

// waitFor waits until cond holds.
func waitFor(t *testing.T, what string, d time.Duration, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s for %s", d, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// refusedStart starts a server that must not come up and checks its words.
func refusedStart(t *testing.T, o harness.Options, words ...string) {
	t.Helper()
	s := harness.New(t, o)
	if err := s.Launch(); err != nil {
		t.Fatal(err)
	}
	err := s.Wait(20 * time.Second)
	if err == nil || !s.Exited() {
		t.Fatalf("the start was not refused: %v", err)
	}
	for _, w := range words {
		if !strings.Contains(s.Log(), w) {
			t.Errorf("the message does not say %q:\n%s", w, s.Log())
		}
	}
	if strings.Contains(s.Log(), "goroutine ") || strings.Contains(s.Log(), "panic:") {
		t.Errorf("a panic where a message belongs:\n%s", s.Log())
	}
}
