package mqttd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"dunlin/internal/door/front"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/guard"
	"dunlin/internal/wire/mqtt"
)

// Keep alive: the server waits 1.5 times what the device asked for, at most
// maxIdle; a device that asked for none gets maxIdle.
const (
	maxIdle     = 1767 * time.Second
	authTimeout = 20 * time.Second
)

// receiveConnect waits for CONNECT, the only packet that may come first
// [MQTT-3.1.0-1], and hands it to a goroutine that may block on the registry.
func (s *session) receiveConnect(b []byte) (int, error) {
	h, body, n, err := mqtt.Next(b, maxConnect)
	if err != nil {
		return 0, s.violation(err)
	}
	if n == 0 {
		// A first byte that is no CONNECT will never become one.
		if len(b) > 0 && mqtt.Type(b[0]>>4) != mqtt.CONNECT {
			return 0, errNoConnect
		}
		return 0, nil
	}
	if h.Type != mqtt.CONNECT {
		return 0, errNoConnect
	}
	var c mqtt.Connect
	err = c.Decode(body)
	if errors.Is(err, mqtt.ErrUnsupportedVersion) || err == nil && c.Version != mqtt.V311 {
		return n, s.refuseVersion(&c)
	}
	if err != nil {
		return 0, s.violation(err)
	}
	u, e := parseUsername(string(c.UserName))
	// The ids outlive the connect, the rest of the user name must not with them.
	u.id = iot.ID{Device: strings.Clone(u.id.Device), Module: strings.Clone(u.id.Module)}
	if e != nil {
		s.refuse(mqtt.ConnackBadLogin, u, e)
		return n, nil
	}
	if e := u.checkClientID(string(c.ClientID)); e != nil {
		s.refuse(mqtt.ConnackClientID, u, e)
		return n, nil
	}
	topic := telemetryTopic(u.id)
	will, e := parseWill(topic, &c)
	if e != nil {
		s.refuse(mqtt.ConnackNotAuthorized, u, e)
		return n, nil
	}
	cred := hub.Credentials{
		ID: u.id, HostName: u.host, Token: string(c.Password),
		Model: u.model, Product: u.product, Protocol: s.protocol, Remote: s.conn.RemoteAddr(),
	}
	idle := maxIdle
	if c.KeepAlive > 0 {
		idle = min(maxIdle, time.Duration(c.KeepAlive)*1500*time.Millisecond)
	}
	clean := c.CleanStart
	s.conn.Go(func() { s.connect(cred, topic, will, idle, clean) })
	return n, nil
}

// errNoConnect ends connections that do not begin with CONNECT.
var errNoConnect = iot.Errorf(iot.BadRequest, "the first packet is not CONNECT [MQTT-3.1.0-1]")

// connect authenticates. Receive is held off until it is done, so it may set
// what otherwise belongs to Receive; Closed may come at any time.
func (s *session) connect(cred hub.Credentials, topic string, will *iot.Message, idle time.Duration, clean bool) {
	if tls := s.conn.TLS(); tls != nil {
		cred.Certificates = tls.PeerCertificates
	}
	ctx, cancel := context.WithTimeout(s.door.ctx, authTimeout)
	defer cancel()
	dev, err := s.door.hub.Connect(ctx, cred, s)
	if err != nil {
		// The hub has noted why; the device hears the code alone.
		code := mqtt.ConnackNotAuthorized
		switch iot.CodeOf(err).Status() {
		case 429, 500, 503:
			code = mqtt.ConnackUnavailable
		}
		s.conn.Write(mqtt.AppendConnack(nil, false, code))
		s.conn.Close(errRefused)
		return
	}
	s.mu.Lock()
	ended := s.ended
	if !ended {
		s.dev, s.telemetry, s.will = dev, topic, will
	}
	s.mu.Unlock()
	if ended { // the peer left while it was being authenticated
		dev.Close(io.EOF)
		return
	}
	s.conn.SetIdle(idle)
	before, present := s.door.kept.open(dev.ID(), dev.Generation(), clean)
	if present {
		s.conn.Write(resumed)
	} else {
		s.conn.Write(accepted)
	}
	if before.messages != none {
		s.resume(before.messages)
	}
	s.door.connects.Inc()
}

// resume takes up the subscription to messages that an earlier connection made.
func (s *session) resume(qos byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return
	}
	s.out = newOutbox()
	s.out.qos[subMessages] = qos
	s.out.resume = time.AfterFunc(s.door.resumeAfter, func() {
		s.mu.Lock()
		wanted := !s.ended && s.out.qos[subMessages] != none
		s.mu.Unlock()
		if wanted {
			s.dev.Want(iot.KindMessage, true)
		}
	})
}

// errRefused ends a connection whose CONNECT the hub refused (and noted).
var errRefused = errors.New("mqttd: connect refused")

// Answers to a CONNECT that is accepted, without and with a session.
var (
	accepted = mqtt.AppendConnack(nil, false, mqtt.ConnackAccepted)
	resumed  = mqtt.AppendConnack(nil, true, mqtt.ConnackAccepted)
)

// refuseVersion answers a CONNECT of another version in that version's form.
func (s *session) refuseVersion(c *mqtt.Connect) error {
	why := iot.Errorf(iot.InvalidProtocolVersion,
		"MQTT protocol level %d is not supported; connect with MQTT 3.1.1 (level 4)", c.Version)
	if c.Version < mqtt.V5 {
		s.refuse(mqtt.ConnackVersion, identity{}, why)
		return nil
	}
	ack := mqtt.Connack{Code: byte(mqtt.UnsupportedVersion)}
	out, err := ack.Append(nil, mqtt.V5)
	if err != nil {
		return err
	}
	s.conn.Write(out)
	s.note(iot.ID{}, "connect_"+snake(why.Code.Name()), why.Message)
	s.conn.Close(errRefused)
	return nil
}

// refuse answers a CONNECT that never reached the hub.
func (s *session) refuse(code byte, u identity, why *iot.Error) {
	s.conn.Write(mqtt.AppendConnack(nil, false, code))
	s.note(u.id, "connect_"+snake(why.Code.Name()), why.Message)
	s.conn.Close(errRefused)
}

// note keeps a refusal for the question why a device does not connect.
func (s *session) note(id iot.ID, reason, detail string) {
	s.door.guard.Add(guard.Refusal{
		Device: id.Device, Module: id.Module, Reason: reason, Detail: detail,
		Remote: s.conn.RemoteAddr().Addr().Unmap().String(), Protocol: s.protocol,
	})
}

// neverConnected notes why a connection ended before CONNECT succeeded.
func (s *session) neverConnected(err error) {
	var e *iot.Error
	switch {
	case errors.Is(err, errRefused): // noted already
	case (err == nil || errors.Is(err, io.EOF)) && s.conn.TLS() != nil:
		// A client of TLS 1.2 that does not like the certificate ends like this.
		s.note(iot.ID{}, "closed_before_connect", "the peer closed the connection after the TLS handshake, before it had sent a complete CONNECT: "+
			"most often it does not trust the server's certificate (give it the CA file that dunlin info names) or uses another host name than the certificate has")
	case err == nil, errors.Is(err, io.EOF):
		s.note(iot.ID{}, "closed_before_connect", "the peer closed the connection before it had sent a complete CONNECT")
	case errors.Is(err, front.ErrSetup), errors.Is(err, front.ErrIdle):
		s.note(iot.ID{}, "connect_timeout", "no complete CONNECT arrived within the time limit")
	case errors.As(err, &e):
		s.note(iot.ID{}, "connect_malformed", e.Message)
	default:
		s.note(iot.ID{}, "connect_failed", err.Error())
	}
	s.door.logger.Debug("connection ended before CONNECT", slog.Any("error", err))
}
