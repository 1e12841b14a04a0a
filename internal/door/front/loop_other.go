//go:build !linux

package front

import "net"

// newLoops has no engine for this system: goroutines serve the listener.
func newLoops(*Server, net.Listener) (engine, error) { return nil, nil }
