package configuration

import (
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// changes are the devices that something has happened to since they were
// looked at. Those who add wait while there are too many.
type changes struct {
	mu      sync.Mutex
	some    sync.Cond // there are fewer
	devices map[string]struct{}
	full    bool // what happened is not known: everything is to be evaluated
	ended   bool
	mine    map[iot.ID]int64 // version of a twin that was written here and is as it must be

	places []atomic.Int64 // by partition the next sequence number: what lies before is in devices or done
}

const (
	maxChanged = 100_000
	maxMine    = 100_000
)

func (c *changes) init() {
	c.some.L = &c.mu
	c.devices, c.mine = map[string]struct{}{}, map[iot.ID]int64{}
}

// add notes a device; it may wait for the worker.
func (c *changes) add(device string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.devices) >= maxChanged && !c.ended {
		c.some.Wait()
	}
	c.devices[device] = struct{}{}
}

// lose notes that some events are not known.
func (c *changes) lose() {
	c.mu.Lock()
	c.full = true
	c.mu.Unlock()
}

// take gives what has changed, and the places in the log up to which that is
// everything.
func (c *changes) take() (devices []string, full bool, places []int64) {
	places = make([]int64, len(c.places))
	for i := range c.places {
		places[i] = c.places[i].Load()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	devices = slices.Sorted(maps.Keys(c.devices)) // neighbours share pages
	clear(c.devices)
	full, c.full = c.full, false
	c.some.Broadcast()
	return devices, full, places
}

// begin is called before the log is followed, end when nobody takes any more.
func (c *changes) begin(places []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = false
	clear(c.devices)
	c.places = make([]atomic.Int64, len(places))
	for i, p := range places {
		c.places[i].Store(p)
	}
}

func (c *changes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.some.Broadcast()
}

// own notes that a twin is as it must be at a version that was just written.
func (c *changes) own(id iot.ID, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.mine) >= maxMine {
		clear(c.mine) // those events are looked at for nothing
	}
	c.mine[id] = version
}

func (c *changes) isOwn(id iot.ID, version int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	mine, ok := c.mine[id]
	if ok && version >= mine {
		delete(c.mine, id)
	}
	return ok && version <= mine
}

// twinEvent is the body of a twin change event, as far as it counts.
type twinEvent struct {
	Version    int64                      `json:"version"`
	Tags       map[string]json.RawMessage `json:"tags"`
	Properties struct {
		Desired  map[string]json.RawMessage `json:"desired"`
		Reported map[string]json.RawMessage `json:"reported"`
	} `json:"properties"`
}

// matters reports whether an event can change what configurations are for or
// what they have set.
func (s *set) matters(e *record.Event, isOwn func(id iot.ID, version int64) bool) bool {
	if e.Origin.Source == iot.SourceDeviceLifecycle {
		return true
	}
	var t twinEvent
	if err := json.Unmarshal(e.Body, &t); err != nil {
		return true // look rather than miss it
	}
	if s.tags && len(t.Tags) > 0 {
		return true
	}
	for name := range t.Properties.Reported {
		if s.reported[name] {
			return true
		}
	}
	if opType(e) == "replaceTwin" && s.tags {
		return true // a tag that is gone is not in the event
	}
	for name := range t.Properties.Desired {
		if name == "$metadata" || name == "$version" {
			continue
		}
		if s.whole || s.desired[name] {
			return !isOwn(e.Origin.ID, t.Version)
		}
	}
	return opType(e) == "replaceTwin" && len(s.all) > 0
}

func opType(e *record.Event) string {
	for i := range e.Properties {
		if string(e.Properties[i].Name) == "opType" {
			return string(e.Properties[i].Value)
		}
	}
	return ""
}
