package mqttd

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"dunlin/internal/door/front"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/guard"
	"dunlin/internal/wire/mqtt"
)

// session is the protocol state of one connection.
type session struct {
	door     *Door
	conn     front.Conn
	protocol string

	// Receive and Closed only (authentication runs while Receive is held off)
	dev       hub.Device
	telemetry string // topic of this identity's telemetry, without the last slash
	will      *iot.Message
	orderly   bool // DISCONNECT was received
	stop      bool // Send has answered false: nothing more is sent in this Receive

	// any goroutine
	mu        sync.Mutex
	unsettled []uint16 // packet ids in order of Send; 0 stands for QoS 0
	sent      uint64   // messages of Send so far
	behind    []behind // acknowledgements of requests that wait for messages before them
	out       *outbox  // nil until the first subscription
	requests  int16    // twin requests without an answer
	held      uint8    // why reading is paused
	early     bool     // Ready came before Send's answer was seen
	failed    bool     // a message was not stored: acknowledge nothing after it
	ended     bool     // Closed was called, maybe while authentication was running
}

// Reasons for holding off a device, each with its own end.
const (
	heldByLog      = 1 << iota // Send answered false; until Ready
	heldByCount                // too many unsettled messages; until half are settled
	heldByRequests             // too many requests without an answer; until half are answered
)

// errDisconnect ends a connection that said DISCONNECT.
var errDisconnect = errors.New("mqttd: disconnected by the device")

// Receive implements front.Session.
func (s *session) Receive(b []byte) (int, error) {
	if s.dev == nil {
		return s.receiveConnect(b)
	}
	s.stop = false
	t := s.door.batches.Get().(*batch)
	n, err := s.receive(t, b)
	if len(t.msgs) > 0 {
		s.send(t)
	}
	t.reset()
	s.door.batches.Put(t)
	return n, err
}

// receive takes the complete packets of b; publishes gather in t.
func (s *session) receive(t *batch, b []byte) (taken int, err error) {
	for {
		h, body, n, err := mqtt.Next(b[taken:], maxPacket)
		if err != nil {
			return taken, s.violation(err)
		}
		if n == 0 {
			return taken, nil
		}
		switch h.Type {
		case mqtt.PUBLISH:
			err = s.publish(t, h, body)
		case mqtt.PUBACK:
			err = s.acknowledged(body)
		case mqtt.SUBSCRIBE:
			err = s.subscribe(body)
		case mqtt.UNSUBSCRIBE:
			err = s.unsubscribe(body)
		case mqtt.PINGREQ:
			s.conn.Write(pingresp) // Next has checked that it has no body
		case mqtt.DISCONNECT:
			if err = new(mqtt.Disconnect).Decode(body, mqtt.V311); err == nil {
				s.orderly = true
				return taken + n, errDisconnect
			}
		default:
			err = iot.Errorf(iot.BadRequest, "a device must not send %s on an open connection", h.Type)
		}
		if err != nil {
			return taken, s.violation(err)
		}
		if taken += n; s.stop {
			return taken, nil // the front shows the rest again once reading goes on
		}
	}
}

var pingresp = mqtt.AppendPingresp(nil)

// send hands the batch to the hub and notes the packet ids that wait for it.
func (s *session) send(t *batch) {
	s.mu.Lock()
	s.unsettled = append(s.unsettled, t.ids...)
	s.sent += uint64(len(t.ids))
	if len(s.unsettled) > maxUnsettled {
		s.hold(heldByCount)
	}
	s.mu.Unlock()
	if !s.dev.Send(time.Now().UnixNano(), t.msgs) {
		s.stop = true
		s.mu.Lock()
		if s.early {
			s.early = false
		} else {
			s.hold(heldByLog)
		}
		s.mu.Unlock()
	}
}

// Durable implements hub.Conn: the oldest n messages are settled.
func (s *session) Durable(n int, err error) {
	buf := s.door.acks.Get().(*[]byte)
	out := (*buf)[:0]
	s.mu.Lock()
	s.failed = s.failed || err != nil
	if !s.failed {
		out = s.settle(out, n)
	}
	s.unsettled = append(s.unsettled[:0], s.unsettled[n:]...)
	if cap(s.unsettled) > 64 && len(s.unsettled) == 0 {
		s.unsettled = nil // an idle connection keeps little
	}
	if len(s.unsettled) < maxUnsettled/2 {
		s.release(heldByCount)
	}
	s.mu.Unlock()
	if len(out) > 0 {
		s.conn.Write(out)
	}
	*buf = out
	s.door.acks.Put(buf)
	if err != nil {
		// MQTT has no negative acknowledgement: the device sends again after
		// it has connected again.
		s.conn.Close(iot.Errorf(iot.ServiceUnavailable, "messages could not be stored: %w", err))
		return
	}
	s.door.acked.Add(float64(n))
}

// settle adds the acknowledgements of the oldest n messages and of the
// requests between and right behind them.
func (s *session) settle(out []byte, n int) []byte {
	number := s.sent - uint64(len(s.unsettled))
	for _, id := range s.unsettled[:n] {
		if number++; id != 0 {
			out = mqtt.AppendPuback(out, id)
		}
		for len(s.behind) > 0 && s.behind[0].after <= number {
			out = mqtt.AppendPuback(out, s.behind[0].id)
			if s.behind = s.behind[1:]; len(s.behind) == 0 {
				s.behind = nil
			}
		}
	}
	return out
}

// Ready implements hub.Conn.
func (s *session) Ready() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held&heldByLog == 0 {
		s.early = true
		return
	}
	s.release(heldByLog)
}

// Kick implements hub.Conn.
func (s *session) Kick(reason error) { s.conn.Close(reason) }

// hold and release change the pause; both are called under mu, so that the
// front hears of changes in the order in which they were made.
func (s *session) hold(why uint8) {
	if s.held == 0 {
		s.conn.Pause()
		s.door.paused.Inc()
	}
	s.held |= why
}

func (s *session) release(why uint8) {
	was := s.held
	s.held &^= why
	if was != 0 && s.held == 0 {
		s.conn.Resume()
	}
}

// violation wraps what the device did wrong; the connection ends with it.
func (s *session) violation(err error) error {
	if e, ok := errors.AsType[*iot.Error](err); ok {
		return e
	}
	return iot.Errorf(iot.BadRequest, "%w", err)
}

// Closed implements front.Session.
func (s *session) Closed(err error) {
	s.mu.Lock()
	s.ended = true
	connected := s.dev != nil
	if s.out != nil && s.out.resume != nil {
		s.out.resume.Stop()
	}
	s.mu.Unlock()
	if !connected {
		s.neverConnected(err)
		return
	}
	if s.will != nil && !s.orderly {
		s.mu.Lock()
		s.unsettled = append(s.unsettled, 0)
		s.sent++
		s.mu.Unlock()
		s.dev.Send(time.Now().UnixNano(), []iot.Message{*s.will})
	}
	if s.orderly {
		err = nil
	}
	reason := endReason(s.orderly, err)
	s.door.ended.WithLabelValues(reason).Inc()
	s.door.logger.Debug("device connection ended",
		slog.String("device", s.dev.ID().Device), slog.String("module", s.dev.ID().Module),
		slog.String("reason", reason), slog.Any("error", err))
	var e *iot.Error
	if errors.As(err, &e) && reason == "refused" {
		s.door.guard.Add(guard.Refusal{
			Device: s.dev.ID().Device, Module: s.dev.ID().Module,
			Reason: "closed_" + snake(e.Code.Name()), Detail: e.Message,
			Remote: s.conn.RemoteAddr().Addr().Unmap().String(), Protocol: s.protocol,
		})
	}
	s.dev.Close(err)
}

// endReason names why a connection ended, for the metric.
func endReason(orderly bool, err error) string {
	switch {
	case orderly:
		return "disconnect"
	case err == nil, errors.Is(err, io.EOF):
		return "end_of_stream"
	case errors.Is(err, front.ErrIdle):
		return "keep_alive"
	case errors.Is(err, front.ErrSlowReader):
		return "slow_reader"
	case errors.Is(err, front.ErrShutdown):
		return "shutdown"
	case iot.CodeOf(err) == iot.ReplacedByNewConnection:
		return "taken_over"
	case iot.CodeOf(err) == iot.ServiceUnavailable:
		return "not_stored"
	case iot.CodeOf(err) != iot.ServerError:
		return "refused"
	}
	return "network"
}

// snake turns a documented name such as DeviceNotFound into device_not_found.
func snake(name string) string {
	b := make([]byte, 0, len(name)+4)
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			if i > 0 {
				b = append(b, '_')
			}
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return string(b)
}
