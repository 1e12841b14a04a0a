package natslog

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/eventlogtest"
)

const fullDisk = "DUNLIN_TEST_FULL_DISK"

// TestFullDisk runs TestOnSmallDisk in a process with a small disk of its
// own: a tmpfs in a mount namespace.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnSmallDisk$", "-test.v")
	cmd.Env = append(os.Environ(), fullDisk+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestOnSmallDisk")) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// TestOnSmallDisk is the other half of TestFullDisk.
func TestOnSmallDisk(t *testing.T) {
	dir := os.Getenv(fullDisk)
	if dir == "" {
		return // TestFullDisk starts it
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	for name, reserve := range map[string]int64{
		"held back in time": 4 << 20, // the log stops before the disk is full
		"write errors":      1,       // it does not: the store meets the end of the disk
	} {
		t.Run(name, func(t *testing.T) {
			if err := syscall.Mount("dunlin", dir, "tmpfs", 0, "size=24m"); err != nil {
				t.Fatal(err)
			}
			defer syscall.Unmount(dir, syscall.MNT_DETACH)
			fillDisk(t, dir, reserve)
		})
	}
}

func fillDisk(t *testing.T, dir string, reserve int64) {
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Dir: filepath.Join(dir, "log"), Reserve: reserve, MaxHeld: 1 << 20, AckWait: 300 * time.Millisecond}
	l := open(t, cfg)
	w := eventlogtest.NewWaiter()
	p := l.Producer(0, w)
	n := 0
	data := func(n int) []byte { return fmt.Appendf(bytes.Repeat([]byte{'.'}, 2000), "%d", n) }
	append1 := func() bool {
		ok := p.Append(int64(n), [][]byte{data(n)})
		n++
		return ok
	}
	// Until producers have to wait and nothing becomes durable any more.
	full := func() bool {
		l.a.mu.Lock()
		defer l.a.mu.Unlock()
		return l.a.full || l.a.inflight != nil && l.a.inflight.tries > 3
	}
	for start := time.Now(); !full(); {
		if time.Since(start) > 20*time.Second {
			t.Fatal("the disk does not become full")
		}
		if !append1() {
			time.Sleep(10 * time.Millisecond)
		}
	}
	before, failed, err := w.Settled()
	if failed != 0 || before == 0 {
		t.Fatalf("%d settled, %d failed: %v", before, failed, err)
	}
	t.Logf("full with %d records durable of %d appended", before, n)
	// What is durable stays readable.
	got := 0
	for r, err := range l.Read(t.Context(), 0, eventlog.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Data, data(got)) {
			t.Fatalf("record %d differs", got)
		}
		got++
	}
	if got < before {
		t.Fatalf("%d records can be read, %d are durable", got, before)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.Wait(t, n)
	for start := time.Now(); !append1(); {
		if time.Since(start) > 10*time.Second {
			t.Fatal("producers still have to wait")
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.Wait(t, n)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// The next start finds a disk without a free byte.
	for size := 1 << 20; size > 0; {
		f, err := os.OpenFile(ballast, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
		f.Close()
	}
	l = open(t, cfg)
	defer l.Close()
	got = 0
	for r, err := range l.Read(t.Context(), 0, eventlog.ReadOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Sequence != int64(got) || !bytes.Equal(r.Data, data(got)) {
			t.Fatalf("record %d differs", got)
		}
		got++
	}
	if got != n {
		t.Fatalf("%d records in the log, want %d", got, n)
	}
	w = eventlogtest.NewWaiter()
	if l.Producer(0, w).Append(1, [][]byte{{1}}) {
		t.Error("a log on a full disk does not tell producers to wait")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	w.Wait(t, 1)
}
