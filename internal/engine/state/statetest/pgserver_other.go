//go:build !linux

package statetest

import "syscall"

func dieWithParent(*syscall.SysProcAttr) {}
