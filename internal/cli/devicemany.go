package cli

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dunlin/internal/api/admin"
)

// newKey makes a random key as the instance makes them.
func newKey() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
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
	keys := bufio.NewWriter(io.Discard)
	if c.KeysOut != "" {
		// Keys are secrets; the file is made before anything is registered.
		f, ferr := os.OpenFile(c.KeysOut, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if ferr != nil {
			return ferr
		}
		keys = bufio.NewWriterSize(f, 1<<20)
		defer func() { err = errors.Join(err, keys.Flush(), f.Close()) }()
	}
	started := time.Now()
	done, err := s.importDevices(cl, c.Prefix, c.Count, keys)
	if err != nil {
		return err
	}
	took := time.Since(started)
	if s.JSON {
		err = s.printJSON(map[string]any{
			"created": done.created, "failed": done.failed, "first": c.Prefix + "0", "seconds": took.Seconds(), "keysFile": c.KeysOut,
		})
	} else {
		s.printf("%s registered in %s.\n", count(done.created, "device", "devices"), took.Round(time.Millisecond))
		if c.KeysOut != "" {
			s.printf("Their keys are in %s.\n", c.KeysOut)
		}
	}
	if done.failed > 0 {
		return errors.Join(err, fmt.Errorf("%s not registered, the first because: %s; another --prefix avoids ids that are taken",
			count(done.failed, "device was", "devices were"), done.firstError))
	}
	return err
}

// imported is what became of many devices.
type imported struct {
	created, failed int
	firstError      string
}

// importDevices has the instance make prefix0, prefix1 and so on and writes
// their keys. The answer is a line for each and one for the whole.
func (s *session) importDevices(cl *client, prefix string, n int, keys io.Writer) (imported, error) {
	q := url.Values{"count": {strconv.Itoa(n)}, "prefix": {prefix}}
	resp, err := cl.open(s.ctx, request{method: http.MethodPost, path: "/api/devices/import?" + q.Encode(), auth: "Bearer " + cl.token})
	if err != nil {
		return imported{}, err
	}
	defer resp.Body.Close()
	progress := s.progress("devices registered", n)
	defer progress.end()
	type reason struct{ Code, Message string }
	var done imported
	for lines := json.NewDecoder(resp.Body); ; {
		var line struct {
			ID, Key string
			Created *int
			Error   *reason
		}
		switch err := lines.Decode(&line); {
		case err != nil:
			return done, fmt.Errorf("the answer broke off after %s: %w", count(done.created, "device", "devices"), err)
		case line.Created != nil && line.Error != nil:
			return done, fmt.Errorf("after %s: %s (%s)", count(done.created, "device", "devices"), line.Error.Message, line.Error.Code)
		case line.Created != nil:
			return done, nil
		case line.Error != nil:
			if done.failed++; done.failed == 1 {
				done.firstError = line.Error.Message
			}
		default:
			if _, err := fmt.Fprintf(keys, "%s %s\n", line.ID, line.Key); err != nil {
				return done, err
			}
			done.created++
			progress.done.Add(1)
		}
	}
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
	Top   int    `name:"top" default:"100" placeholder:"N" help:"At most so many (${default}); 0 for all."`
	After string `name:"after" placeholder:"ID" help:"Begin behind this id."`
}

// Run lists devices in the order of their ids.
func (c *deviceListCmd) Run(s *session) error {
	if c.Top < 0 {
		return usagef("--top: a number from 0")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	const page = 1000
	list := []admin.Device{}
	after, more := c.After, true
	for more && (c.Top == 0 || len(list) < c.Top) {
		n := page
		if c.Top > 0 {
			n = min(page, c.Top-len(list))
		}
		q := url.Values{"top": {strconv.Itoa(n)}, "after": {after}}
		var part []admin.Device
		if err := cl.admin(s.ctx, http.MethodGet, "/api/devices?"+q.Encode(), nil, &part); err != nil {
			return err
		}
		list = append(list, part...)
		more = len(part) == n
		if len(part) > 0 {
			after = part[len(part)-1].ID
		}
	}
	if s.JSON {
		return s.printJSON(list)
	}
	now := time.Now()
	var rows [][]string
	for _, d := range list {
		rows = append(rows, []string{d.ID, d.Status, d.ConnectionState, d.Authentication.Type, ago(d.LastActivity, now)})
	}
	if len(rows) == 0 {
		if c.After != "" {
			s.printf("No device behind %s.\n", c.After)
			return nil
		}
		s.printf("No device is registered. Register one: dunlin device create ID\n")
		return nil
	}
	if err := table(s.out, []string{"DEVICE", "STATUS", "CONNECTION", "PROOF", "LAST ACTIVITY"}, rows); err != nil {
		return err
	}
	if more {
		s.notef("There may be more: --after %s shows the next, --top 0 all.\n", after)
	}
	return nil
}
