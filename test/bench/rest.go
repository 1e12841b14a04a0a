//go:build linux

package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/wire/sas"
)

// rest is one HTTPS connection that is kept alive, of an application that
// spends little on it: the machine is shared with the server.
type rest struct {
	conn *tls.Conn
	in   *bufio.Reader
	body []byte // of the last answer
	out  []byte
	auth string
	// continuation is x-ms-continuation of the last answer.
	continuation string
}

// application opens a connection with the rights of the hub's owner.
func (h *hub) application(s *server) (*rest, error) {
	cs := h.info.Hub.ConnectionStrings["iothubowner"]
	_, policy, _ := strings.Cut(cs, "SharedAccessKey=")
	key, err := sas.ParseKey(policy)
	if err != nil {
		return nil, fmt.Errorf("policy iothubowner: %w", err)
	}
	return dialRest(loopback(h.ports[2]), s.conf, sas.Sign(h.info.HostName, key, time.Now().Add(time.Hour), "iothubowner"))
}

func dialRest(to netip.AddrPort, conf *tls.Config, auth string) (*rest, error) {
	d := net.Dialer{Timeout: 10 * time.Second}
	raw, err := d.Dial("tcp4", to.String())
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, conf)
	if err := c.Handshake(); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &rest{conn: c, in: bufio.NewReaderSize(c, 16<<10), auth: auth}, nil
}

func (r *rest) close() { _ = r.conn.NetConn().Close() }

// call sends a request and reads the answer; headers are whole lines. The body
// it gives is valid until the next call.
func (r *rest) call(method, path, headers string, body []byte) (status int, answer []byte, err error) {
	b := append(r.out[:0], method...)
	b = append(append(append(b, ' '), path...), "?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\nAuthorization: "...)
	b = append(append(append(b, r.auth...), "\r\n"...), headers...)
	if body != nil {
		b = append(b, "Content-Type: application/json; charset=utf-8\r\nContent-Length: "...)
		b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n"...)
	}
	b = append(append(b, "\r\n"...), body...)
	r.out = b
	if _, err := r.conn.Write(b); err != nil {
		return 0, nil, err
	}
	return r.answer()
}

// must is call for what has to succeed with the status.
func (r *rest) must(want int, method, path, headers string, body []byte) ([]byte, error) {
	status, answer, err := r.call(method, path, headers, body)
	if err == nil && status != want {
		err = fmt.Errorf("%s %s: %d, want %d: %.300s", method, path, status, want, answer)
	}
	return answer, err
}

func (r *rest) answer() (status int, body []byte, err error) {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("no status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("no status line: %q", line)
	}
	length, chunked := 0, false
	r.continuation = ""
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("x-ms-continuation")):
			r.continuation = string(value)
		}
	}
	r.body = r.body[:0]
	if !chunked {
		return status, r.body, r.take(length)
	}
	for {
		line, err := r.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil {
			return 0, nil, err
		}
		if err := r.take(int(n)); err != nil {
			return 0, nil, err
		}
		if _, err := r.in.Discard(2); err != nil { // the end of the chunk, or of all
			return 0, nil, err
		}
		if n == 0 {
			return status, r.body, nil
		}
	}
}

func (r *rest) take(n int) error {
	at := len(r.body)
	r.body = append(r.body, make([]byte, n)...)
	_, err := io.ReadFull(r.in, r.body[at:])
	return err
}
