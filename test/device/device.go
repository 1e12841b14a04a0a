// Package device is a small MQTT 3.1.1 client for black-box tests. It is
// written from the specification and shares no code with the server, so that a
// mistake in the server's codec cannot cancel itself out; and it can send what
// no decent client would.
package device

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Packet types of MQTT 3.1.1, section 2.2.1.
const (
	Connect = 1 + iota
	Connack
	Publish
	Puback
	Pubrec
	Pubrel
	Pubcomp
	Subscribe
	Suback
	Unsubscribe
	Unsuback
	Pingreq
	Pingresp
	Disconnect
)

// Packet is a control packet: the first byte's halves and what follows the
// remaining length.
type Packet struct {
	Type, Flags byte
	Body        []byte
}

// Append writes the packet behind dst.
func (p Packet) Append(dst []byte) []byte {
	dst = append(dst, p.Type<<4|p.Flags)
	n := len(p.Body)
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			dst = append(dst, b|0x80)
			continue
		}
		dst = append(dst, b)
		return append(dst, p.Body...)
	}
}

// Text appends a length-prefixed string.
func Text(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// Hello is the content of a CONNECT.
type Hello struct {
	Client, User, Password string
	KeepAlive              time.Duration // 60 s when 0
	Clean                  bool
	WillTopic              string
	Will                   []byte
	Protocol               string // "MQTT" when empty
	Level                  byte   // 4 when 0
}

// Packet gives the CONNECT.
func (h Hello) Packet() Packet {
	if h.Protocol == "" {
		h.Protocol = "MQTT"
	}
	if h.Level == 0 {
		h.Level = 4
	}
	if h.KeepAlive == 0 {
		h.KeepAlive = time.Minute
	}
	var flags byte
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(h.User != "", 0x80)
	set(h.Password != "", 0x40)
	set(h.WillTopic != "", 0x04|0x08) // will, QoS 1
	set(h.Clean, 0x02)
	b := Text(nil, h.Protocol)
	b = append(b, h.Level, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(h.KeepAlive/time.Second))
	b = Text(b, h.Client)
	if h.WillTopic != "" {
		b = Text(Text(b, h.WillTopic), string(h.Will))
	}
	if h.User != "" {
		b = Text(b, h.User)
	}
	if h.Password != "" {
		b = Text(b, h.Password)
	}
	return Packet{Type: Connect, Body: b}
}

// HelloFor gives the CONNECT of a device with a key, as an SDK fills it in.
func HelloFor(host, id, key string) Hello {
	return Hello{
		Client: id, User: host + "/" + id + "/?api-version=2021-04-12",
		Password: Token(host+"/devices/"+id, key, "", time.Now().Add(time.Hour)),
	}
}

// Token signs a shared access signature for a resource.
func Token(resource, key, policy string, expires time.Time) string {
	secret, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		secret = []byte(key)
	}
	sr, se := url.QueryEscape(resource), strconv.FormatInt(expires.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(sr + "\n" + se))
	t := "SharedAccessSignature sr=" + sr + "&sig=" + url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))) + "&se=" + se
	if policy != "" {
		t += "&skn=" + policy
	}
	return t
}

// Message gives a PUBLISH.
func Message(topic string, body []byte, qos byte, id uint16) Packet {
	b := Text(nil, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return Packet{Type: Publish, Flags: qos << 1, Body: append(b, body...)}
}

// Filter gives a SUBSCRIBE for one topic filter.
func Filter(id uint16, filter string, qos byte) Packet {
	b := binary.BigEndian.AppendUint16(nil, id)
	return Packet{Type: Subscribe, Flags: 2, Body: append(Text(b, filter), qos)}
}

// EventsTopic is the telemetry topic of a device, to be followed by a bag.
func EventsTopic(id string) string { return "devices/" + id + "/messages/events/" }

// Conn is one connection. Reads and writes may go on side by side, but each
// from one goroutine at a time.
type Conn struct {
	net.Conn
	r *bufio.Reader
}

// Dial opens a TCP connection, with TLS when cfg is given.
func Dial(ctx context.Context, addr string, cfg *tls.Config) (*Conn, error) {
	var c net.Conn
	var err error
	if cfg != nil {
		d := tls.Dialer{Config: cfg}
		c, err = d.DialContext(ctx, "tcp", addr)
	} else {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp", addr)
	}
	if err != nil {
		return nil, err
	}
	return &Conn{Conn: c, r: bufio.NewReader(c)}, nil
}

// Send writes packets.
func (c *Conn) Send(ps ...Packet) error {
	var b []byte
	for _, p := range ps {
		b = p.Append(b)
	}
	_, err := c.Write(b)
	return err
}

// Receive reads the next packet, waiting at most d.
func (c *Conn) Receive(d time.Duration) (Packet, error) {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return Packet{}, err
	}
	first, err := c.r.ReadByte()
	if err != nil {
		return Packet{}, err
	}
	n, shift := 0, 0
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			return Packet{}, err
		}
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift += 7; shift > 21 {
			return Packet{}, errors.New("remaining length longer than four bytes")
		}
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return Packet{}, err
	}
	return Packet{Type: first >> 4, Flags: first & 0x0f, Body: body}, nil
}

// RefusedError is a CONNACK with a code other than 0.
type RefusedError struct{ Code byte }

func (e *RefusedError) Error() string { return fmt.Sprintf("refused with CONNACK %d", e.Code) }

// Hello sends a CONNECT and waits for the CONNACK.
func (c *Conn) Hello(h Hello) error {
	if err := c.Send(h.Packet()); err != nil {
		return err
	}
	p, err := c.Receive(20 * time.Second)
	if err != nil {
		return err
	}
	if p.Type != Connack || len(p.Body) != 2 {
		return fmt.Errorf("packet type %d with %d bytes where CONNACK belongs", p.Type, len(p.Body))
	}
	if p.Body[1] != 0 {
		return &RefusedError{p.Body[1]}
	}
	return nil
}

// Ack gives the packet id of a PUBACK.
func Ack(p Packet) (uint16, error) {
	if p.Type != Puback || len(p.Body) != 2 {
		return 0, fmt.Errorf("packet type %d with %d bytes where PUBACK belongs", p.Type, len(p.Body))
	}
	return binary.BigEndian.Uint16(p.Body), nil
}

// Publish sends one message with QoS 1 and waits for its PUBACK.
func (c *Conn) Publish(topic string, body []byte, id uint16) error {
	if err := c.Send(Message(topic, body, 1, id)); err != nil {
		return err
	}
	p, err := c.Receive(30 * time.Second)
	if err != nil {
		return err
	}
	got, err := Ack(p)
	if err == nil && got != id {
		err = fmt.Errorf("PUBACK for %d, want %d", got, id)
	}
	return err
}

// Ended waits at most d for the server to close the connection and gives the
// packets that came before.
func (c *Conn) Ended(d time.Duration) ([]Packet, error) {
	deadline := time.Now().Add(d)
	var got []Packet
	for {
		p, err := c.Receive(time.Until(deadline))
		var ne net.Error
		switch {
		case err == nil:
			got = append(got, p)
		case errors.As(err, &ne) && ne.Timeout():
			return got, fmt.Errorf("still open after %s", d)
		default:
			return got, nil
		}
	}
}
