//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// dialTLS opens a connection over TLS, sends CONNECT and waits for CONNACK.
func dialTLS(to netip.AddrPort, from netip.Addr, conf *tls.Config, connect []byte) (*tls.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	if from.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	raw, err := d.Dial("tcp4", to.String())
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, conf)
	fail := func(err error) (*tls.Conn, error) { return nil, errors.Join(err, raw.Close()) }
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return fail(err)
	}
	if _, err := c.Write(connect); err != nil {
		return fail(fmt.Errorf("TLS handshake and CONNECT: %w", err))
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		return fail(fmt.Errorf("%w: %w", errConnack, err))
	}
	if err := checkConnack(ack[:]); err != nil {
		return fail(err)
	}
	return c, c.SetDeadline(time.Time{})
}

// runTLS is run, over TLS, for closed loops: a goroutine per connection. It
// takes more CPU than the plain loader; only the server's is measured.
func (l load) runTLS(conf *tls.Config) (result, error) {
	conns := make([]*tls.Conn, len(l.logins))
	errs := make([]error, len(l.logins))
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.NetConn().Close()
			}
		}
	}()
	parallel(len(conns), 16, func(i int) {
		conns[i], errs[i] = dialTLS(l.addr, netip.Addr{}, conf, connectPacket(l.logins[i]))
	})
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	var on, ended atomic.Bool
	results := make([]result, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() { errs[i] = l.closedTLS(c, i, &on, &ended, &results[i]) })
	}
	time.Sleep(l.warm)
	on.Store(true)
	l.opened()
	time.Sleep(l.measure)
	on.Store(false)
	l.closed()
	ended.Store(true)
	for _, c := range conns {
		_ = c.NetConn().SetDeadline(time.Now()) // wakes the readers; they see ended
	}
	wg.Wait()
	var sum result
	for i := range results {
		sum.acked += results[i].acked
		sum.total += results[i].total
		sum.latency.merge(&results[i].latency)
	}
	return sum, errors.Join(errs...)
}

func (l load) closedTLS(c *tls.Conn, i int, on, ended *atomic.Bool, res *result) error {
	f := publishFrame(l.logins[i].topic, i)
	var ring []byte
	for k := range 2 * l.window {
		f.setID(uint16(k%l.window + 1))
		ring = append(ring, f.bytes...)
	}
	size := len(f.bytes)
	at := make([]time.Time, l.window)
	next, oldest, flight := 0, 0, 0
	buf := make([]byte, 4096)
	have := 0
	for {
		k := l.window - flight
		now := time.Now()
		for j := range k {
			at[(next+j)%l.window] = now
		}
		if k > 0 {
			if _, err := c.Write(ring[next*size : (next+k)*size]); err != nil {
				return unless(ended, err)
			}
		}
		next = (next + k) % l.window
		flight = l.window
		res.total += int64(k)
		n, err := c.Read(buf[have:])
		if err != nil {
			return unless(ended, err)
		}
		now = time.Now()
		have += n
		b := buf[:have]
		for ; len(b) >= 4; b = b[4:] {
			if b[0] != 0x40 || int(b[2])<<8|int(b[3]) != oldest+1 {
				return fmt.Errorf("want PUBACK of %d, got % x", oldest+1, b[:4])
			}
			if on.Load() {
				res.acked++
				res.latency.add(now.Sub(at[oldest]))
			}
			oldest = (oldest + 1) % l.window
			flight--
		}
		have = copy(buf, b)
	}
}

func unless(ended *atomic.Bool, err error) error {
	if ended.Load() {
		return nil
	}
	return err
}

// parallel runs f(0) to f(n-1) in a number of goroutines.
func parallel(n, workers int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}
