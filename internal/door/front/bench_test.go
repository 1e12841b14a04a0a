package front

import (
	"io"
	"net"
	"testing"
)

func onEach(b *testing.B, bench func(b bencher, v variant)) {
	b.Helper()
	for _, v := range []variant{{}, {version: 0x304}, {plain: true}, {plain: true, version: 0x304}} {
		b.Run(v.String(), func(b *testing.B) { bench(bencher{b}, v) })
	}
}

// One message of 150 bytes there and back on one connection, the client in
// the same process.
func BenchmarkRoundTrip(b *testing.B) {
	onEach(b, func(b bencher, v variant) {
		ts := start(b, v, Config{Open: newSessions(echo).open})
		nc := ts.dial(b)
		_ = nc.SetDeadline(never)
		msg := frame(make([]byte, 150))
		got := make([]byte, len(msg))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := nc.Write(msg); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(nc, got); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Messages of 150 bytes in one direction, 100 to a write.
func BenchmarkThroughput(b *testing.B) {
	onEach(b, func(b bencher, v variant) {
		const batch = 100
		msg := frame(make([]byte, 150))
		got, want := 0, make(chan int, 1)
		limit := -1
		ts := start(b, v, Config{Open: newSessions(func(s *session, p []byte) (int, error) {
			n := len(p) / len(msg)
			if got += n; limit < 0 {
				select {
				case limit = <-want:
				default:
				}
			}
			if got == limit {
				s.c.Write([]byte("all"))
			}
			return n * len(msg), nil
		}).open})
		nc := ts.dial(b)
		_ = nc.SetDeadline(never)
		var block []byte
		for range batch {
			block = append(block, msg...)
		}
		b.SetBytes(int64(len(block)))
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			if _, err := nc.Write(block); err != nil {
				b.Fatal(err)
			}
			n++
		}
		b.StopTimer()
		want <- (n + 1) * batch
		_, _ = nc.Write(block)
		if _, err := io.ReadFull(nc, make([]byte, 3)); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "msgs/s")
	})
}

// A connection made, used once and closed by the client.
func BenchmarkConnect(b *testing.B) {
	onEach(b, func(b bencher, v variant) {
		ts := start(b, v, Config{Open: newSessions(echo).open})
		got := make([]byte, 4)
		for b.Loop() {
			nc, err := net.Dial("tcp", ts.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			_ = nc.(*net.TCPConn).SetLinger(0) // leaves no port in TIME-WAIT
			stream := ts.wrap(b, nc)
			_, _ = stream.Write(got)
			if _, err := io.ReadFull(stream, got); err != nil {
				b.Fatal(err)
			}
			clear(got)
			nc.Close()
		}
	})
}
