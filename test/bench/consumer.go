//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// consumer is the product's own live reader of the log, `dunlin tail --json`,
// in a process of its own. The server decodes each event and writes it as
// JSON, the consumer receives it over HTTPS and prints it; the bench reads
// what it prints and looks for the stamp.
type consumer struct {
	*process
	on   atomic.Bool
	seen atomic.Int64

	mu      sync.Mutex
	latency histogram
	readErr error
	reader  sync.WaitGroup
}

// The messages name no content type, as those of the peers, so bodies come in
// base64; the stamp stands in the first 24 bytes, which are 32 characters.
var bodyMark = []byte(`"bodyBase64":"`)

const headBytes = len(`{"t":`) + stampDigits

func stampOf(line []byte) (ns int64, err error) {
	var head [headBytes]byte
	_, text, ok := bytes.Cut(line, bodyMark)
	if n := base64.StdEncoding.EncodedLen(headBytes); ok && len(text) >= n {
		if _, err := base64.StdEncoding.Decode(head[:], text[:n]); err == nil {
			if ns, err = strconv.ParseInt(string(head[headBytes-stampDigits:]), 10, 64); err == nil {
				return ns, nil
			}
		}
	}
	return 0, fmt.Errorf("a line without a stamp: %s", line)
}

func (h *hub) tail() (*consumer, error) {
	c := &consumer{process: &process{name: "dunlin tail", log: &tailBuffer{}, exited: make(chan struct{})}}
	c.cmd = exec.Command(h.bin, "tail", "--json", "--from", "latest", "--data", h.dir)
	c.cmd.Env, c.cmd.Stderr = cleanEnv(), c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.pid = c.cmd.Process.Pid
	c.reader.Go(func() { c.read(out) })
	go func() {
		c.reader.Wait()
		_ = c.cmd.Wait() // it is ended by a signal
		close(c.exited)
	}()
	return c, nil
}

func (c *consumer) read(r io.Reader) {
	in := bufio.NewReaderSize(r, 256<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.fail(err)
			}
			return
		}
		sent, err := stampOf(line)
		if err != nil {
			c.fail(err)
			return
		}
		c.seen.Add(1)
		if c.on.Load() {
			c.mu.Lock()
			c.latency.add(time.Duration(time.Now().UnixNano() - sent))
			c.mu.Unlock()
		}
	}
}

func (c *consumer) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readErr = err
}

func (c *consumer) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return errors.Join(c.readErr, c.process.alive())
}

// attach sends messages until one of them comes out of the log.
func (c *consumer) attach(addr netip.AddrPort, l login) error {
	fd, err := dialRaw(addr, netip.Addr{}, connectPacket(l))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	f := publishFrame(l.topic, 0)
	sent := int64(0)
	for range 100 {
		f.setID(uint16(sent%60000 + 1))
		if _, err := unix.Write(fd, f.bytes); err != nil {
			return err
		}
		sent++
		time.Sleep(100 * time.Millisecond)
		if err := c.alive(); err != nil {
			return err
		}
		if c.seen.Load() > 0 {
			c.seen.Store(0)
			return nil
		}
	}
	return errors.New("dunlin tail shows nothing")
}

// window tells when latencies count.
func (c *consumer) window(on bool) { c.on.Store(on) }

// settled waits until n messages were seen and tells how many were.
func (c *consumer) settled(n int64, limit time.Duration) int64 {
	for end := time.Now().Add(limit); c.seen.Load() < n && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	return c.seen.Load()
}
