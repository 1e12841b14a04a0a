//go:build unix

package statetest

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// KillPostgresBackends ends every connection of clients to the shared server
// the hard way, by SIGTERM to the processes that serve them, as an operator or
// a failover would. Tests that run beside this one lose theirs too.
func KillPostgresBackends(tb testing.TB) {
	tb.Helper()
	if shared.cmd == nil || shared.cmd.Process == nil {
		tb.Fatal("the PostgreSQL server was not started")
	}
	parent := shared.cmd.Process.Pid
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		tb.Fatal(err)
	}
	killed := 0
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		// pid (command) state ppid: the command may hold anything.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')'):]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		title, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || !strings.Contains(string(title), " [local] ") {
			continue // a process of the server itself
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGTERM); err == nil {
			killed++
		}
	}
	if killed == 0 {
		tb.Fatal("no connection was ended")
	}
}
