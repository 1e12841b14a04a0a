//go:build unix

package natslog

import "syscall"

// diskSpace gives the bytes free to this process and the size of the disk
// that dir is on.
func diskSpace(dir string) (free, total int64, err error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	size := int64(s.Bsize) //nolint:unconvert // narrower on other systems
	return int64(s.Bavail) * size, int64(s.Blocks) * size, nil
}
