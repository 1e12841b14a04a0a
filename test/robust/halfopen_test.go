package robust

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// setup is how long a connection may take until its CONNECT is complete, and
// a little more.
const setup = 30*time.Second + 6*time.Second

// ended waits for the peer to close a raw connection.
func ended(t *testing.T, c net.Conn, d time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(d)) // a closed connection answers below
	b := make([]byte, 4096)
	for {
		_, err := c.Read(b)
		if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // from the connection itself
			t.Errorf("still open after %s", d)
			return
		}
		if err != nil {
			return
		}
	}
}

// TestSilentPeers: a peer that stops half way is closed in time.
func TestSilentPeers(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true})
	key := s.Device("slow")
	tcp := func(t *testing.T, addr string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	hello := device.HelloFor(s.Info.HostName, "slow", key).Packet().Append(nil)
	clientHello := recordedClientHello(t)
	tests := map[string]func(t *testing.T){
		"after TCP connect":       func(t *testing.T) { ended(t, tcp(t, s.MQTTAddr()), setup) },
		"after TCP connect plain": func(t *testing.T) { ended(t, tcp(t, s.PlainAddr()), setup) },
		"after TCP connect HTTPS": func(t *testing.T) { ended(t, tcp(t, s.HTTPSAddr()), setup) },
		"after TLS":               func(t *testing.T) { ended(t, dial(t, s), setup) },
		"in the ClientHello": func(t *testing.T) {
			c := tcp(t, s.MQTTAddr())
			c.Write(clientHello[:len(clientHello)/2]) // ended tells
			ended(t, c, setup)
		},
		"after the ClientHello": func(t *testing.T) {
			c := tcp(t, s.MQTTAddr())
			c.Write(clientHello) // ended tells
			ended(t, c, setup)
		},
		"in the CONNECT": func(t *testing.T) {
			c := dial(t, s)
			c.Write(hello[:len(hello)/2]) // ended tells
			ended(t, c, setup)
		},
		"CONNECT dribbled too slowly": func(t *testing.T) {
			c := dial(t, s)
			done := make(chan struct{})
			defer close(done)
			go func() {
				for _, b := range hello {
					select {
					case <-done:
						return
					case <-time.After(time.Second):
						c.Write([]byte{b}) // ended tells
					}
				}
			}()
			ended(t, c, setup)
		},
		"keep alive": func(t *testing.T) {
			key := s.Device("quiet")
			c := dial(t, s)
			h := device.HelloFor(s.Info.HostName, "quiet", key)
			h.KeepAlive = 2 * time.Second
			if err := c.Hello(h); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			ended(t, c, 10*time.Second)
			if d := time.Since(start); d < 2*time.Second {
				t.Errorf("closed after %s, before the keep alive had passed", d)
			}
		},
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t)
		})
	}
	t.Run("garbage and truncated TLS", func(t *testing.T) {
		t.Parallel()
		for _, b := range [][]byte{hello, []byte("GET / HTTP/1.1\r\n\r\n"), clientHello[:7], append(clientHello[:40:40], make([]byte, 2000)...)} {
			c := tcp(t, s.MQTTAddr())
			c.Write(b) // ended tells
			c.(*net.TCPConn).CloseWrite()
			ended(t, c, closes)
		}
	})
	t.Run("CONNECT dribbled byte by byte", func(t *testing.T) {
		t.Parallel()
		c := dial(t, s)
		for _, b := range hello {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Millisecond)
		}
		p, err := c.Receive(10 * time.Second)
		if err != nil || p.Type != device.Connack || p.Body[1] != 0 {
			t.Fatalf("%+v, %v", p, err)
		}
		for _, b := range device.Message(device.EventsTopic("slow"), []byte("dribbled"), 1, 3).Append(nil) {
			if _, err := c.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if p, err := c.Receive(10 * time.Second); err != nil || p.Type != device.Puback {
			t.Fatalf("%+v, %v", p, err)
		}
	})
}

// recordedClientHello gives the first bytes of a TLS handshake.
func recordedClientHello(t *testing.T) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake() // it is cut off
	b := make([]byte, 16<<10)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	if n < 100 {
		t.Fatalf("a ClientHello of %d bytes", n)
	}
	return b[:n]
}

// TestHalfOpen: a thousand connections that go nowhere do not keep real
// devices from connecting and sending.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	const halfOpen, decent = 1000, 5
	s := harness.Start(t, harness.Options{})
	keys := make([]string, decent+1)
	for i := range keys {
		keys[i] = s.Device("real-" + strconv.Itoa(i))
	}
	var early []*device.Conn
	for i := range decent {
		early = append(early, connected(t, s, "real-"+strconv.Itoa(i), keys[i]))
	}
	var mu sync.Mutex
	var open []net.Conn
	var dialing sync.WaitGroup
	for w := range 10 {
		dialing.Go(func() {
			for range halfOpen / 10 {
				var c net.Conn
				var err error
				if w%2 == 0 {
					c, err = net.Dial("tcp", s.MQTTAddr())
				} else {
					c, err = device.Dial(context.Background(), s.MQTTAddr(), s.TLS())
				}
				if err != nil {
					t.Errorf("half-open connection: %v", err)
					return
				}
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
			}
		})
	}
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	var times []time.Duration
	var timesMu sync.Mutex
	send := func(rounds int) {
		var sending sync.WaitGroup
		for i, c := range early {
			sending.Go(func() {
				for n := range rounds {
					start := time.Now()
					alive(t, c, "real-"+strconv.Itoa(i), uint16(n+1))
					timesMu.Lock()
					times = append(times, time.Since(start))
					timesMu.Unlock()
				}
			})
		}
		sending.Wait()
	}
	send(50) // while they come
	dialing.Wait()
	if len(open) != halfOpen {
		t.Fatalf("%d half-open connections, want %d", len(open), halfOpen)
	}
	send(50) // while they stand
	late := connected(t, s, "real-"+strconv.Itoa(decent), keys[decent])
	alive(t, late, "real-"+strconv.Itoa(decent), 1)
	slices.Sort(times)
	p99 := times[len(times)*99/100]
	t.Logf("acknowledged within p50 %s, p99 %s, at most %s", times[len(times)/2], p99, times[len(times)-1])
	if p99 > 2*time.Second {
		t.Errorf("p99 of the acknowledgements of real devices is %s", p99)
	}
}
