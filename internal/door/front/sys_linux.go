//go:build !ordinarysyscalls

package front

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three calls of the hot path go to the kernel without telling the
// runtime. An ordinary system call of a process that was idle wakes the
// runtime's monitor thread, which costs as much again as the call. It is
// allowed because none of the three can block: MSG_DONTWAIT for the sockets,
// timeout 0 for the epoll set. Build with -tags ordinarysyscalls for the same
// calls through the runtime.

// sysRecv reads what is there into p, which must not be empty.
func sysRecv(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sysSend writes as much of p as the socket takes. p must not be empty.
func sysSend(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sysPoll fetches the events that are there; it does not wait.
func sysPoll(epfd int, events []unix.EpollEvent) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
