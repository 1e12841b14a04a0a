package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// TLS without a goroutine per connection. crypto/tls keeps a half-read record
// and goes on with the next Read when its transport fails with a net.Error
// that is Temporary. So the loop reads the socket, hands the bytes to the
// transport, and calls tls.Conn.Read until the transport is dry. A handshake
// cannot be interrupted like that: it has a goroutine for its few
// milliseconds, started when the first bytes have come.

// errDry is the transport's answer when the loop has no more bytes.
var errDry error = dryError{}

type dryError struct{}

func (dryError) Error() string   { return "front: no more bytes for now" }
func (dryError) Timeout() bool   { return true }
func (dryError) Temporary() bool { return true }

// A handshake is a connection's while its goroutine runs.
type handshake struct {
	c      *conn
	wake   chan struct{} // the socket has become readable
	stop   chan struct{} // closed by abort
	reason error         // of abort
	held   bool          // goroutine only: one of Server.slots
	err    error         // the result
}

// startHandshake runs on the loop.
func (c *conn) startHandshake() {
	h := &handshake{c: c, wake: make(chan struct{}, 1), stop: make(chan struct{})}
	c.hs, c.stage = h, stageHandshake
	c.tls = tls.Server((*transport)(c), c.l.s.cfg.TLS)
	if !c.l.s.spawn(h.run) {
		c.hs, c.stage = nil, stageHello
		c.end(ErrShutdown, true)
	}
}

func (h *handshake) run() {
	if h.err = h.acquire(); h.err == nil {
		h.err = h.c.tls.Handshake() //nolint:noctx // the transport ends it
	}
	h.release()
	h.c.command(cmdHandshake)
}

// acquire waits for the right to compute. It is held only while computing: a
// client that stalls in the middle keeps nobody else out.
func (h *handshake) acquire() error {
	select {
	case h.c.l.s.slots <- struct{}{}:
		h.held = true
		return nil
	case <-h.stop:
		return h.reason
	}
}

func (h *handshake) release() {
	if h.held {
		h.held = false
		<-h.c.l.s.slots
	}
}

// signal tells the goroutine that there is something to read.
func (h *handshake) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// abort makes the goroutine give up; it is called once, by the loop.
func (h *handshake) abort(reason error) {
	h.reason = reason
	close(h.stop)
}

func (h *handshake) read(p []byte) (int, error) {
	for {
		n, errno := sysRecv(h.c.fd, p)
		switch {
		case errno == 0 && n == 0:
			return 0, io.EOF
		case errno == 0:
			h.c.early.note(p[:n])
			h.c.l.s.bytesIn.Add(int64(n))
			return n, nil
		case errno != unix.EAGAIN && errno != unix.EINTR:
			return 0, os.NewSyscallError("read", errno)
		}
		h.release()
		select {
		case <-h.wake:
		case <-h.stop:
			return 0, h.reason
		}
		if err := h.acquire(); err != nil {
			return 0, err
		}
	}
}

// handshaken takes the connection back from its handshake.
func (c *conn) handshaken() {
	h, s := c.hs, c.l.s
	aborted := c.stage == stageAborted
	c.hs = nil
	if h.err == nil && !aborted {
		s.handshakes.Add(1)
		c.parked = true
		c.last = c.l.now()
		c.open()
		c.rearm(unix.EPOLLIN)
		c.pump() // the last bytes of the handshake may not have come alone
		if c.stage == stageOpen {
			trim(c.tls, 0) // of the size of the hello
		}
		return
	}
	c.stage, c.tls = stageHello, nil
	c.end(h.err, aborted)
}

// readTLS reads the socket once and shows the session what that completes.
func (c *conn) readTLS() {
	l := c.l
	n, errno := sysRecv(c.fd, l.cipher)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return
	case errno != 0:
		c.end(os.NewSyscallError("read", errno), true)
		return
	}
	c.last = l.now()
	l.s.bytesIn.Add(int64(n))
	l.feed, l.feedEOF = l.cipher[:n], n == 0
	c.pump()
	l.feed, l.feedEOF = nil, false
}

// pump decrypts until the transport is dry, also when the session pauses in
// the middle: so nothing but part of a record ever stays in tls.Conn, and a
// session that goes on is shown c.left.
func (c *conn) pump() {
	for c.stage == stageOpen {
		b, had := c.room()
		b = b[:cap(b)]
		n := had
		var err error
		for n < len(b) && err == nil {
			var m int
			m, err = c.tls.Read(b[n:])
			n += m
		}
		if n > had {
			c.deliver(b[:n])
		}
		switch {
		case err == nil:
		case errors.Is(err, errDry):
			if n-had < trimMin/4 {
				trim(c.tls, trimMin)
			}
			return
		case errors.Is(err, io.EOF):
			c.end(errEOF, false)
			return
		default:
			c.end(err, false)
			return
		}
	}
}

// A transport is the socket as tls.Conn sees it.
type transport conn

func (t *transport) Read(p []byte) (int, error) {
	c := (*conn)(t)
	if !c.parked {
		return c.hs.read(p)
	}
	l := c.l
	if len(l.feed) == 0 {
		if l.feedEOF {
			return 0, io.EOF
		}
		return 0, errDry
	}
	n := copy(p, l.feed)
	l.feed = l.feed[n:]
	return n, nil
}

// Write takes everything: tls.Conn would not survive a short write.
func (t *transport) Write(p []byte) (int, error) {
	if !(*conn)(t).send(p) {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// Close does nothing: the loop closes the descriptor.
func (t *transport) Close() error { return nil }

func (t *transport) LocalAddr() net.Addr  { return t.l.s.addr }
func (t *transport) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(t.remote) }

func (t *transport) SetDeadline(time.Time) error      { return nil }
func (t *transport) SetReadDeadline(time.Time) error  { return nil }
func (t *transport) SetWriteDeadline(time.Time) error { return nil }
