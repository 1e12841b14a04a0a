package cli

import (
	"os"
	"strings"
	"syscall"
)

// diskSpace gives what is free for this user, and the whole.
func diskSpace(path string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// fileLimit is how many files a process may have open; it raises its soft
// limit to this hard one.
func fileLimit() (uint64, error) {
	var r syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r)
	return r.Max, err
}

// clockSynced asks the kernel whether a time service keeps the clock. Inside a
// container the answer is not to be had.
func clockSynced() (known, synced bool) {
	if b, err := os.ReadFile("/proc/1/cgroup"); err != nil || strings.Contains(string(b), "docker") || exists("/.dockerenv") {
		return false, false
	}
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	const timeError = 5
	return err == nil, state != timeError
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
