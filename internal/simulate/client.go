package simulate

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"dunlin/internal/wire/mqtt"
)

const (
	connectTimeout = 30 * time.Second // TCP, TLS and CONNACK together
	maxIncoming    = 512 << 10        // bytes of one packet of the server
)

// client is one MQTT connection that the hub has accepted.
type client struct {
	conn net.Conn
	idle time.Duration // longest silence of the server; pings come more often
	once sync.Once

	// reader only
	buf  []byte
	have int // bytes in buf that are not read yet
}

// permanent marks an error that trying again will not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// refused translates the code of a CONNACK.
func refused(code byte) error {
	switch code {
	case mqtt.ConnackUnavailable:
		return errors.New("the hub is not available (CONNACK 3)")
	case mqtt.ConnackVersion:
		return permanent{errors.New("the hub refused the protocol version (CONNACK 1)")}
	case mqtt.ConnackClientID:
		return permanent{errors.New("the hub refused the client id (CONNACK 2)")}
	case mqtt.ConnackBadLogin:
		return permanent{errors.New("the hub found the user name or token malformed (CONNACK 4)")}
	case mqtt.ConnackNotAuthorized:
		return permanent{errors.New("the hub refused the credentials (CONNACK 5): device unknown or disabled, wrong key, or clocks that differ; `dunlin device problems` tells which")}
	}
	return permanent{fmt.Errorf("the hub refused the connection (CONNACK %d)", code)}
}

// connect opens a connection for a device and waits for the hub's answer.
func (r *run) connect(ctx context.Context, who *identity) (*client, error) {
	select {
	case r.connects <- struct{}{}:
		defer func() { <-r.connects }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var dialer interface {
		DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	} = &net.Dialer{}
	if r.site.tls != nil {
		dialer = &tls.Dialer{Config: r.site.tls}
	}
	conn, err := dialer.DialContext(ctx, "tcp", r.site.server)
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return nil, permanent{fmt.Errorf("the server's certificate is not trusted; name the CA file of the hub (`dunlin info` shows it) and check the host name: %w", err)}
	}
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, idle: r.cfg.KeepAlive * 3 / 2, buf: make([]byte, 512)}
	release := context.AfterFunc(ctx, c.close)
	err = c.open(r, who)
	if !release() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// open sends CONNECT and waits for CONNACK.
func (c *client) open(r *run, who *identity) error {
	hello := mqtt.Connect{
		Version: mqtt.V311, KeepAlive: uint16(r.cfg.KeepAlive / time.Second),
		ClientID: []byte(who.clientID()), UserName: []byte(who.userName(r.site.host)),
		Password: []byte(who.password(r.site.host, time.Now(), r.cfg.TokenTTL)),
	}
	packet, err := hello.Append(nil)
	if err != nil {
		return permanent{err}
	}
	if _, err := c.conn.Write(packet); err != nil {
		return err
	}
	var answer mqtt.Connack
	err = c.packets(func(h mqtt.Header, body []byte) (more bool, err error) {
		if h.Type != mqtt.CONNACK {
			return false, fmt.Errorf("the server answered CONNECT with %s", h.Type)
		}
		return false, answer.Decode(body, mqtt.V311)
	})
	if err == nil && answer.Code != mqtt.ConnackAccepted {
		return refused(answer.Code)
	}
	return err
}

// read hands over what the server sends until the connection ends.
func (c *client) read(onAck func(id uint16), onPong func()) error {
	return c.packets(func(h mqtt.Header, body []byte) (more bool, err error) {
		switch h.Type {
		case mqtt.PUBACK:
			id, err := mqtt.DecodePuback(body)
			if err != nil {
				return false, err
			}
			onAck(id)
		case mqtt.PINGRESP:
			onPong()
		default:
			return false, fmt.Errorf("the server sent %s, which this client did not ask for", h.Type)
		}
		return true, nil
	})
}

// packets shows f every packet that comes, until f has had enough.
func (c *client) packets(f func(h mqtt.Header, body []byte) (more bool, err error)) error {
	var extended time.Time
	for more := true; more; {
		rest := c.buf[:c.have]
		for more {
			h, body, n, err := mqtt.Next(rest, maxIncoming)
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			if more, err = f(h, body); err != nil {
				return err
			}
			rest = rest[n:]
		}
		if c.have = copy(c.buf, rest); !more {
			break
		}
		if c.have == len(c.buf) {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
		if now := time.Now(); now.Sub(extended) > c.idle/8 {
			if err := c.conn.SetReadDeadline(now.Add(c.idle)); err != nil {
				return err
			}
			extended = now
		}
		got, err := c.conn.Read(c.buf[c.have:])
		c.have += got
		if err != nil && got == 0 {
			return err
		}
	}
	return nil
}

// disconnect ends the connection in order.
func (c *client) disconnect() {
	if _, err := c.conn.Write(mqtt.AppendDisconnect(nil)); err == nil {
		c.close()
	}
}

// close may be called by any goroutine, more than once.
func (c *client) close() {
	c.once.Do(func() {
		conn := c.conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn() // a close alert could wait for a peer that does not read
		}
		_ = conn.Close() // nothing is lost with it that was acknowledged
	})
}
