// Package mqttd is the MQTT door: it speaks MQTT 3.1.1 as the public device
// SDKs do, turns PUBLISH packets into hub.Device.Send and acknowledges when
// the hub says that they are durable. It owns no socket (package front does)
// and knows no device (package hub does).
//
// Receive runs on the front's loop, Durable on the log's completion goroutine
// and Kick anywhere; the fields of a session are grouped by who may touch them.
package mqttd

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/door/front"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/guard"
)

// Config is what the door needs.
type Config struct {
	Hub        hub.Connector
	Guard      *guard.Log
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Door makes sessions for the connections of any number of fronts.
type Door struct {
	hub    hub.Connector
	guard  *guard.Log
	logger *slog.Logger
	ctx    context.Context // ends the blocking part of connects at shutdown
	kept   kept
	// resumeAfter is as the constant says; tests are impatient.
	resumeAfter time.Duration

	batches sync.Pool // *batch, scratch of one Receive
	acks    sync.Pool // *[]byte, scratch of one Durable

	connects prometheus.Counter
	ended    *prometheus.CounterVec
	acked    prometheus.Counter
	paused   prometheus.Counter
}

// New makes the door. ctx bounds the authentication of connects in progress.
func New(ctx context.Context, c Config) *Door {
	d := &Door{
		hub: c.Hub, guard: c.Guard, logger: c.Logger, ctx: ctx, kept: kept{sessions: map[iot.ID]keptSession{}}, resumeAfter: resumeAfter,
		batches: sync.Pool{New: func() any { return new(batch) }},
		acks:    sync.Pool{New: func() any { b := make([]byte, 0, 256); return &b }},
		connects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_mqtt_connects_total",
			Help: "MQTT connects accepted.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_mqtt_connections_ended_total",
			Help: "Ended MQTT connections of authenticated devices by reason.",
		}, []string{"reason"}),
		acked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_mqtt_messages_acknowledged_total",
			Help: "Messages that became durable: acknowledged with PUBACK at QoS 1.",
		}),
		paused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dunlin_mqtt_pauses_total",
			Help: "Times a connection was not read because it had too many unacknowledged messages.",
		}),
	}
	c.Registerer.MustRegister(d.connects, d.ended, d.acked, d.paused)
	return d
}

// Open gives the opener of a front whose connections speak MQTT under this
// protocol name: "MQTT" or "MQTT-WS".
func (d *Door) Open(protocol string) front.Opener {
	return func(c front.Conn) front.Session {
		return &session{door: d, conn: c, protocol: protocol}
	}
}

// Limits of the door. maxPacket leaves room for the topic and its escaped
// property bag beside a message of the largest size; what the message itself
// may hold is checked after decoding.
const (
	maxConnect   = 64 << 10
	maxPacket    = 4 * iot.MaxMessage
	maxUnsettled = 8192 // messages of a connection that are not durable yet
	maxFilters   = 5
)
