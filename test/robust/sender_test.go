package robust

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/state/statetest"
	"dunlin/test/device"
	"dunlin/test/harness"
)

func TestMain(m *testing.M) { harness.Main(withPostgres{m}) }

// withPostgres stops the PostgreSQL server that tests started.
type withPostgres struct{ m *testing.M }

func (w withPostgres) Run() int { return statetest.Main(w.m) }

const jsonBag = "%24.ct=application%2Fjson&%24.ce=utf-8"

// sender is a device that keeps its promise: it numbers its messages, sends
// each until it is acknowledged, in order, and goes on after every failure.
type sender struct {
	id, key, host, addr string
	tls                 *tls.Config
	window              int
	gap                 time.Duration // between messages
	pad                 int           // bytes that each message carries besides its number

	mu         sync.Mutex
	acked      int // messages 0..acked-1 are acknowledged
	sent       int // messages 0..sent-1 were sent at least once
	reconnects int
	lastErr    error
}

// run sends until stop is closed and everything sent is acknowledged, or ctx ends.
func (s *sender) run(ctx context.Context, stop <-chan struct{}) error {
	for {
		done, err := s.connection(ctx, stop)
		if done {
			return nil
		}
		s.mu.Lock()
		s.reconnects++
		s.lastErr = err
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %d sent, %d acknowledged; last: %w", s.id, ctx.Err(), s.sent, s.acked, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *sender) connection(ctx context.Context, stop <-chan struct{}) (done bool, err error) {
	c, err := device.Dial(ctx, s.addr, s.tls)
	if err != nil {
		return false, err
	}
	defer c.Close()
	if err := c.Hello(device.HelloFor(s.host, s.id, s.key)); err != nil {
		return false, err
	}
	resend := s.sent // what was sent before this connection is marked as a repetition
	next, end := s.acked, false
	tick := time.NewTicker(s.gap)
	defer tick.Stop()
	type result struct {
		p   device.Packet
		err error
	}
	acks := make(chan result, s.window)
	go func() {
		defer close(acks)
		for {
			p, err := c.Receive(time.Minute)
			acks <- result{p, err}
			if err != nil {
				return
			}
		}
	}()
	defer func() { // let the reader end
		c.Close()
		for range acks { // until it is closed
		}
	}()
	for {
		if end && s.acked == s.sent {
			return true, c.Send(device.Packet{Type: device.Disconnect})
		}
		pace := tick.C
		if next-s.acked >= s.window || end && next >= s.sent {
			pace = nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-stop:
			stop, end = nil, true
		case r := <-acks:
			if r.err != nil {
				return false, r.err
			}
			id, err := device.Ack(r.p)
			if err != nil {
				return false, err
			}
			if want := packetID(s.acked); id != want {
				return false, fmt.Errorf("PUBACK %d where %d is next", id, want)
			}
			s.mu.Lock()
			s.acked++
			s.mu.Unlock()
		case <-pace:
			p := device.Message(device.EventsTopic(s.id)+jsonBag, s.body(next), 1, packetID(next))
			if next < resend {
				p.Flags |= 8 // DUP
			}
			s.mu.Lock()
			s.sent = max(s.sent, next+1)
			s.mu.Unlock()
			if err := c.Send(p); err != nil {
				return false, err
			}
			next++
		}
	}
}

func packetID(n int) uint16 { return uint16(n%60000) + 1 }

// row is the body of a message.
type row struct {
	Device string `json:"device"`
	N      int    `json:"n"`
}

func (s *sender) body(n int) []byte {
	return fmt.Appendf(nil, `{"device":%q,"n":%d,"pad":"%s"}`, s.id, n, strings.Repeat("x", s.pad))
}

func (s *sender) counts() (sent, acked, reconnects int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.acked, s.reconnects
}

// newSender creates the device and its sender; plain senders go without TLS.
func newSender(t testing.TB, s *harness.Server, id string, plain bool) *sender {
	t.Helper()
	d := &sender{id: id, key: s.Device(id), host: s.Info.HostName, addr: s.MQTTAddr(), tls: s.TLS(), window: 40, gap: 3 * time.Millisecond}
	if plain {
		d.addr, d.tls = s.PlainAddr(), nil
	}
	return d
}

// position is one record of the log.
type position struct {
	partition int
	sequence  int64
}

// history is what a reader of the log has seen: which record stood where.
type history struct {
	mu   sync.Mutex
	seen map[position]string
}

func (h *history) add(t testing.TB, e harness.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := position{e.Partition, e.Sequence()}
	text := string(e.Body)
	if before, ok := h.seen[at]; ok && before != text {
		t.Errorf("partition %d, sequence number %d: first %s, later %s", at.partition, at.sequence, before, text)
	}
	h.seen[at] = text
}

// telemetry tells whether a device sent an event.
func telemetry(e harness.Event) bool {
	return e.SystemProperties["iothub-message-source"] == "Telemetry"
}

// checkLog compares the whole log with what the senders know: every acknowledged
// message is there, each device's messages are in order, sequence numbers of a
// partition are strictly rising and times do not fall.
func checkLog(t testing.TB, events []harness.Event, senders []*sender) {
	t.Helper()
	next := map[string]int{} // device -> first n not seen yet
	last := map[int]harness.Event{}
	repeated, own := 0, 0
	for i, e := range events {
		if before, ok := last[e.Partition]; ok {
			if e.Sequence() != before.Sequence()+1 {
				t.Errorf("partition %d: sequence number %d follows %d", e.Partition, e.Sequence(), before.Sequence())
			}
			if e.EnqueuedTime < before.EnqueuedTime {
				t.Errorf("partition %d: time %s follows %s", e.Partition, e.EnqueuedTime, before.EnqueuedTime)
			}
		}
		last[e.Partition] = e
		if !telemetry(e) {
			continue // what the hub tells of itself
		}
		own++
		var r row
		if err := json.Unmarshal(e.Body, &r); err != nil || r.Device != e.DeviceID {
			t.Fatalf("event %d of %s: body %q: %v", i, e.DeviceID, e.Body, err)
		}
		switch want := next[r.Device]; {
		case r.N == want:
			next[r.Device]++
		case r.N < want:
			repeated++ // sent again because its acknowledgement was lost
		default:
			t.Errorf("%s: message %d follows %d: out of order or missing", r.Device, r.N, want-1)
			next[r.Device] = r.N + 1
		}
		if t.Failed() {
			return
		}
	}
	total := 0
	for _, s := range senders {
		sent, acked, _ := s.counts()
		total += acked
		if next[s.id] < acked {
			t.Errorf("%s: %d messages were acknowledged, the log has %d", s.id, acked, next[s.id])
		}
		if next[s.id] > sent {
			t.Errorf("%s: the log has %d messages, %d were sent", s.id, next[s.id], sent)
		}
	}
	t.Logf("%d messages acknowledged by %d devices; %d events in the log, %d of them repetitions", total, len(senders), own, repeated)
}
