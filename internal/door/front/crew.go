package front

import "sync"

// A crew runs short jobs on goroutines that it keeps: what a session does off
// the loop, authentication above all, grows a stack by many kilobytes, and a
// goroutine of its own for each job would grow it anew each time. It also
// bounds how many run at once; more wait in line.
type crew struct {
	mu      sync.Mutex
	line    []func()
	workers int
	idle    int
	wake    chan struct{} // a token for each idle worker that has work to take
}

// Sizes of a crew: jobs at a time, and workers kept when there are none.
const (
	crewMost = 64
	crewKeep = 16
)

func newCrew() crew { return crew{wake: make(chan struct{}, crewMost)} }

// do has fn run soon; it reports false, and does not run fn, once the server
// has ended.
func (c *crew) do(s *Server, fn func()) bool {
	c.mu.Lock()
	c.line = append(c.line, fn)
	switch {
	case c.idle > 0:
		c.idle--
		c.wake <- struct{}{} // it has room: under the lock, so that idle and tokens agree
		c.mu.Unlock()
		return true
	case c.workers >= crewMost:
		c.mu.Unlock()
		return true
	}
	c.workers++
	c.mu.Unlock()
	if s.spawn(func() { c.work(s) }) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.workers--
	// Nobody else can have taken fn unless another worker still runs.
	if c.workers == 0 {
		c.line = nil
		return false
	}
	return true
}

// work runs jobs until there are none and enough workers wait for more.
func (c *crew) work(s *Server) {
	c.mu.Lock()
	for {
		for len(c.line) > 0 {
			fn := c.line[0]
			c.line[0] = nil
			if c.line = c.line[1:]; len(c.line) == 0 {
				c.line = nil
			}
			c.mu.Unlock()
			fn()
			c.mu.Lock()
		}
		if c.idle >= crewKeep {
			break
		}
		c.idle++
		c.mu.Unlock()
		select {
		case <-c.wake:
			c.mu.Lock() // who woke us has counted us out of the idle
			continue
		case <-s.closing:
		}
		c.mu.Lock()
		select { // a token is work that somebody has to take
		case <-c.wake:
			continue
		default:
		}
		c.idle--
		break
	}
	c.workers--
	c.mu.Unlock()
}
