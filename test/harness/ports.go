package harness

import (
	"math/rand/v2"
	"sync"
)

// Ports are handed out once each, from a random start, so that test processes
// that run side by side rarely meet.
const firstPort, lastPort = 12000, 31999

var ports = struct {
	sync.Mutex
	next int
}{next: firstPort + rand.IntN(lastPort-firstPort)}

func nextPort() int {
	ports.Lock()
	defer ports.Unlock()
	ports.next++
	if ports.next > lastPort {
		ports.next = firstPort
	}
	return ports.next
}
