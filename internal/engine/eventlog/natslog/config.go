package natslog

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Durability says when a commit counts as durable.
type Durability string

// The durabilities.
const (
	Sync Durability = "sync" // when it would survive a power failure; the default
	OS   Durability = "os"   // when the operating system has it: survives the process, not the machine
)

// Config describes a log. The zero value of a field means its default.
type Config struct {
	Dir        string        // directory of the embedded server; not used with URL
	Name       string        // of the log: letters, digits, - and _; default "events"
	Partitions int           // fixed when the log is created; default 4
	MaxAge     time.Duration // older records are removed; 0 keeps them
	MaxBytes   int64         // of the stored log, oldest records go first; 0 means no limit
	Gap        time.Duration // least time between two commits; default 2 ms, negative means none
	Durability Durability    // of the embedded server; default Sync
	Replicas   int           // copies in a cluster; default 1
	URL        string        // an external NATS server or cluster instead of the embedded one
	Reserve    int64         // bytes to leave free on the disk; default the lesser of 64 MiB and 5 % of the disk

	MaxHeld    int           // bytes not yet durable above which Append answers false; default 8 MiB
	MaxHeldAge time.Duration // age of the oldest of them, likewise; default 2 s
	TailBytes  int           // recent commits kept in memory for live readers; default 16 MiB
	AckWait    time.Duration // a commit not answered within it is sent again; default 5 s

	Logger     *slog.Logger          // default: no logging
	Registerer prometheus.Registerer // default: metrics are not registered
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (c Config) withDefaults() (Config, error) {
	if c.Name == "" {
		c.Name = "events"
	}
	if c.Partitions == 0 {
		c.Partitions = 4
	}
	if c.Gap == 0 {
		c.Gap = 2 * time.Millisecond
	}
	if c.Durability == "" {
		c.Durability = Sync
	}
	if c.Replicas == 0 {
		c.Replicas = 1
	}
	if c.MaxHeld == 0 {
		c.MaxHeld = 8 << 20
	}
	if c.MaxHeldAge == 0 {
		c.MaxHeldAge = 2 * time.Second
	}
	if c.TailBytes == 0 {
		c.TailBytes = 16 << 20
	}
	if c.AckWait == 0 {
		c.AckWait = 5 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	switch {
	case !validName.MatchString(c.Name):
		return c, fmt.Errorf("eventlog: name %q: use 1 to 64 letters, digits, - and _", c.Name)
	case c.Partitions < 1 || c.Partitions > 1024:
		return c, fmt.Errorf("eventlog: %d partitions: use 1 to 1024", c.Partitions)
	case c.Durability != Sync && c.Durability != OS:
		return c, fmt.Errorf("eventlog: durability %q: use %q or %q", c.Durability, Sync, OS)
	case c.Replicas < 1 || c.Replicas > 5:
		return c, fmt.Errorf("eventlog: %d replicas: use 1 to 5", c.Replicas)
	case c.URL == "" && c.Replicas != 1:
		return c, errors.New("eventlog: replicas need an external NATS cluster; the embedded server keeps one copy")
	case c.URL == "" && c.Dir == "":
		return c, errors.New("eventlog: the embedded server needs a directory")
	case c.MaxAge < 0 || c.MaxBytes < 0 || c.Reserve < 0:
		return c, errors.New("eventlog: retention and reserve cannot be negative")
	}
	return c, nil
}
