package mqttd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/door/front"
	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/eventlog/memlog"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/ingest"
	"dunlin/internal/trust/guard"
	"dunlin/internal/wire/mqtt"
	"dunlin/internal/wire/record"
)

// desk lets in whoever has the password "ok" and appends to a real log; it
// stands for the hub, whose registry and presence have tests of their own.
type desk struct {
	log  eventlog.Log
	room *ingest.Room

	mu      sync.Mutex
	conns   map[iot.ID]hub.Conn
	devices map[iot.ID]*testDevice
	ended   chan error

	generation uint64 // of the devices that connect from now on
}

func (d *desk) Connect(_ context.Context, c hub.Credentials, conn hub.Conn) (hub.Device, error) {
	switch c.Token {
	case "ok":
	case "busy":
		return nil, iot.Errorf(iot.ServiceUnavailable, "try later")
	default:
		return nil, iot.Errorf(iot.UnauthorizedAccess, "wrong password")
	}
	d.mu.Lock()
	generation := d.generation
	d.mu.Unlock()
	dev := &testDevice{generation: generation, desk: d, id: c.ID, wants: make(chan iot.Kind, 16), replies: make(chan string, 16), settled: make(chan iot.LockToken, 16), source: d.room.Source(iot.Origin{ID: c.ID, Model: c.Model}, conn)}
	d.mu.Lock()
	d.conns[c.ID], d.devices[c.ID] = conn, dev
	d.mu.Unlock()
	return dev, nil
}

func (d *desk) device(id iot.ID) *testDevice {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.devices[id]
}

func (d *desk) conn(id iot.ID) hub.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.conns[id]
}

type testDevice struct {
	desk    *desk
	id      iot.ID
	source  ingest.Source
	version int64

	generation uint64
	wants      chan iot.Kind
	replies    chan string
	settled    chan iot.LockToken
}

func (d *testDevice) ID() iot.ID                              { return d.id }
func (d *testDevice) Generation() uint64                      { return d.generation }
func (d *testDevice) Send(now int64, msgs []iot.Message) bool { return d.source.Send(now, msgs) }
func (d *testDevice) Close(reason error)                      { d.desk.ended <- reason }

func (d *testDevice) Want(k iot.Kind, on bool) {
	if on {
		d.wants <- k
	}
}

func (d *testDevice) Twin(done func([]byte, error)) {
	go done([]byte(`{"desired":{"$version":1},"reported":{"$version":1}}`), nil)
}

func (d *testDevice) Report(patch []byte, ifVersion int64, done func(int64, error)) {
	if ifVersion != 0 && ifVersion != d.version {
		go done(0, iot.Errorf(iot.PreconditionFailed, "version is %d", d.version))
		return
	}
	d.version++
	version := d.version
	go done(version, nil)
}

func (d *testDevice) Reply(request []byte, status int, payload []byte) {
	d.replies <- fmt.Sprintf("%s %d %s", request, status, payload)
}

func (d *testDevice) Settle(token iot.LockToken, o iot.Outcome) {
	if o == iot.Complete {
		d.settled <- token
	}
}

// server is a door behind a real front on loopback.
type server struct {
	*desk
	door  *Door
	guard *guard.Log
	addr  string
}

func newDoor(t testing.TB, log eventlog.Log) (*desk, *Door, *guard.Log) {
	t.Helper()
	reg := prometheus.NewRegistry()
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: t.TempDir() + "/state.db"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	logger := slog.New(slog.DiscardHandler)
	g, err := guard.Open(t.Context(), db, logger, reg)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{
		log: log, room: ingest.New(ingest.Deps{Log: log, Registerer: reg}),
		conns: map[iot.ID]hub.Conn{}, devices: map[iot.ID]*testDevice{}, ended: make(chan error, 100),
	}
	return d, New(t.Context(), Config{Hub: d, Guard: g, Logger: logger, Registerer: reg}), g
}

func start(t *testing.T, log eventlog.Log) *server {
	t.Helper()
	d, door, g := newDoor(t, log)
	f, err := front.Listen(t.Context(), "127.0.0.1:0", front.Config{Open: door.Open("MQTT"), Grace: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &server{desk: d, door: door, guard: g, addr: f.Addr().String()}
}

// peer is a raw client.
type peer struct {
	t  *testing.T
	nc net.Conn
	in []byte
}

func (s *server) dial(t *testing.T) *peer {
	t.Helper()
	nc, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: t, nc: nc}
}

func connectPacket(t testing.TB, change func(*mqtt.Connect)) []byte {
	t.Helper()
	c := mqtt.Connect{
		Version: mqtt.V311, CleanStart: true, KeepAlive: 60, ClientID: []byte("d"),
		UserName: []byte("hub.test/d/?api-version=2021-04-12"), Password: []byte("ok"),
	}
	if change != nil {
		change(&c)
	}
	b, err := c.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func publishPacket(t testing.TB, topic string, qos byte, id uint16, payload []byte) []byte {
	t.Helper()
	p := mqtt.Publish{Topic: []byte(topic), QoS: qos, PacketID: id, Payload: payload}
	b, err := p.Append(nil, mqtt.V311)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// connected is a peer whose CONNECT was accepted.
func (s *server) connected(t *testing.T, change func(*mqtt.Connect)) *peer {
	t.Helper()
	p := s.dial(t)
	p.send(connectPacket(t, change))
	p.want([]byte{0x20, 2, 0, 0})
	return p
}

func (p *peer) send(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// want reads exactly these bytes.
func (p *peer) want(b []byte) {
	p.t.Helper()
	got := make([]byte, len(b))
	if n, err := io.ReadFull(p.nc, got); err != nil || !bytes.Equal(got, b) {
		at := 0
		for at < n && got[at] == b[at] {
			at++
		}
		p.t.Fatalf("got %d of %d bytes (%v), from byte %d on % x, want % x", n, len(b), err, at,
			got[at:min(n, at+16)], b[at:min(len(b), at+16)])
	}
}

// wantClosed reads the end of the stream and nothing before it.
func (p *peer) wantClosed() {
	p.t.Helper()
	var b [64]byte
	n, err := p.nc.Read(b[:])
	var timeout net.Error
	if n > 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatalf("connection still open: % x, %v", b[:n], err)
	}
}

// stored waits for n messages of a device in the log and gives them decoded.
func (s *server) stored(t *testing.T, device string, n int) []record.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var out []record.Event
	part := eventlog.Partition(device, s.log.Partitions())
	for r, err := range s.log.Read(ctx, part, eventlog.ReadOptions{Follow: n > 0}) {
		if err != nil {
			t.Fatalf("%d messages stored, want %d: %v", len(out), n, err)
		}
		var e record.Event
		if err := record.Decode(bytes.Clone(r.Data), &e); err != nil {
			t.Fatal(err)
		}
		if e.Origin.ID.Device == device {
			out = append(out, e)
		}
		if len(out) == n {
			break
		}
	}
	return out
}

func newLog(t testing.TB) eventlog.Log {
	t.Helper()
	log := memlog.New(memlog.Config{})
	t.Cleanup(func() { log.Close() })
	return log
}

// silent is a front.Conn that keeps nothing: for benchmarks of the session alone.
type silent struct{ wrote int }

func (c *silent) Write(p []byte)             { c.wrote += len(p) }
func (c *silent) Close(error)                {}
func (c *silent) Pause()                     {}
func (c *silent) Resume()                    {}
func (c *silent) Go(fn func())               { fn() }
func (c *silent) SetIdle(time.Duration)      {}
func (c *silent) RemoteAddr() netip.AddrPort { return netip.AddrPort{} }
func (c *silent) TLS() *tls.ConnectionState  { return nil }
