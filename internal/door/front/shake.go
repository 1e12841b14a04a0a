package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
)

// Shake makes the TLS handshake on a connection that belongs to no front, such
// as one of HTTPS, and explains a failure as fronts do. It may take as long as
// ctx allows. The connection is the caller's to close.
func Shake(ctx context.Context, nc net.Conn, config *tls.Config) (*tls.Conn, *HandshakeError) {
	seen := &shaking{Conn: nc}
	c := tls.Server(seen, config)
	err := c.HandshakeContext(ctx)
	seen.done = true
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, context.DeadlineExceeded):
		err = ErrSetup
	case errors.Is(err, context.Canceled):
		err = ErrShutdown
	}
	return nil, explain(err, seen.early)
}

// shaking notes what arrives within the handshake.
type shaking struct {
	net.Conn
	early early
	done  bool // the handshake is over; written before anybody else reads
}

func (s *shaking) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if !s.done {
		s.early.note(p[:n])
	}
	return n, err
}
