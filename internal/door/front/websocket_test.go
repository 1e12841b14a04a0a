package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// carried is a WebSocket as a stream that knows the TLS connection below.
type carried struct {
	net.Conn
	ws    *websocket.Conn
	state *tls.ConnectionState
	once  sync.Once
}

func (c *carried) ConnectionState() tls.ConnectionState { return *c.state }

func (c *carried) Close() (err error) {
	c.once.Do(func() {
		err = c.ws.Close(websocket.StatusNormalClosure, "")
		_ = c.Conn.Close()
	})
	return err
}

// A connection that comes as a WebSocket is served like a socket: its end is
// not seen before what was written to it, and is a proper one.
func TestWebSocket(t *testing.T) {
	s, err := Listen(t.Context(), "", Config{})
	if err != nil {
		t.Fatal(err)
	}
	ss := newSessions(func(s *session, b []byte) (int, error) {
		if string(b) == "bye" {
			s.c.Write(make([]byte, 100_000))
			s.c.Close(errors.New("as you wish"))
			return 3, nil
		}
		return echo(s, b)
	})
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		s.ServeConn(&carried{
			Conn: websocket.NetConn(r.Context(), c, websocket.MessageBinary), ws: c, state: r.TLS,
		}, ss.open)
	}))
	defer web.Close()
	defer web.Client().CloseIdleConnections()
	dial := func() (net.Conn, *session) {
		c, _, err := websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: web.Client()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.CloseNow() })
		return websocket.NetConn(t.Context(), c, websocket.MessageBinary), ss.next(t)
	}

	nc, session := dial()
	roundTrip(t, nc, 100)
	roundTrip(t, nc, 200_000)
	if state := session.c.TLS(); state == nil || state.Version == 0 {
		t.Error("no TLS state")
	}
	if !session.c.RemoteAddr().IsValid() {
		t.Error("no remote address")
	}
	_, _ = io.WriteString(nc, "bye")
	got, err := io.ReadAll(nc)
	if err != nil || len(got) != 100_000 {
		t.Errorf("%d bytes, then %v", len(got), err)
	}
	if err := session.wait(t); err == nil {
		t.Error("Closed without the reason")
	}

	nc, session = dial()
	nc.Close()
	if err := session.wait(t); err != nil {
		t.Errorf("Closed(%v) after a proper end", err)
	}

	// A peer that neither reads nor answers.
	_, session = dial()
	begin := time.Now()
	session.c.Close(nil)
	if err := session.wait(t); err != nil {
		t.Errorf("Closed(%v)", err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("closed after %v", d)
	}

	nc, session = dial()
	roundTrip(t, nc, 1)
	go func() { _, _ = io.Copy(io.Discard, nc) }()
	s.Close()
	if err := session.wait(t); !errors.Is(err, ErrShutdown) {
		t.Errorf("Closed(%v)", err)
	}
}
