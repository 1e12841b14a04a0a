//go:build unix && !linux

package statetest

import "syscall"

func dieWithParent(*syscall.SysProcAttr) {}
