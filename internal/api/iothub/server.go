package iothub

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
)

// Deps is what the surface needs.
type Deps struct {
	Hub *hub.Services
	// Devices serves devices that come over HTTPS; nil does not.
	Devices *hub.Visits
	Logger  *slog.Logger
}

// New gives the handler of the surface.
func New(d Deps) http.Handler { return &server{hub: d.Hub, devices: d.Devices, logger: d.Logger} }

type server struct {
	hub     *hub.Services
	devices *hub.Visits
	logger  *slog.Logger
}

// call is one request on its way.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	op      *operation
	hub     *hub.Service // of an application
	visitor *hub.Visitor // or of a device
	query   url.Values
	names
}

// names are what stands in the path for something else, decoded; they may be
// any text.
type names struct{ device, module, token, component, command, job, configuration string }

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID()
	w.Header().Set("x-ms-request-id", id)
	if err := s.serve(w, r); err != nil {
		s.fail(w, r, err, id)
	}
}

func requestID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) error {
	c := &call{w: w, r: r}
	if err := c.route(); err != nil {
		return err
	}
	var err error
	if c.query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		return iot.Errorf(iot.BadRequest, "the query of the address is not valid: %w", err)
	}
	if err := checkVersion(c.query.Get("api-version"), c.op.since); err != nil {
		return err
	}
	if c.op.need == access.DeviceConnect {
		if s.devices == nil {
			return iot.Errorf(iot.OperationNotAvailable, "this process does not serve devices: it was started without the role gateway")
		}
		if err := s.visit(r.Context(), c); err != nil {
			return err
		}
		return c.run()
	}
	if c.hub, err = s.authorize(r); err != nil {
		return err
	}
	// The hub asks again; asking here keeps the bodies of strangers unread.
	if err := c.hub.Principal().Require(c.op.need, strings.TrimPrefix(r.URL.Path, "/")); err != nil {
		return err
	}
	return c.run()
}

func (c *call) run() error { return c.op.run(c) }

func (s *server) authorize(r *http.Request) (*hub.Service, error) {
	header := r.Header.Get("Authorization")
	if scheme, _, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Bearer") {
		return nil, iot.Errorf(iot.UnauthorizedAccess, "Bearer tokens are not accepted here: use a SharedAccessSignature of a shared access policy")
	}
	return s.hub.Open(header, r.URL.Path, time.Now())
}

// checkVersion takes any date from since on, as newer SDKs only add.
func checkVersion(version, since string) error {
	const form = "2006-01-02"
	if version == "" {
		return iot.Errorf(iot.InvalidProtocolVersion, "the query parameter api-version is missing, such as api-version=2021-04-12")
	}
	date, preview, _ := strings.Cut(version[min(len(version), len(form)):], "-")
	day := version[:min(len(version), len(form))]
	if _, err := time.Parse(form, day); err != nil || date != "" || (preview != "" && preview != "preview") {
		return iot.Errorf(iot.InvalidProtocolVersion, "the api-version '%.40s' is not valid: it is a date such as 2021-04-12", version)
	}
	if day < since[:len(form)] {
		return iot.Errorf(iot.InvalidProtocolVersion, "the api-version %s is not supported here, the oldest is %s", version, since)
	}
	return nil
}

// route finds the operation. It works on the path as it came, so that a
// percent sign in an id is decoded once and only once.
func (c *call) route() error {
	path := strings.TrimSuffix(c.r.URL.EscapedPath(), "/")
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			return iot.Errorf(iot.BadRequest, "the path is not valid: %w", err)
		}
		if !utf8.ValidString(plain) || strings.IndexFunc(plain, unicode.IsControl) >= 0 {
			return iot.Errorf(iot.ArgumentInvalid, "the path is not valid: no name in it may hold control characters or what is not UTF-8")
		}
		segments[i] = plain
	}
	var allow []string
	for _, table := range [...][]operation{missing[:], operations[:], deviceOperations[:]} {
		for i := range table {
			op := &table[i]
			names, ok := op.match(segments)
			if !ok {
				continue
			}
			if op.method == c.r.Method {
				c.op, c.names = op, names
				return nil
			}
			if !slices.Contains(allow, op.method) {
				allow = append(allow, op.method)
			}
		}
	}
	if allow != nil {
		slices.Sort(allow)
		c.w.Header().Set("Allow", strings.Join(allow, ", "))
		return iot.Errorf(iot.MethodNotAllowed, "%s is not possible here, but %s", clip(c.r.Method), strings.Join(allow, ", "))
	}
	return iot.Errorf(iot.NotFound, "there is no operation %s %s", clip(c.r.Method), clip(c.r.URL.Path))
}

func clip(s string) string { return s[:min(len(s), 200)] }

// match compares fixed words in any case, as SDKs spell them in several ways.
func (op *operation) match(segments []string) (n names, ok bool) {
	rest := op.path[1:]
	for i, have := range segments {
		var want string
		want, rest, _ = strings.Cut(rest, "/")
		switch {
		case have == "":
			return n, false
		case want == "{device}":
			n.device = have
		case want == "{module}":
			n.module = have
		case want == "{token}":
			n.token = have
		case want == "{component}":
			n.component = have
		case want == "{command}":
			n.command = have
		case want == "{job}":
			n.job = have
		case want == "{configuration}":
			n.configuration = have
		case !strings.EqualFold(want, have):
			return n, false
		}
		if rest == "" && i < len(segments)-1 {
			return n, false
		}
	}
	return n, rest == ""
}

const contentType = "application/json; charset=utf-8"

func (c *call) reply(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", contentType)
	c.w.WriteHeader(status)
	c.w.Write(b) //nolint:errcheck // the caller has gone
	return nil
}

func notAvailable(c *call) error {
	return iot.Errorf(iot.OperationNotAvailable, "%s %s is not part of this version of dunlin", c.op.method, c.op.path)
}
