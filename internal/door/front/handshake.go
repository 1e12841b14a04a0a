package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
)

// Kinds of HandshakeError; fit for the label of a metric.
const (
	KindUntrusted  = "untrusted_server" // the client does not accept the server's certificate
	KindVersion    = "tls_version"      // no TLS version in common
	KindCipher     = "cipher_suite"     // no cipher suite or curve in common
	KindNotTLS     = "not_tls"          // the first bytes are something else
	KindPeerClosed = "peer_closed"      // closed or reset by the client before the end
	KindSilent     = "silent"           // closed by the client before its first byte
	KindTimeout    = "setup_timeout"    // not finished within Limits.Setup
	KindClientCert = "client_certificate"
	KindHalfOpen   = "half_open"
	KindFull       = "too_many_connections"
	KindShutdown   = "shutdown"
	KindOther      = "handshake"
)

// HandshakeError says why a connection ended before it had a Session.
type HandshakeError struct {
	Kind   string
	Reason string // for people: what was wrong and, where it is known, what to do
	Err    error  // what was seen; may be nil
}

func (e *HandshakeError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + " (" + e.Err.Error() + ")"
}

func (e *HandshakeError) Unwrap() error { return e.Err }

// errTooMany is what Failed sees of a connection above Limits.MaxConns.
var errTooMany = errors.New("front: too many connections")

// early is what is known of a connection without a Session.
type early struct {
	read  int64 // bytes from the peer
	alert uint8 // an alert that the peer sent in plain text, 0 if none
}

// note looks at what has arrived within a handshake. A client of TLS 1.3 that
// refuses the server's certificate may send its alert in plain text when the
// server expects encrypted records (OpenSSL does): crypto/tls then fails with
// bad record MAC and the reason would be lost.
func (e *early) note(p []byte) {
	e.read += int64(len(p))
	if n := len(p) - 7; n >= 0 && p[n] == 21 && p[n+1] == 3 && p[n+3] == 0 && p[n+4] == 2 && p[n+5] == 2 {
		e.alert = p[n+6]
	}
}

// explain decodes the error of a connection that has no Session yet.
func explain(err error, seen early) *HandshakeError {
	read := seen.read
	e := &HandshakeError{Kind: KindOther, Reason: "TLS handshake failed", Err: err}
	set := func(kind, reason string) *HandshakeError {
		e.Kind, e.Reason = kind, reason
		return e
	}
	var (
		already *HandshakeError
		header  tls.RecordHeaderError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(err, ErrSetup) || errors.Is(err, os.ErrDeadlineExceeded):
		if read == 0 {
			return set(KindTimeout, "setup timeout: the client connected and sent nothing")
		}
		return set(KindTimeout, "setup timeout: the client did not finish the TLS handshake")
	case errors.Is(err, ErrHalfOpen):
		return set(KindHalfOpen, "closed for a newer connection: too many are not set up yet")
	case errors.Is(err, errTooMany):
		return set(KindFull, "refused: the limit on open connections is reached")
	case errors.Is(err, ErrShutdown):
		return set(KindShutdown, "the server is shutting down")
	case seen.alert != 0:
		e.Err = &net.OpError{Op: "remote error", Err: tls.AlertError(seen.alert)}
		return e.alert(tls.AlertError(seen.alert).Error())
	case errors.As(err, &header):
		return set(KindNotTLS, notTLS(header.RecordHeader[:]))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		if read == 0 {
			return set(KindSilent, "closed by peer before it sent anything")
		}
		return set(KindPeerClosed, "closed by peer during handshake, without an alert; clients that do not trust the server's certificate may do this")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return set(KindPeerClosed, "connection reset by peer during handshake")
	case errors.As(err, &op) && op.Op == "remote error":
		return e.alert(op.Err.Error())
	}
	switch text := err.Error(); {
	case strings.Contains(text, "unsupported versions"), strings.Contains(text, "protocol version"),
		strings.Contains(text, "SSLv2"), strings.Contains(text, "downgrade"):
		return set(KindVersion, "no shared TLS version: this server speaks TLS 1.2 and 1.3")
	case strings.Contains(text, "cipher suite"), strings.Contains(text, "no ECDHE curve"), strings.Contains(text, "key share"),
		strings.Contains(text, "supported signature algorithms"), strings.Contains(text, "supported by both"):
		return set(KindCipher, "no TLS cipher suite, curve or signature algorithm in common")
	case strings.Contains(text, "client certificate"), strings.Contains(text, "client's certificate"),
		strings.Contains(text, "x509"):
		return set(KindClientCert, "the client's certificate cannot be used: its signature or encoding is wrong")
	}
	return e
}

// alert decodes what the client gave as its reason (RFC 8446 section 6.2).
func (e *HandshakeError) alert(text string) *HandshakeError {
	switch text = strings.TrimPrefix(text, "tls: "); text {
	case "unknown certificate authority", "bad certificate", "unknown certificate", "unsupported certificate":
		e.Kind = KindUntrusted
		e.Reason = "client does not trust the server's certificate: give it the CA of this server and use a host name that the certificate contains"
	case "expired certificate":
		e.Kind = KindUntrusted
		e.Reason = "client takes the server's certificate for expired: check its clock and the certificate's dates"
	case "revoked certificate", "access denied":
		e.Kind = KindUntrusted
		e.Reason = "client refuses the server's certificate: " + text
	case "protocol version not supported", "insufficient security level", "inappropriate fallback":
		e.Kind, e.Reason = KindVersion, "no shared TLS version: this server speaks TLS 1.2 and 1.3"
	case "handshake failure", "illegal parameter", "missing extension", "unrecognized name":
		e.Kind, e.Reason = KindCipher, "client ended the handshake: "+text
	case "user canceled", "close notify":
		e.Kind, e.Reason = KindPeerClosed, "closed by peer during handshake"
	default:
		e.Reason = "client ended the handshake: " + text
	}
	return e
}

// notTLS guesses what a client speaks whose first bytes are not a TLS record.
func notTLS(head []byte) string {
	const hint = "; this port speaks TLS"
	switch s := string(head); {
	case head[0]&0xf0 == 0x10 && head[0]&0x0f == 0:
		return "not TLS but a plain MQTT CONNECT" + hint
	case strings.HasPrefix(s, "AMQP"):
		return "not TLS but a plain AMQP header" + hint
	case strings.HasPrefix(s, "GET "), strings.HasPrefix(s, "POST "), strings.HasPrefix(s, "PUT "),
		strings.HasPrefix(s, "HEAD "), strings.HasPrefix(s, "OPTIO"), strings.HasPrefix(s, "PRI *"):
		return "not TLS but a plain HTTP request" + hint
	case head[0] == 0x16:
		return "not a TLS handshake: malformed record"
	}
	return fmt.Sprintf("not TLS: first bytes %x%s", head, hint)
}
