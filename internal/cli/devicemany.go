package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// newKey makes a random key as the instance makes them.
func newKey() string {
	b := make([]byte, 32)
	rand.Read(b) //nolint:errcheck // never fails since Go 1.24
	return base64.StdEncoding.EncodeToString(b)
}

// many registers many devices and writes their keys to a file.
func (c *deviceCreateCmd) many(s *session) (err error) {
	if c.Count < 0 {
		return usagef("--count: a number of devices, not %d", c.Count)
	}
	if err := checkID(c.Prefix + strconv.Itoa(c.Count)); err != nil {
		return err
	}
	if c.Auth != "" || c.Module != "" || c.PrimaryKey != "" || c.PrimaryThumbprint != "" || c.Disabled || c.Edge {
		return usagef("--count registers plain devices with keys: leave out the other flags")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var out *bufio.Writer
	if c.KeysOut != "" {
		// Keys are secrets; the file is made before anything is registered.
		f, ferr := os.OpenFile(c.KeysOut, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if ferr != nil {
			return ferr
		}
		out = bufio.NewWriterSize(f, 1<<20)
		defer func() { err = errors.Join(err, out.Flush(), f.Close()) }()
	}
	started := time.Now()
	keys := make([]string, c.Count)
	if err := s.importAll(cl, c.Prefix, keys); err != nil {
		return err
	}
	if out != nil {
		for i, key := range keys {
			fmt.Fprintf(out, "%s%d %s\n", c.Prefix, i, key)
		}
	}
	took := time.Since(started)
	if s.JSON {
		return s.printJSON(map[string]any{"created": c.Count, "first": c.Prefix + "0", "seconds": took.Seconds(), "keysFile": c.KeysOut})
	}
	s.printf("%s registered in %s: %s0 to %s%d.\n", count(c.Count, "device", "devices"), took.Round(time.Millisecond), c.Prefix, c.Prefix, c.Count-1)
	if c.KeysOut != "" {
		s.printf("Their keys are in %s.\n", c.KeysOut)
	}
	return nil
}

// importBatch is the largest number of devices in one call, importCalls how
// many calls are made at a time.
const (
	importBatch = 100
	importCalls = 4
)

// importAll registers prefix0, prefix1 and so on, filling in their keys. The
// first call that fails ends it; what is registered stays.
func (s *session) importAll(cl *client, prefix string, keys []string) error {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	progress := s.progress("devices registered", len(keys))
	defer progress.end()
	// The first call alone: it fetches what the others need.
	var next atomic.Int64
	work := func() {
		for ctx.Err() == nil {
			from := int(next.Add(importBatch)) - importBatch
			if from >= len(keys) {
				return
			}
			part := keys[from:min(len(keys), from+importBatch)]
			if err := cl.importDevices(ctx, prefix, from, part); err != nil {
				cancel(fmt.Errorf("after %d devices: %w", progress.done.Load(), err))
				return
			}
			progress.done.Add(int64(len(part)))
		}
	}
	if _, err := cl.info(ctx); err != nil {
		return err
	}
	var workers sync.WaitGroup
	for range importCalls {
		workers.Go(work)
	}
	workers.Wait()
	return context.Cause(ctx)
}

// importDevices registers one batch; the numbers of its ids begin with from.
func (c *client) importDevices(ctx context.Context, prefix string, from int, keys []string) error {
	type entry struct {
		ID             string `json:"id"`
		ImportMode     string `json:"importMode"`
		Status         string `json:"status"`
		Authentication *proof `json:"authentication"`
	}
	entries := make([]entry, len(keys))
	for i := range keys {
		keys[i] = newKey()
		entries[i] = entry{prefix + strconv.Itoa(from+i), "create", "enabled", &proof{Type: "sas", Key: &keyPair{keys[i], newKey()}}}
	}
	var result struct {
		OK     bool `json:"isSuccessful"`
		Errors []struct {
			Device string `json:"deviceId"`
			Text   string `json:"errorStatus"`
		} `json:"errors"`
	}
	if err := c.hub(ctx, http.MethodPost, "/devices", nil, entries, &result); err != nil {
		return err
	}
	if !result.OK && len(result.Errors) > 0 {
		e := result.Errors[0]
		return fmt.Errorf("%s: %s", e.Device, e.Text)
	}
	return nil
}

// progress is a line on a terminal that says how far a long command is.
type progress struct {
	s     *session
	what  string
	total int
	done  atomic.Int64
	stop  chan struct{}
	ended sync.WaitGroup
}

func (s *session) progress(what string, total int) *progress {
	p := &progress{s: s, what: what, total: total, stop: make(chan struct{})}
	if !terminal(s.err) || s.JSON {
		return p
	}
	p.ended.Go(func() {
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		for {
			select {
			case <-p.stop:
				s.notef("\r\x1b[K")
				return
			case <-t.C:
				s.notef("\r\x1b[K%d of %d %s", p.done.Load(), p.total, p.what)
			}
		}
	})
	return p
}

func (p *progress) end() {
	close(p.stop)
	p.ended.Wait()
}

type deviceListCmd struct {
	Top   int    `name:"top" default:"100" placeholder:"N" help:"At most so many (${default})."`
	After string `name:"after" placeholder:"ID" help:"Begin behind this id."`
}

// Run lists devices in the order of their ids.
func (c *deviceListCmd) Run(s *session) error {
	if c.Top < 1 {
		return usagef("--top: a number above 0")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	list := []device{}
	q := url.Values{"top": {strconv.Itoa(c.Top)}}
	if err := cl.hub(s.ctx, http.MethodGet, "/devices?"+q.Encode(), nil, nil, &list); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(list)
	}
	now := time.Now()
	var rows [][]string
	for _, d := range list {
		auth := ""
		if d.Authentication != nil {
			auth = d.Authentication.Type
		}
		rows = append(rows, []string{d.ID, d.Status, d.ConnectionState, auth, ago(parseTime(d.LastActivityTime), now)})
	}
	if len(rows) == 0 {
		s.printf("No device is registered. Register one: dunlin device create ID\n")
		return nil
	}
	return table(s.out, []string{"DEVICE", "STATUS", "CONNECTION", "PROOF", "LAST ACTIVITY"}, rows)
}
