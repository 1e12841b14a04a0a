package mqttd

import (
	"bytes"
	"fmt"
	"testing"

	"dunlin/internal/engine/eventlog/natslog"
)

// waiting is a front.Conn that tells when reading goes on.
type waiting struct {
	silent
	resumed chan struct{}
}

func (c *waiting) Resume() { c.resumed <- struct{}{} }

// BenchmarkPublishPath measures the bytes of a socket to the appended record:
// packet, topic, property bag, record, append to the real log, and the
// acknowledgement written back when the commit is on disk. The time of an
// operation is that of the goroutine that reads the socket.
func BenchmarkPublishPath(b *testing.B) {
	for _, c := range []struct {
		name  string
		topic string
		per   int
	}{
		{"one a read", "devices/d/messages/events/", 1},
		{"16 a read", "devices/d/messages/events/", 16},
		{"16 a read with properties", "devices/d/messages/events/%24.mid=m-12345&%24.ct=application%2Fjson&%24.ce=utf-8&a=b", 16},
	} {
		b.Run(c.name, func(b *testing.B) {
			log, err := natslog.Open(b.Context(), natslog.Config{Dir: b.TempDir(), Durability: natslog.OS})
			if err != nil {
				b.Fatal(err)
			}
			d, door, _ := newDoor(b, log)
			conn := &waiting{resumed: make(chan struct{}, 16)}
			s := door.Open("MQTT")(conn).(*session)
			if _, err := s.Receive(connectPacket(b, nil)); err != nil {
				b.Fatal(err)
			}
			one := publishPacket(b, c.topic, 1, 9, make([]byte, 150))
			in := bytes.Repeat(one, c.per)
			b.ReportAllocs()
			b.SetBytes(int64(len(one)))
			b.ResetTimer()
			for i := 0; i < b.N; i += c.per {
				if n, err := s.Receive(in); n != len(in) || err != nil {
					b.Fatal(n, err)
				}
				if s.isHeld() { // the log is behind: that wait is the disk's, not the path's
					b.StopTimer()
					<-conn.resumed
					b.StartTimer()
				}
			}
			b.StopTimer()
			if err := log.Close(); err != nil {
				b.Fatal(err)
			}
			s.Closed(nil)
			if err := <-d.ended; err != nil {
				b.Fatal(err)
			}
			if want := 4 * ((b.N + c.per - 1) / c.per * c.per); conn.wrote-4 != want {
				b.Fatal(fmt.Errorf("%d bytes of acknowledgements, want %d", conn.wrote-4, want))
			}
		})
	}
}

func (s *session) isHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held != 0
}
