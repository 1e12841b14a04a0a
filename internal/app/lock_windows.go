package app

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

var errLocked = errors.New("app: locked by another process")

func tryLock(f *os.File) error {
	// The lock is mandatory here, so it covers a byte behind the process id.
	at := &windows.Overlapped{Offset: 1 << 20}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return errLocked
	}
	return err
}
