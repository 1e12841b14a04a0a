package simulate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"dunlin/internal/wire/mqtt"
)

const (
	minBackoff     = 50 * time.Millisecond
	maxWrite       = 64 << 10 // bytes gathered before they are written
	fruitlessLimit = 20
)

// errRenew ends a session whose token comes of age.
var errRenew = errors.New("the token is due for renewal")

// device is one simulated device. Its sending goroutine runs until the source
// is empty and everything is acknowledged; beside it, while there is a
// connection, one goroutine reads.
type device struct {
	run *run
	who identity

	// sending goroutine only
	src         source
	topic, body []byte
	out         []byte
	pub         mqtt.Publish
	started     time.Time // what the source's times count from; zero: the first connection
	connects    int
	fruitless   int // sessions in a row that ended with messages waiting and none acknowledged

	wake chan struct{} // an acknowledgement has come; capacity 1
	pong chan struct{} // a PINGRESP has come; capacity 1

	// both goroutines
	mu     sync.Mutex
	flight flight
	acks   int64 // all acknowledgements so far
}

// live runs the device to its end. The error is nil unless the device failed.
func (d *device) live(ctx context.Context) error {
	defer func() {
		d.run.count.unacked.Add(int64(d.waiting()))
	}()
	backoff, down := minBackoff, time.Now()
	for {
		before := d.acked()
		up, err := d.session(ctx)
		if err == nil || ctx.Err() != nil {
			return nil // at the end of the run a lost connection is no failure
		}
		if errors.Is(err, errRenew) {
			d.run.count.renewals.Add(1)
			backoff, down = minBackoff, time.Now()
			continue
		}
		if errors.As(err, &permanent{}) {
			return err
		}
		if up {
			down = time.Now()
		}
		switch {
		case d.acked() > before:
			d.fruitless, backoff = 0, minBackoff
		case up && d.waiting() > 0:
			d.fruitless++
		}
		if d.fruitless >= fruitlessLimit {
			return fmt.Errorf("the hub took the connection %d times and acknowledged nothing; the last error was: %w", d.fruitless, err)
		}
		if time.Since(down) > d.run.cfg.GiveUp {
			return fmt.Errorf("no connection for %s: %w", d.run.cfg.GiveUp, err)
		}
		if !up && d.run.warned.CompareAndSwap(false, true) {
			d.run.cfg.Log.Warn("cannot connect, trying again; is the server running?", slog.String("server", d.run.site.server), slog.Any("error", err))
		}
		d.run.cfg.Log.Debug("connection lost", slog.String("device_id", d.who.id.Device), slog.Any("error", err), slog.Duration("pause", backoff))
		pause := time.NewTimer(backoff/2 + rand.N(backoff))
		select {
		case <-pause.C:
		case <-d.run.stop.Done():
			pause.Stop()
			// Nothing new is sent any more; go on only for what still waits.
			if d.waiting() == 0 {
				return nil
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(backoff):
			}
		}
		backoff = min(2*backoff, d.run.cfg.MaxBackoff)
	}
}

// session is one connection from CONNECT to its end. up tells that the hub
// took it; the error is nil when the device has nothing left to do.
func (d *device) session(ctx context.Context) (up bool, err error) {
	c, err := d.run.connect(ctx, &d.who)
	if err != nil {
		return false, err
	}
	if d.started.IsZero() {
		d.started = time.Now()
	}
	d.connects++
	if d.connects > 1 {
		d.run.count.reconnects.Add(1)
	}
	d.run.count.connected.Add(1)
	defer d.run.count.connected.Add(-1)

	lost := make(chan error, 1)
	var reader sync.WaitGroup
	reader.Go(func() {
		lost <- c.read(d.onAck, d.onPong)
		c.close() // wakes a sender that is blocked in a write
	})
	release := context.AfterFunc(ctx, c.close)
	defer func() {
		release()
		c.close()
		reader.Wait()
	}()
	err = d.send(ctx, c, lost)
	if err == nil || errors.Is(err, errRenew) {
		c.disconnect()
		return true, err
	}
	// The reader knows better why a write failed.
	select {
	case cause := <-lost:
		err = cause
	default:
	}
	return true, err
}

// send is the sending half of a session.
func (d *device) send(ctx context.Context, c *client, lost <-chan error) error {
	cfg := &d.run.cfg
	if err := d.resend(c); err != nil {
		return err
	}
	opened := time.Now()
	renewAt := opened.Add(cfg.TokenTTL * 85 / 100)
	pingAt := opened.Add(cfg.KeepAlive * 3 / 4)
	timer := time.NewTimer(0)
	defer timer.Stop()
	stop := d.run.stop.Done()
	for stopped, barrier := d.run.stop.Err() != nil, false; ; {
		now := time.Now()
		renew := now.After(renewAt)
		next, empty, full := time.Time{}, true, false
		if !stopped && !renew {
			var err error
			if next, empty, full, err = d.fill(now); err != nil {
				return err
			}
		}
		if now.After(pingAt) {
			d.out = mqtt.AppendPingreq(d.out)
			pingAt = now.Add(cfg.KeepAlive * 3 / 4)
		}
		if empty && cfg.QoS == 0 && !barrier {
			// QoS 0 has no acknowledgements, but what was sent before a ping
			// has been read when its answer comes.
			drainSignal(d.pong)
			d.out = mqtt.AppendPingreq(d.out)
			barrier = true
		}
		if len(d.out) > 0 {
			_, err := c.conn.Write(d.out)
			d.out = d.out[:0]
			if err != nil {
				return err
			}
		}
		if full {
			continue
		}
		wait := min(time.Until(pingAt), time.Until(renewAt))
		if empty {
			if cfg.QoS == 1 && d.waiting() == 0 {
				if renew && !stopped {
					return errRenew
				}
				return nil
			}
			wait = time.Until(pingAt)
		} else if !next.IsZero() {
			wait = min(wait, time.Until(next))
		}
		timer.Reset(max(wait, 0))
		select {
		case err := <-lost:
			return err
		case <-d.wake:
		case <-d.pong:
			if empty && barrier {
				if renew && !stopped {
					return errRenew
				}
				return nil
			}
		case <-timer.C:
		case <-stop:
			stopped, stop = true, nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill renders the messages that are due and for which there is room into
// d.out. next is when to look again (zero: when there is room again), empty
// tells that the source has ended, full that d.out should be written at once.
func (d *device) fill(now time.Time) (next time.Time, empty, full bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		at, ok := d.src.due()
		if !ok {
			return time.Time{}, true, false, nil
		}
		if due := d.started.Add(at); due.After(now) {
			return due, false, false, nil
		}
		if d.flight.n >= d.run.cfg.InFlight {
			return time.Time{}, false, false, nil
		}
		if len(d.out) >= maxWrite {
			return time.Time{}, false, true, nil
		}
		d.topic, d.body = d.src.next(d.topic[:0], d.body[:0], now)
		d.pub.Topic, d.pub.Payload, d.pub.QoS = d.topic, d.body, byte(d.run.cfg.QoS)
		if d.pub.QoS == 0 {
			if d.out, err = d.pub.Append(d.out, mqtt.V311); err != nil {
				return time.Time{}, false, false, permanent{err}
			}
		} else {
			var m *message
			m, d.pub.PacketID = d.flight.push()
			if m.packet, err = d.pub.Append(m.packet, mqtt.V311); err != nil {
				d.flight.pop()
				return time.Time{}, false, false, permanent{err}
			}
			m.at = now
			d.out = append(d.out, m.packet...)
		}
		d.run.count.sent.Add(1)
		d.run.count.bytes.Add(int64(len(d.body)))
	}
}

// resend writes everything that an earlier connection left unacknowledged, in
// order and with the DUP flag [MQTT-4.4.0-1] [MQTT-3.3.1-1].
func (d *device) resend(c *client) error {
	d.out = d.out[:0] // rendered but not written: it is in the flight, or was QoS 0
	now := time.Now()
	d.mu.Lock()
	for i := range d.flight.n {
		m := d.flight.at(i)
		if m.acked {
			continue
		}
		m.packet[0] |= 0x08 // DUP
		m.at = now
		d.out = append(d.out, m.packet...)
		d.run.count.resent.Add(1)
	}
	d.mu.Unlock()
	_, err := c.conn.Write(d.out)
	d.out = d.out[:0]
	return err
}

// onAck runs on the reading goroutine.
func (d *device) onAck(id uint16) {
	d.mu.Lock()
	sent, ok := d.flight.ack(id)
	if ok {
		d.acks++
	}
	d.mu.Unlock()
	if !ok {
		return
	}
	d.run.count.acked.Add(1)
	d.run.count.latency.add(time.Since(sent))
	signal(d.wake)
}

// onPong runs on the reading goroutine.
func (d *device) onPong() { signal(d.pong) }

func (d *device) waiting() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flight.n
}

func (d *device) acked() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acks
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func drainSignal(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}
