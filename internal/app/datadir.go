package app

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The layout of the data directory.
const (
	lockFile  = "LOCK"          // held while an instance runs; its process id
	pkiDir    = "pki"           // local authority and server certificate
	logDir    = "log"           // event log
	stateFile = "state/main.db" // SQLite
	blobDir   = "blobs"         // files of devices
	runDir    = "run"           // how to reach the running instance
)

// dataDir is the data directory of a running instance, locked against others.
type dataDir struct {
	path string
	lock *os.File
}

// InUseError says that another instance holds a data directory.
type InUseError struct {
	Dir string
	PID int // 0 when not known
}

func (e *InUseError) Error() string {
	who := "another instance"
	if e.PID > 0 {
		who = fmt.Sprintf("another instance (pid %d)", e.PID)
	}
	return fmt.Sprintf("%s uses the data directory %s: stop it, or choose another directory with --data", who, e.Dir)
}

// openDataDir makes the directory when missing and takes it for this process.
// The lock goes when the process ends, however it ends.
func openDataDir(path string) (*dataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, unwritable(path, err)
	}
	f, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, unwritable(path, err)
	}
	if err := takeLock(f); err != nil {
		pid := readPID(f)
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, &InUseError{Dir: path, PID: pid}
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", path, err)
	}
	d := &dataDir{path: path, lock: f}
	if err := d.prepare(); err != nil {
		f.Close()
		return nil, unwritable(path, err)
	}
	return d, nil
}

// takeLock tries for a moment: a program that looks whether an instance runs
// holds the lock for an instant.
func takeLock(f *os.File) error {
	const (
		attempts = 5
		pause    = 20 * time.Millisecond
	)
	t := time.NewTicker(pause)
	defer t.Stop()
	for n := 1; ; n++ {
		err := tryLock(f)
		if !errors.Is(err, errLocked) || n == attempts {
			return err
		}
		<-t.C
	}
}

// prepare writes the process id and makes the parts that files are put in,
// which also finds out now, and not at the first message, if the directory
// cannot be written.
func (d *dataDir) prepare() error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	for _, sub := range []string{runDir, filepath.Dir(stateFile), logDir} {
		if err := os.MkdirAll(d.join(sub), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (d *dataDir) join(name string) string { return filepath.Join(d.path, filepath.FromSlash(name)) }

func (d *dataDir) close() error { return d.lock.Close() }

func readPID(f *os.File) int {
	b := make([]byte, 32)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return 0
	}
	return pid
}

func unwritable(path string, err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = pe.Err
	}
	return fmt.Errorf("the data directory %s cannot be written (%w): give the user that runs dunlin write permission, or choose another directory with --data", path, err)
}
