package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	mrand "math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// roundTrip sends one frame and wants it back.
func roundTrip(tb testing.TB, nc net.Conn, size int) {
	tb.Helper()
	payload := make([]byte, size)
	_, _ = rand.Read(payload)
	sent := frame(payload)
	if _, err := nc.Write(sent); err != nil {
		tb.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(nc, got); err != nil {
		tb.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		tb.Fatal("echo differs")
	}
}

func TestEcho(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		for _, size := range []int{0, 1, 100, 5_000, 16_384, 70_000, 200_000, 3} {
			roundTrip(t, nc, size)
		}
		s := ss.next(t)
		if (s.c.TLS() != nil) != (v.version != 0) {
			t.Error("TLS state does not fit the connection")
		}
		if s.c.TLS() != nil && s.c.TLS().Version != v.version {
			t.Errorf("TLS version %x", s.c.TLS().Version)
		}
		if got, want := s.c.RemoteAddr().String(), nc.LocalAddr().String(); got != want {
			t.Errorf("remote address %s, want %s", got, want)
		}
		nc.Close()
		if err := s.wait(t); err != nil {
			t.Errorf("Closed(%v) after the peer's end of stream", err)
		}
		eventually(t, "closed", func() bool { return ts.Stats().Open == 0 })
		if st := ts.Stats(); st.BytesIn < 290_000 || st.BytesOut < 290_000 {
			t.Errorf("stats: %+v", st)
		}
	})
}

// cut passes bytes on in random pieces.
func cut(dst, src net.Conn, limit int, rng *mrand.Rand) {
	buf := make([]byte, limit)
	for {
		n, err := src.Read(buf[:1+rng.IntN(limit)])
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_ = dst.(*net.TCPConn).CloseWrite()
}

// through dials by way of a proxy that cuts both directions into pieces.
func (ts *testServer) through(tb testing.TB, limit int, seed uint64) net.Conn {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	front, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	inner, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	outer := ts.dialTCP(tb)
	_ = front.SetDeadline(time.Now().Add(60 * time.Second))
	var wg sync.WaitGroup
	wg.Go(func() { cut(outer, inner, limit, mrand.New(mrand.NewPCG(seed, 1))) })
	wg.Go(func() { cut(inner, outer, limit, mrand.New(mrand.NewPCG(seed, 2))) })
	tb.Cleanup(func() {
		front.Close()
		inner.Close()
		outer.Close()
		wg.Wait()
	})
	return ts.wrap(tb, front)
}

func TestRandomCuts(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		var wg sync.WaitGroup
		for i, limit := range []int{1, 7, 100, 3_000, 32_000, 7, 100, 3_000} {
			nc := ts.through(t, limit, uint64(i))
			rng := mrand.New(mrand.NewPCG(uint64(i), 3))
			budget := min(limit*1_000, 2_000_000)
			payload := make([]byte, budget)
			_, _ = rand.Read(payload)
			var sent []byte
			for len(payload) > 0 {
				n := min(len(payload), rng.IntN(min(60_000, budget/2)))
				sent = append(sent, frame(payload[:n])...)
				payload = payload[n:]
			}
			wg.Go(func() {
				if _, err := nc.Write(sent); err != nil {
					t.Errorf("limit %d: %v", limit, err)
				}
			})
			wg.Go(func() {
				got := make([]byte, len(sent))
				if n, err := io.ReadFull(nc, got); err != nil {
					t.Errorf("limit %d: %v after %d of %d bytes", limit, err, n, len(sent))
				} else if !bytes.Equal(got, sent) {
					t.Errorf("limit %d: echo differs", limit)
				}
			})
		}
		wg.Wait()
	})
}

func TestDribble(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		sent := frame([]byte("one byte at a time"))
		for i := range sent {
			if _, err := nc.Write(sent[i : i+1]); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}

// A reader that starts late gets every byte, if the limit allows so many.
func TestLateReader(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxPending: 64 << 20}})
		nc := ts.dial(t)
		want := make([]byte, 4<<20)
		_, _ = rand.Read(want)
		c := ss.next(t).c
		for p := want; len(p) > 0; {
			n := min(len(p), 30_000)
			c.Write(p[:n])
			p = p[n:]
		}
		got := make([]byte, len(want))
		if _, err := io.ReadFull(nc, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Error("bytes differ")
		}
		roundTrip(t, nc, 10)
	})
}

// One peer that never reads is closed; nobody else notices.
func TestSlowReader(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		ts.dial(t)
		slow := ss.next(t)
		other := ts.dial(t)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			block := make([]byte, 20_000)
			for {
				select {
				case <-stop:
					return
				default:
					slow.c.Write(block)
				}
			}
		})
		for range 50 {
			roundTrip(t, other, 100)
		}
		if err := slow.wait(t); !errors.Is(err, ErrSlowReader) {
			t.Errorf("Closed(%v)", err)
		}
		close(stop)
		wg.Wait()
		roundTrip(t, other, 100)
	})
}

func TestTooLong(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(func(*session, []byte) (int, error) { return 0, nil })
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxUnread: 100_000}})
		nc := ts.dial(t)
		go func() { _, _ = nc.Write(make([]byte, 400_000)) }()
		if err := ss.next(t).wait(t); !errors.Is(err, ErrTooLong) {
			t.Errorf("Closed(%v)", err)
		}
		_, _ = io.Copy(io.Discard, nc)
	})
}

// What is written before Close arrives, although the peer has sent bytes that
// nobody reads.
func TestCloseFlushes(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		reason := errors.New("not today")
		ss := newSessions(func(s *session, b []byte) (int, error) {
			s.c.Write(make([]byte, 150_000))
			s.c.Write([]byte("goodbye"))
			s.c.Close(reason)
			s.c.Close(errors.New("a second reason"))
			s.c.Write([]byte("too late"))
			return 1, nil
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		if _, err := nc.Write(make([]byte, 50_000)); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(nc)
		if err != nil || len(got) != 150_007 || !bytes.HasSuffix(got, []byte("goodbye")) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if err := ss.next(t).wait(t); !errors.Is(err, reason) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

func TestReceiveError(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		reason := errors.New("malformed")
		ss := newSessions(func(s *session, b []byte) (int, error) {
			s.c.Write([]byte("refused"))
			return 0, reason
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		_, _ = nc.Write([]byte("x"))
		if got, err := io.ReadAll(nc); err != nil || string(got) != "refused" {
			t.Errorf("%q, %v", got, err)
		}
		if err := ss.next(t).wait(t); !errors.Is(err, reason) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

func TestCloseWithoutReason(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(func(s *session, b []byte) (int, error) {
			s.c.Close(nil)
			s.c.Close(errors.New("later"))
			return len(b), nil
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		_, _ = nc.Write([]byte("x"))
		if err := ss.next(t).wait(t); err != nil {
			t.Errorf("Closed(%v)", err)
		}
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("peer sees %v", err)
		}
	})
}

func TestPeerReset(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		tcp := ts.dialTCP(t).(*net.TCPConn)
		roundTrip(t, ts.wrap(t, tcp), 10)
		_ = tcp.SetLinger(0)
		tcp.Close()
		if err := ss.next(t).wait(t); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

func TestIdle(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ss.idle = time.Second
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		begin := time.Now()
		for range 5 {
			roundTrip(t, nc, 10)
			time.Sleep(500 * time.Millisecond)
		}
		s := ss.next(t)
		if err := s.wait(t); !errors.Is(err, ErrIdle) {
			t.Errorf("Closed(%v)", err)
		}
		if d := time.Since(begin); d < 3*time.Second || d > 9*time.Second {
			t.Errorf("closed after %v", d)
		}
	})
}

func TestIdleReplaced(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ss.idle = time.Hour
		ts := start(t, v, Config{Open: ss.open})
		ts.dial(t)
		s := ss.next(t)
		s.c.SetIdle(time.Second)
		if err := s.wait(t); !errors.Is(err, ErrIdle) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

// A pause is ours: a device is not idle because we do not read.
func TestPausedIsNotIdle(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ss.idle = time.Second
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		s := ss.next(t)
		s.c.Pause()
		time.Sleep(2500 * time.Millisecond)
		s.c.Resume()
		roundTrip(t, nc, 10)
	})
}

func TestSilentAfterOpen(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ss.noIdle = true
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{Setup: time.Second}})
		nc := ts.dial(t)
		_, _ = nc.Write([]byte("h")) // does not prolong it
		if err := ss.next(t).wait(t); !errors.Is(err, ErrSetup) {
			t.Errorf("Closed(%v)", err)
		}
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("peer sees %v", err)
		}
	})
}

func TestMaxConns(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxConns: 2}})
		a, b := ts.dial(t), ts.dial(t)
		roundTrip(t, a, 1)
		roundTrip(t, b, 1)
		if _, err := ts.dialTCP(t).Read(make([]byte, 1)); err == nil {
			t.Error("a third connection is served")
		}
		eventually(t, "rejected", func() bool { return ts.Stats().Rejected == 1 && len(ts.failures()) == 1 })
		if got := ts.failures()[0]; got != KindFull {
			t.Errorf("failed as %s", got)
		}
		a.Close()
		eventually(t, "room", func() bool { return ts.Stats().Open == 1 })
		roundTrip(t, ts.dial(t), 1)
	})
}

// Connections that never say anything do not keep real ones out.
func TestHalfOpenFlood(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(func(s *session, b []byte) (int, error) {
			n, err := echo(s, b)
			if n > 0 {
				s.c.SetIdle(time.Minute)
			}
			return n, err
		})
		ss.noIdle = true
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxHalfOpen: 200, Handshakes: 2}})
		device := ts.dial(t)
		roundTrip(t, device, 10)
		for i := range 1_000 {
			nc := ts.dialTCP(t)
			if i%2 == 0 {
				_, _ = nc.Write([]byte{0x16, 3, 1}) // the start of a TLS record
			}
			if i%100 == 0 {
				roundTrip(t, device, 10)
				roundTrip(t, ts.dial(t), 10)
			}
		}
		eventually(t, "accepted", func() bool { return ts.Stats().Accepted >= 1_011 })
		if st := ts.Stats(); st.HalfOpen > 200 {
			t.Errorf("%d half-open connections", st.HalfOpen)
		}
		eventually(t, "old ones closed", func() bool { return ts.Stats().Open <= 200+11 })
		roundTrip(t, device, 10)
	})
}

// The oldest connection that is not set up goes for a new one.
func TestHalfOpenOldest(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ss.noIdle = true
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxHalfOpen: 2}})
		ts.dial(t)
		first := ss.next(t)
		ts.dial(t)
		second := ss.next(t)
		first.c.SetIdle(0) // set up: not one of them
		ts.dial(t)
		third := ss.next(t)
		ts.dial(t)
		if err := second.wait(t); !errors.Is(err, ErrHalfOpen) {
			t.Errorf("Closed(%v)", err)
		}
		if len(first.closed)+len(third.closed) > 0 {
			t.Error("another connection was closed")
		}
	})
}

// Conn.Go keeps Receive and Closed away, and what was left is shown after it.
func TestGo(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		gate := make(chan struct{})
		var running bool
		ss := newSessions(func(s *session, b []byte) (int, error) {
			if running {
				t.Error("Receive during Conn.Go")
			}
			if b[0] == 'g' {
				running = true
				s.c.Go(func() {
					<-gate
					running = false
					s.c.Write([]byte("done "))
				})
				return 1, nil
			}
			s.c.Write(b)
			return len(b), nil
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		_, _ = nc.Write([]byte("ghello"))
		gate <- struct{}{}
		got := make([]byte, 10)
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "done hello" {
			t.Errorf("%q, %v", got, err)
		}
		_, _ = nc.Write([]byte("g"))
		s := ss.next(t)
		gate <- struct{}{}
		_, _ = io.ReadFull(nc, got[:5])

		_, _ = nc.Write([]byte("g"))
		time.Sleep(20 * time.Millisecond)
		s.c.Close(nil)
		nc.Close()
		select {
		case <-s.closed:
			t.Error("Closed during Conn.Go")
		case <-time.After(50 * time.Millisecond):
		}
		gate <- struct{}{}
		if err := s.wait(t); err != nil {
			t.Errorf("Closed(%v)", err)
		}
		s.c.Go(func() { t.Error("Go after the end") })
	})
}

func TestPause(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(func(s *session, b []byte) (int, error) {
			// One byte at a time, a pause after each.
			s.c.Write(b[:1])
			s.c.Pause()
			go s.c.Resume()
			return 1, nil
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		want := make([]byte, 2_000)
		_, _ = rand.Read(want)
		_, _ = nc.Write(want)
		got := make([]byte, len(want))
		if n, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestPauseHoldsBack(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		const total = 20 << 20
		got := 0
		ss := newSessions(func(s *session, b []byte) (int, error) {
			if got += len(b); got == total {
				s.c.Write([]byte("all"))
			}
			return len(b), nil
		})
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		s := ss.next(t)
		s.c.Pause()
		go func() { _, _ = nc.Write(make([]byte, total)) }()
		time.Sleep(200 * time.Millisecond)
		// What a paused connection may hold is a buffer, not the stream.
		if in := ts.Stats().BytesIn; in > 200_000 {
			t.Errorf("%d bytes read during a pause", in)
		}
		s.c.Resume()
		if _, err := io.ReadFull(nc, make([]byte, 3)); err != nil {
			t.Error(err)
		}
	})
}

// Everything at once from several goroutines; the race detector looks on.
func TestRaces(t *testing.T) {
	everywhere(t, func(t tester, v variant) {
		ss := newSessions(func(s *session, b []byte) (int, error) {
			switch b[0] % 8 {
			case 0:
				s.c.Go(func() { s.c.Write([]byte("from a job")) })
			case 1:
				s.c.Pause()
				go s.c.Resume()
			case 2:
				s.c.SetIdle(time.Minute)
			}
			s.c.Write(b[:1])
			return (len(b) + 1) / 2, nil
		})
		ts := start(t, v, Config{Open: ss.open, Limits: Limits{MaxPending: 1 << 20}})
		var wg sync.WaitGroup
		for i := range 40 {
			nc := ts.dial(t)
			s := ss.next(t)
			rng := mrand.New(mrand.NewPCG(uint64(i), 9))
			payload := make([]byte, 3_000)
			for j := range payload {
				payload[j] = byte(rng.Uint32())
			}
			pause := time.Duration(rng.IntN(20)) * time.Millisecond
			wg.Go(func() { _, _ = io.Copy(io.Discard, nc) })
			wg.Go(func() {
				for p := payload; len(p) > 0; p = p[min(len(p), 100):] {
					if _, err := nc.Write(p[:min(len(p), 100)]); err != nil {
						return
					}
				}
			})
			wg.Go(func() {
				for range 50 {
					s.c.Write([]byte("from elsewhere"))
					s.c.Pause()
					s.c.Go(func() {})
					s.c.Resume()
				}
			})
			wg.Go(func() {
				time.Sleep(pause)
				switch i % 3 {
				case 0:
					s.c.Close(ErrSetup)
				case 1:
					nc.Close()
				case 2:
					s.c.Resume()
					time.Sleep(10 * time.Millisecond)
					s.c.Close(nil)
					nc.Close()
				}
			})
			wg.Go(func() {
				s.wait(t)
				s.c.Write([]byte("after the end"))
				s.c.Resume()
				s.c.SetIdle(time.Second)
				s.c.Close(nil)
			})
		}
		wg.Wait()
	})
}

// Drain stops Receive; sessions may still write until Close.
func TestDrain(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open})
		nc := ts.dial(t)
		roundTrip(t, nc, 10)
		s := ss.next(t)
		half := ts.dialTCP(t)
		eventually(t, "accepted", func() bool { return ts.Stats().Accepted == 2 })
		ts.Drain()
		if _, err := net.Dial("tcp", ts.Addr().String()); err == nil {
			t.Error("a drained server accepts")
		}
		if v.version != 0 {
			if _, err := half.Read(make([]byte, 1)); err == nil {
				t.Error("a connection without a session survives")
			}
		}
		_, _ = nc.Write(frame([]byte("not read")))
		time.Sleep(20 * time.Millisecond)
		s.c.Write([]byte("acknowledged"))
		got := make([]byte, 12)
		if _, err := io.ReadFull(nc, got); err != nil || string(got) != "acknowledged" {
			t.Errorf("%q, %v", got, err)
		}
		s.c.Write([]byte("last words"))
		ts.Close()
		if rest, err := io.ReadAll(nc); err != nil || string(rest) != "last words" {
			t.Errorf("%q, %v", rest, err)
		}
		if err := s.wait(t); !errors.Is(err, ErrShutdown) {
			t.Errorf("Closed(%v)", err)
		}
	})
}

// The end of Serve's context drains; it returns as soon as the sessions end.
func TestServeGrace(t *testing.T) {
	alongside(t, func(t tester, v variant) {
		ss := newSessions(echo)
		ts := start(t, v, Config{Open: ss.open, Grace: 300 * time.Millisecond})
		a, b := ts.dial(t), ts.dial(t)
		roundTrip(t, a, 10)
		roundTrip(t, b, 10)
		first, second := ss.next(t), ss.next(t)
		begin := time.Now()
		ts.cancel()
		first.c.Close(nil)
		if err := first.wait(t); err != nil {
			t.Errorf("Closed(%v)", err)
		}
		if err := second.wait(t); !errors.Is(err, ErrShutdown) {
			t.Errorf("Closed(%v)", err)
		}
		if d := time.Since(begin); d < 300*time.Millisecond {
			t.Errorf("closed after %v, before the grace was over", d)
		}
		a.Close()
		b.Close()
		ts.Close()
	})
}

func TestCloseUnserved(t *testing.T) {
	files := openFiles(t)
	for _, plain := range []bool{false, true} {
		s, err := Listen(t.Context(), "127.0.0.1:0", Config{Plain: plain, Open: newSessions(echo).open})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if s.Serve(context.Background()) == nil {
			t.Error("Serve after Close")
		}
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors before, %d after", files, n)
	}
}

func TestListenPortInUse(t *testing.T) {
	ts := start(t, variant{}, Config{Open: newSessions(echo).open})
	_, err := Listen(t.Context(), ts.Addr().String(), Config{Open: newSessions(echo).open})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("Listen on a used port: %v", err)
	}
}

// A net.Conn that another server has accepted, as WebSockets are.
func TestServeConn(t *testing.T) {
	s, err := Listen(t.Context(), "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Addr() != nil {
		t.Error("an address without a listener")
	}
	ss := newSessions(echo)
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(far, ss.open)
	}()
	roundTrip(t, near, 70_000)
	near.Close()
	<-done
	if err := ss.next(t).wait(t); err != nil {
		t.Errorf("Closed(%v)", err)
	}

	near, far = net.Pipe()
	done = make(chan struct{})
	go func() {
		defer close(done)
		s.ServeConn(far, ss.open)
	}()
	roundTrip(t, near, 7)
	s.Close()
	<-done
	if err := ss.next(t).wait(t); !errors.Is(err, ErrShutdown) {
		t.Errorf("Closed(%v)", err)
	}
	s.ServeConn(far, ss.open) // returns at once
	near.Close()
}

// Several loops share one listener.
func TestLoops(t *testing.T) {
	for _, version := range []uint16{0, tls.VersionTLS13} {
		ss := newSessions(echo)
		ts := start(t, variant{version: version}, Config{Open: ss.open, Loops: 3})
		for i := range 30 {
			nc := ts.dial(t)
			roundTrip(t, nc, 5_000)
			if i%2 == 0 {
				nc.Close()
			}
		}
		go func() {
			for range 20 { // some come while the server ends
				if nc, err := net.Dial("tcp", ts.Addr().String()); err == nil {
					defer nc.Close()
				}
			}
		}()
		ts.Close()
		for range 15 {
			ss.next(t).wait(t)
		}
	}
}
