package httpd

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// websocket upgrades a request and hands the stream to its protocol. The
// subprotocol is matched without regard to case and answered in the client's
// spelling: clients compare it byte for byte. The Origin header is not looked
// at, because devices send all kinds of them and authenticate with each
// connection; the query is ignored, because some SDKs add one.
func (s *Server) websocket(w http.ResponseWriter, r *http.Request) {
	refuse := func(outcome string, status int, text string) {
		s.upgrades.WithLabelValues(outcome).Inc()
		plain(w, status, text)
	}
	if !headerHas(r.Header, "Connection", "upgrade") || !headerHas(r.Header, "Upgrade", "websocket") {
		w.Header().Set("Upgrade", "websocket")
		refuse("no_upgrade", http.StatusUpgradeRequired, "this path is for WebSocket clients: the request asks for no upgrade")
		return
	}
	protocol, ok := offered(r.Header, "mqtt")
	if !ok {
		refuse("unknown_protocol", http.StatusBadRequest,
			"none of the offered subprotocols is served: offer mqtt in Sec-WebSocket-Protocol (AMQP over WebSocket is not available in this version)")
		return
	}
	if s.deps.MQTT == nil {
		refuse("no_gateway", http.StatusNotFound, "this process does not serve devices: it was started without the role gateway")
		return
	}
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{protocol},
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil { // Accept has answered
		s.upgrades.WithLabelValues("bad_request").Inc()
		s.deps.Logger.Debug("websocket upgrade failed", slog.String("remote", r.RemoteAddr), slog.Any("error", err))
		return
	}
	s.upgrades.WithLabelValues("accepted").Inc()
	s.sockets.Add(1)
	defer s.sockets.Done()
	// NetConn lifts the limit on the size of a WebSocket message: the protocol
	// inside has its own, and one message may hold many packets.
	stream := &stream{
		Conn:   websocket.NetConn(r.Context(), c, websocket.MessageBinary),
		ws:     c,
		tls:    r.TLS,
		closed: make(chan struct{}),
	}
	s.deps.MQTT(stream)
	<-stream.closed // the request's context, and with it the stream, ends with this call
}

// stream is a WebSocket connection as a byte stream. It still knows the TLS
// connection below, which may carry the device's certificate.
type stream struct {
	net.Conn
	ws     *websocket.Conn
	tls    *tls.ConnectionState
	once   sync.Once
	closed chan struct{}
}

// ConnectionState is that of the TLS connection which carries the WebSocket.
func (s *stream) ConnectionState() tls.ConnectionState {
	if s.tls == nil {
		return tls.ConnectionState{}
	}
	return *s.tls
}

// Close says goodbye in WebSocket's own words and ends the connection, at the
// latest a few seconds later when the peer does not answer.
func (s *stream) Close() error {
	var err error
	s.once.Do(func() {
		err = s.ws.Close(websocket.StatusNormalClosure, "")
		s.Conn.Close() // only its timers are left
		close(s.closed)
	})
	return err
}

// headerHas reports whether a header with a comma-separated list has a token.
func headerHas(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for item := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}

// offered finds a subprotocol among those that the client offers and gives it
// in the client's spelling.
func offered(h http.Header, protocol string) (string, bool) {
	for _, line := range h.Values("Sec-WebSocket-Protocol") {
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.TrimSpace(item); strings.EqualFold(item, protocol) {
				return item, true
			}
		}
	}
	return "", false
}
