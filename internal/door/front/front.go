// Package front owns the sockets of device connections: it accepts them, runs
// TLS handshakes, reads and writes, keeps deadlines and limits, and drains at
// shutdown. What the bytes mean is the business of a Session. On Linux one
// loop goroutine serves all sockets through an epoll set that is nested in
// the runtime's poller; elsewhere, and for connections that come as a
// net.Conn (WebSocket), a goroutine per connection does the same behind the
// same two interfaces.
package front

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"time"
)

// Session is the protocol side of one connection. Receive and Closed are
// called one at a time and never after Closed; they must not block: work that
// may block goes through Conn.Go.
type Session interface {
	// Receive is shown all bytes that have arrived and not been taken yet, and
	// answers how many it took. b is valid only during the call; what is left
	// is shown again, with more, when more has arrived. An error closes the
	// connection.
	Receive(b []byte) (n int, err error)
	// Closed is called once, last, when the connection has ended: nil for an
	// end of stream by the peer, io errors, one of this package's errors, or
	// the error given to Conn.Close.
	Closed(err error)
}

// Conn is the socket side of one connection. Its methods may be called by any
// goroutine, after the end as well (then they do nothing), and never block.
type Conn interface {
	// Write sends p or keeps a copy until the socket takes it. What is written
	// during Receive goes out in one piece after it. A peer that leaves more
	// than Limits.MaxPending unread is closed with ErrSlowReader; the length of
	// a single Write does not matter when nothing else waits.
	Write(p []byte)
	// Close sends what is pending, as far as the peer takes it within two
	// seconds, then closes; later Writes do nothing. The first reason given
	// wins. Receive is not called any more once Close was called by the
	// session; Closed follows, never from within Close.
	Close(reason error)
	// Pause stops Receive (and reading from the socket, after what is being
	// read); Resume goes on, and shows again what was left. A Receive that runs
	// is not waited for. Pauses do not count: one Resume undoes any number of
	// them. The idle limit does not count the time of a pause.
	Pause()
	Resume()
	// Go runs fn in its own goroutine; neither Receive nor Closed is called
	// until it is done, although the socket may be closed meanwhile. What
	// Receive left is shown again then.
	Go(fn func())
	// SetIdle closes the connection with ErrIdle when nothing has arrived for
	// d. It replaces the limit on the time to the first packet, and a later
	// call replaces an earlier one. Resolution is a second; 0 means no limit.
	SetIdle(d time.Duration)
	RemoteAddr() netip.AddrPort
	// TLS is the state of the handshake, nil on a plain connection. Callers
	// must not keep it: it holds the peer's certificates.
	TLS() *tls.ConnectionState
}

// Opener makes the session of a new connection, after the TLS handshake if
// there is one. It must not block, nor return nil: to refuse, call c.Close.
type Opener func(c Conn) Session

// Limits bounds what peers can make the front hold.
type Limits struct {
	MaxConns    int           // open connections; 0 means no limit
	MaxHalfOpen int           // connections that have not called SetIdle yet; the oldest is closed for a new one. 0 means 10000
	Handshakes  int           // TLS handshakes at a time. 0 means 4 x GOMAXPROCS
	Setup       time.Duration // accept to SetIdle (TLS handshake and first packet). 0 means 30 s
	MaxUnread   int           // bytes that a session may leave in Receive. 0 means 512 KiB
	MaxPending  int           // bytes waiting for a slow reader. 0 means 256 KiB
}

// Errors that Session.Closed can see.
var (
	ErrIdle       = errors.New("front: nothing received within the keep-alive limit")
	ErrSetup      = errors.New("front: no complete first packet within the time limit")
	ErrSlowReader = errors.New("front: peer does not read what it is sent")
	ErrTooLong    = errors.New("front: packet longer than the limit")
	ErrHalfOpen   = errors.New("front: too many connections without a first packet")
	ErrShutdown   = errors.New("front: server is shutting down")
)
