package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"dunlin/test/device"
)

// REST is an HTTPS client with a token: of an application, or of a device.
type REST struct {
	base, token string
	client      *http.Client
}

// Answer is what a request was answered with.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Read decodes the body.
func (a Answer) Read(v any) error {
	if err := json.Unmarshal(a.Body, v); err != nil {
		return fmt.Errorf("%w in %.300q", err, a.Body)
	}
	return nil
}

func (a Answer) String() string { return fmt.Sprintf("%d %.300s", a.Status, a.Body) }

// REST gives a client with the rights of a shared access policy.
func (s *Server) REST(policy string) *REST {
	s.t.Helper()
	return s.rest(device.Token(s.Info.HostName, Field(s.Policy(policy), "SharedAccessKey"), policy, time.Now().Add(time.Hour)))
}

// DeviceREST gives a client that shows the credentials of a device.
func (s *Server) DeviceREST(id, key string) *REST {
	s.t.Helper()
	return s.rest(device.Token(s.Info.HostName+"/devices/"+id, key, "", time.Now().Add(time.Hour)))
}

// AdminREST gives a client of the administration.
func (s *Server) AdminREST() *REST {
	s.t.Helper()
	return s.rest("Bearer " + s.Info.Admin.Token)
}

func (s *Server) rest(token string) *REST {
	tr := &http.Transport{TLSClientConfig: s.TLS(), MaxIdleConnsPerHost: 64, DisableCompression: true}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &REST{base: "https://" + s.HTTPSAddr(), token: token, client: &http.Client{Transport: tr, Timeout: time.Minute}}
}

// Do sends a request and reads the whole answer. body is sent as it is when it
// is nil or []byte, else as JSON. header holds names and values in turn.
func (r *REST) Do(ctx context.Context, method, path string, body any, header ...string) (Answer, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return Answer{}, err
		}
		in = bytes.NewReader(text)
		header = append([]string{"Content-Type", "application/json; charset=utf-8"}, header...)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, in)
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Authorization", r.token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	text, err := io.ReadAll(resp.Body)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: text}, err
}
