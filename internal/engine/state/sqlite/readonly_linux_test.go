package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dunlin/internal/engine/state/sqlite"
)

// asNobody runs f with the rights of an ordinary user on files: root may
// write everywhere, so that tests run as root would show nothing.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan error)
	go func() {
		// The rights belong to this thread, which ends with the goroutine.
		runtime.LockOSThread()
		if _, err := unix.SetfsuidRetUid(65534); err != nil {
			done <- err
			return
		}
		f()
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyDirectoryAndFile(t *testing.T) {
	dir, err := os.MkdirTemp("", "dunlin-ro-") //nolint:usetesting // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700); _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "state.db")
	fill(t, path, 10)
	for _, c := range []struct {
		what      string
		dir, file os.FileMode
		names     string
	}{
		{"directory", 0o555, 0o444, dir},
		{"file", 0o777, 0o444, path},
		{"file that cannot be read", 0o777, 0o000, path},
	} {
		if err := errors.Join(os.Chmod(dir, c.dir), os.Chmod(path, c.file)); err != nil {
			t.Fatal(err)
		}
		asNobody(t, func() {
			db, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
			if err == nil {
				_ = db.Close()
				t.Errorf("read-only %s: it was opened", c.what)
				return
			}
			if !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), syscall.EACCES.Error()) || !strings.Contains(err.Error(), "the right to") {
				t.Errorf("read-only %s: the error does not say what to do: %v", c.what, err)
			}
		})
	}
}

// TestFullDisk fills a small file system for real. It needs the right to
// mount; without it TestFullAndRecovery shows the same by a limit of SQLite.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Log("no right to mount a small file system here")
			return
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	fullDisk(t, dir)
}
