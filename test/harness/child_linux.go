package harness

import "syscall"

// childAttr ends a started process when the test process dies, so that a
// timeout of go test leaves nothing behind.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
