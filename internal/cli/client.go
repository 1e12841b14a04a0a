package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"dunlin/internal/api/admin"
	"dunlin/internal/app"
	"dunlin/internal/wire/sas"
)

// apiVersion is the version of the service REST interface that is asked for.
const apiVersion = "2021-04-12"

// client talks to a running instance.
type client struct {
	base  string // https://host:port
	token string // of the administrator
	http  *http.Client
	owner string // host name and key of iothubowner, once asked for
	host  string
	key   []byte
}

// connect finds the instance: the one that --url names, else the one that runs
// on the data directory.
func (s *session) connect() (*client, error) {
	if s.URL != "" {
		return s.connectURL()
	}
	i, err := app.ReadInstance(s.Data)
	if err != nil {
		return nil, err
	}
	return instanceClient(i)
}

func (s *session) connectURL() (*client, error) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, usagef("--url %s: write https://host or https://host:port", s.URL)
	}
	if s.Token == "" {
		return nil, usagef("--url needs --token: dunlin info on the machine of the instance shows it")
	}
	pool, err := trust(s.CA)
	if err != nil {
		return nil, usagef("--ca: %w", err)
	}
	return &client{
		base: "https://" + u.Host, token: s.Token,
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}},
	}, nil
}

// instanceClient reaches an instance on this machine, whatever its host name
// resolves to here.
func instanceClient(i app.Instance) (*client, error) {
	pool, err := trust(i.CAFile, i.CertFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA of the instance: %w", err)
	}
	_, port, err := net.SplitHostPort(i.HTTPS)
	if err != nil {
		return nil, fmt.Errorf("address of the instance: %w", err)
	}
	var d net.Dialer
	return &client{
		base: "https://" + net.JoinHostPort(i.HostName, port), token: i.Token,
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: pool, ServerName: i.HostName, MinVersion: tls.VersionTLS12},
			MaxIdleConnsPerHost: 8,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, i.HTTPS)
			},
		}},
	}, nil
}

// trust makes a pool of the system's authorities and those in files; nil, which
// means the system's, when there are none.
func trust(files ...string) (*x509.CertPool, error) {
	var pool *x509.CertPool
	for _, f := range files {
		if f == "" {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if pool == nil {
			if pool, err = x509.SystemCertPool(); err != nil {
				pool = x509.NewCertPool()
			}
		}
		if !pool.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", f)
		}
	}
	return pool, nil
}

// apiError is an answer that is not a success.
type apiError struct {
	Status  int    `json:"status"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *apiError) Error() string {
	if e.Code == "" {
		return fmt.Sprintf("the instance answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return fmt.Sprintf("%s (%s)", strings.TrimSuffix(e.Message, "."), e.Code)
}

// hasCode reports whether an answer carries an error name such as DeviceNotFound.
func hasCode(err error, code string) bool {
	var e *apiError
	return errors.As(err, &e) && e.Code == code
}

// parseError reads the error forms of both surfaces.
func parseError(status int, header http.Header, body []byte) *apiError {
	e := &apiError{Status: status, Code: header.Get("iothub-errorcode")}
	var own struct {
		Error struct{ Code, Message string }
	}
	var hub struct{ Message string }
	switch {
	case json.Unmarshal(body, &own) == nil && own.Error.Code != "":
		e.Code, e.Message = own.Error.Code, own.Error.Message
	case json.Unmarshal(body, &hub) == nil && hub.Message != "":
		code, text, ok := strings.Cut(strings.TrimPrefix(hub.Message, "ErrorCode:"), ";")
		if !ok {
			text = hub.Message
		} else if e.Code == "" {
			e.Code = code
		}
		e.Message = text
		var inner struct{ Message string } // methods answer JSON inside the text
		if json.Unmarshal([]byte(hub.Message), &inner) == nil && inner.Message != "" {
			e.Message = inner.Message
		}
	default:
		e.Message = strings.TrimSpace(string(body[:min(len(body), 300)]))
	}
	return e
}

// request is one call.
type request struct {
	method string
	path   string // with its query
	auth   string
	header map[string]string
	body   any // encoded as JSON, an io.Reader as it is; nil for none
}

// open sends a request and gives the answer of a success, its body open.
func (c *client) open(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	contentType := "application/json; charset=utf-8"
	switch b := r.body.(type) {
	case nil:
	case io.Reader:
		body, contentType = b, "application/octet-stream"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", r.auth)
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explainDial(c.base, err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		defer resp.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // a cut error is shown as far as it came
		return nil, parseError(resp.StatusCode, resp.Header, b)
	}
	return resp, nil
}

// explainDial says what to do when an instance cannot be reached.
func explainDial(base string, err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%s shows a certificate of an unknown CA: name the instance's ca.pem with --ca", base)
	case errors.As(err, &name):
		return fmt.Errorf("%s: %w: use the host name that the instance was started with", base, name)
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	return fmt.Errorf("cannot reach %s: %w", base, err)
}

// call sends a request and reads the JSON of its answer into out, unless nil.
func (c *client) call(ctx context.Context, r request, out any) error {
	resp, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s %s cannot be read: %w", r.method, r.path, err)
	}
	return nil
}

// admin calls the administration surface.
func (c *client) admin(ctx context.Context, method, path string, body, out any) error {
	return c.call(ctx, request{method: method, path: path, auth: "Bearer " + c.token, body: body}, out)
}

// info asks how to reach the instance.
func (c *client) info(ctx context.Context) (admin.Info, error) {
	var i admin.Info
	err := c.admin(ctx, http.MethodGet, "/api/info", nil, &i)
	return i, err
}

// hub calls the public service REST interface, as any application does: with
// a token of the policy iothubowner.
func (c *client) hub(ctx context.Context, method, path string, header map[string]string, body, out any) error {
	r, err := c.hubRequest(ctx, method, path, header, body)
	if err != nil {
		return err
	}
	return c.call(ctx, r, out)
}

// openHub is hub for answers of which more than a JSON body counts.
func (c *client) openHub(ctx context.Context, method, path string, header map[string]string, body any) (*http.Response, error) {
	r, err := c.hubRequest(ctx, method, path, header, body)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, r)
}

func (c *client) hubRequest(ctx context.Context, method, path string, header map[string]string, body any) (request, error) {
	if c.key == nil {
		i, err := c.info(ctx)
		if err != nil {
			return request{}, err
		}
		parts := parseConnectionString(i.Hub.ConnectionStrings["iothubowner"])
		key, err := sas.ParseKey(parts["SharedAccessKey"])
		if err != nil {
			return request{}, fmt.Errorf("the key of iothubowner: %w", err)
		}
		c.host, c.owner, c.key = parts["HostName"], parts["SharedAccessKeyName"], key
	}
	const life = 10 * time.Minute
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return request{
		method: method, path: path + sep + "api-version=" + apiVersion,
		auth:   sas.Sign(c.host, c.key, time.Now().Add(life), c.owner),
		header: header, body: body,
	}, nil
}

// parseConnectionString takes Name=value;Name=value apart.
func parseConnectionString(s string) map[string]string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(s, ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			parts[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	return parts
}

// fetch reads the document of an identity at path as the hub writes it.
func (s *session) fetch(id, path string) (json.RawMessage, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	cl, err := s.connect()
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodGet, path, nil, nil, &raw); err != nil {
		return nil, notFound(err)
	}
	return raw, nil
}
