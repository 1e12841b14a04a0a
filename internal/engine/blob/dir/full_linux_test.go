package dir

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"dunlin/internal/engine/blob"
)

const smallDisk = "DUNLIN_TEST_SMALL_BLOBS"

// TestFullDisk runs TestOnSmallDisk in a process with a small disk of its own:
// a tmpfs in a mount namespace.
func TestFullDisk(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnSmallDisk$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
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
}

// TestOnSmallDisk is the other half of TestFullDisk.
func TestOnSmallDisk(t *testing.T) {
	path := os.Getenv(smallDisk)
	if path == "" {
		return // TestFullDisk starts it
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("dunlin", path, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(path, syscall.MNT_DETACH)
	s := open(t, path) // a reserve of one byte: the disk itself refuses
	defer s.Close()
	if err := s.MakeContainer(t.Context(), "box"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "kept", "kept")
	ref := blob.Ref{Container: "box", Name: "big"}
	write := func(n zeros) error {
		_, err := s.Put(t.Context(), ref, &n, blob.WriteOptions{})
		return err
	}
	if err := write(16 << 20); !errors.Is(err, blob.ErrFull) || !strings.Contains(err.Error(), path) {
		t.Errorf("a blob larger than the disk: %v", err)
	}
	var staged []blob.BlockRef
	var err error
	for id := 'a'; err == nil && id <= 'z'; id++ {
		n := zeros(1 << 20)
		if _, err = s.Stage(t.Context(), ref, string(id), &n, 0); err == nil {
			staged = append(staged, blob.BlockRef{ID: string(id)})
		}
	}
	if !errors.Is(err, blob.ErrFull) || len(staged) < 4 {
		t.Errorf("after %d blocks: %v", len(staged), err)
	}
	// The blocks that were taken make a blob all the same: they are not copied.
	if p, err := s.Commit(t.Context(), ref, staged, blob.WriteOptions{}); err != nil || p.Size != int64(len(staged))<<20 {
		t.Errorf("commit: %+v, %v", p, err)
	}
	if _, err := s.Head(t.Context(), blob.Ref{Container: "box", Name: "kept"}); err != nil {
		t.Error(err)
	}
	if err := s.Delete(t.Context(), ref, blob.Condition{}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := write(4 << 20); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	if list, err := s.entries(tmpDir); err != nil || len(list) > 0 {
		t.Errorf("tmp holds %v, %v", list, err)
	}
}
