package iothub_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dunlin/internal/api/iothub"
	"dunlin/internal/trust/access"
)

// tricks are path segments, as they go over the wire, that are no id of
// anything: what a server decodes twice, cuts or joins, it may take for another
// one.
var tricks = []string{
	"..", ".", "%2e%2e", "%2E%2E%2Fd", "..%2fd", "%2fd", "d%2f", "d%2F..", "d%5c..", "%5cd", "d%00", "%00", "d%00e", "%64%00", "%2564", "%25%36%34", "d%20", "%20d", "d%0d%0aX:1", "d%09",
	"%c0%ae%c0%ae", "%c0%af", "%e0%80%af", "%f0%80%80%af", "%ff", "%fe%ff", "%ed%a0%80", "%ef%bb%bfd", "%e2%80%8bd", "%ef%bc%84", "d;x=1", "d%3bx=1", "d%3fx", "d%23x", "d%7e", "%E2%84%AA", "*", "%2a", "d*", "$", "%24",
	"d'", "d%22", "d%3c", "d'--", "d%27%20OR%201=1", "%25s", "%25n%25n", "{device}", "%7bdevice%7d",
	strings.Repeat("d", 129), strings.Repeat("d", 10_000), strings.Repeat("%64", 5_000), strings.Repeat("%2e%2e%2f", 500),
}

// raw sends a request whose path nobody has touched.
func (s *site) raw(method, path, token string) (status int, code, body string) {
	s.t.Helper()
	u, err := url.Parse(s.url)
	if err != nil {
		s.t.Fatal(err)
	}
	var d net.Dialer
	conn, err := d.DialContext(s.t.Context(), "tcp", u.Host)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s?%s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Type: application/json\r\niothub-to: /devices/d/messages/devicebound\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
		method, path, version, u.Host, token)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.t.Fatalf("%s %.200s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("iothub-errorcode"), string(b)
}

// TestPathTricks puts hostile segments into every place of every path. Nobody
// answers for the device d, nothing fails, and nothing is changed.
func TestPathTricks(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.devices()
		var before device
		s.send("GET", "/devices/d", "").ok(200, &before)
		for _, row := range iothub.Rows() {
			if row.Missing || !strings.Contains(row.Path, "{") {
				continue
			}
			policy := "iothubowner"
			if row.Need == access.DeviceConnect {
				policy = "device"
			}
			token := s.token(policy)
			for i, segment := range strings.Split(row.Path, "/") {
				if !strings.HasPrefix(segment, "{") {
					continue
				}
				for _, trick := range tricks {
					parts := strings.Split(row.Path, "/")
					for j := range parts {
						if j == i {
							parts[j] = trick
						} else {
							parts[j] = fill.Replace(parts[j])
						}
					}
					status, code, body := s.raw(row.Method, strings.Join(parts, "/"), token)
					what := fmt.Sprintf("%s %s with %.60s", row.Method, row.Path, trick)
					switch {
					case status >= 500:
						t.Errorf("%s: %d %s", what, status, body)
					case status == 400 && code == "": // the HTTP server itself has refused it
					case status >= 400 && code == "":
						t.Errorf("%s: %d without a code: %s", what, status, body)
					case status < 300 && segment == "{device}" && strings.Contains(body, `"deviceId":"d"`) && !allowedTrick(trick):
						t.Errorf("%s: %d %s", what, status, body)
					}
				}
			}
		}
		var after device
		s.send("GET", "/devices/d", "").ok(200, &after)
		if before.ETag != after.ETag || before.GenerationID != after.GenerationID {
			t.Errorf("the device was changed: %+v, %+v", before, after)
		}
		if s.logged.Len() > 0 {
			t.Errorf("the server complains: %.2000s", s.logged)
		}
	})
}

// allowedTrick reports whether a segment is an id after decoding once.
func allowedTrick(segment string) bool {
	plain, err := url.PathUnescape(segment)
	return err == nil && plain == "d"
}

// TestStaleETags lets many writers change one thing, each with the ETag that it
// has read: in each round exactly one succeeds, and nothing is lost.
func TestStaleETags(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.devices()
		const writers, rounds = 8, 12
		for _, what := range []struct{ path, body string }{
			{"/devices/d", `{"status":"enabled","statusReason":"r%d-%d"}`},
			{"/devices/d/modules/m", `{"managedBy":"r%d-%d"}`},
			{"/twins/d", `{"tags":{"r%d":"w%d"}}`},
			{"/twins/d/modules/m", `{"properties":{"desired":{"r%d":"w%d"}}}`},
		} {
			method := "PUT"
			if strings.HasPrefix(what.path, "/twins") {
				method = "PATCH"
			}
			for round := range rounds {
				read := s.send("GET", what.path, "")
				read.ok(200, nil)
				etag := read.header.Get("ETag")
				if etag == "" {
					t.Fatalf("%s has no ETag", what.path)
				}
				var won, lost atomic.Int32
				var group sync.WaitGroup
				for w := range writers {
					group.Go(func() {
						a := s.send(method, what.path, fmt.Sprintf(what.body, round, w), "If-Match", etag)
						switch {
						case a.status == 200:
							won.Add(1)
						case a.status == 412 && a.header.Get("iothub-errorcode") == "PreconditionFailed":
							lost.Add(1)
						default:
							t.Errorf("%s %s: %d %s", method, what.path, a.status, a.body)
						}
					})
				}
				group.Wait()
				if won.Load() != 1 || lost.Load() != writers-1 {
					t.Errorf("%s, round %d: %d succeeded, %d were refused", what.path, round, won.Load(), lost.Load())
				}
			}
			if strings.HasPrefix(what.path, "/twins") {
				a := s.send("GET", what.path, "")
				for round := range rounds {
					if strings.Count(a.body, fmt.Sprintf(`"r%d":"w`, round)) != 1 {
						t.Errorf("%s: the change of round %d is lost: %s", what.path, round, a.body)
					}
				}
			}
		}
		// A deletion is a writer too.
		read := s.send("GET", "/devices/d", "")
		etag := read.header.Get("ETag")
		var won atomic.Int32
		var group sync.WaitGroup
		for w := range writers {
			group.Go(func() {
				var a answer
				if w%2 == 0 {
					a = s.send("DELETE", "/devices/d", "", "If-Match", etag)
				} else {
					a = s.send("PUT", "/devices/d", `{"status":"disabled"}`, "If-Match", etag)
				}
				switch a.status {
				case 200, 204:
					won.Add(1)
				case 404, 412:
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of a change and a deletion succeeded", won.Load())
		}
	})
}
