//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it measures with /proc and epoll and runs on Linux only")
	os.Exit(1)
}
