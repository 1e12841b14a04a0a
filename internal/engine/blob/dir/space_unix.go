//go:build unix

package dir

import (
	"errors"
	"syscall"
)

// diskSpace gives the bytes free to this process and the size of the disk that
// path is on.
func diskSpace(path string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, 0, err
	}
	size := int64(s.Bsize) //nolint:unconvert // narrower on other systems
	return int64(s.Bavail) * size, int64(s.Blocks) * size, nil
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
