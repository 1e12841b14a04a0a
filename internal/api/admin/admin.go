package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"dunlin/internal/engine/eventlog"
	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/trust/guard"
)

// Deps is what the surface needs.
type Deps struct {
	// Token is the secret that callers show.
	Token    string
	Info     func(context.Context) (Info, error)
	Hub      *hub.Services
	Log      eventlog.Log
	Problems *guard.Log
	Logger   *slog.Logger
	// Done ends streams, so that a shutdown need not wait for readers.
	Done <-chan struct{}
}

type server struct {
	deps Deps
}

// New gives the handler of everything under /api/.
func New(d Deps) http.Handler {
	s := &server{deps: d}
	mux := http.NewServeMux()
	for pattern, h := range s.routes() {
		mux.HandleFunc(pattern, h)
	}
	for pattern, h := range s.registryRoutes() {
		mux.HandleFunc(pattern, h)
	}
	for pattern, h := range s.fileRoutes() {
		mux.HandleFunc(pattern, h)
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, iot.Errorf(iot.NotFound, "there is no %s %s", r.Method, r.URL.Path))
	})
	return s.authorized(mux)
}

// routes lists the operations of the surface.
func (s *server) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /api/info":     s.info,
		"GET /api/events":   s.events,
		"GET /api/problems": s.problems,
		"GET /api/devices":  s.listDevices,
	}
}

func (s *server) reply(w http.ResponseWriter, r *http.Request, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(b, '\n')) //nolint:errcheck // the caller has gone
}

// errorBody is how this surface tells of an error.
type errorBody struct {
	Error struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// fail answers an error. The text of one that is not of the domain goes to the
// log only: it may say what callers should not see.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := iot.CodeOf(err)
	var body errorBody
	body.Error.Code = code.Name()
	if domain, ok := errors.AsType[*iot.Error](err); ok {
		body.Error.Message = domain.Message
	} else {
		body.Error.Message = "the server could not do this; its log says why"
	}
	if code.Status() >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.deps.Logger.Error("admin call failed",
			slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	b, merr := json.Marshal(body)
	if merr != nil {
		http.Error(w, code.Name(), code.Status())
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code.Status())
	w.Write(append(b, '\n')) //nolint:errcheck // the caller has gone
}

func (s *server) problems(w http.ResponseWriter, r *http.Request) {
	const most = 200
	list, err := s.deps.Problems.Recent(r.Context(), r.URL.Query().Get("device"), most)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if list == nil {
		list = []guard.Refusal{}
	}
	s.reply(w, r, list)
}

// authorized lets only callers with the admin token through.
func (s *server) authorized(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.deps.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(strings.TrimSpace(token)))
		if s.deps.Token == "" || !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="dunlin"`)
			s.fail(w, r, iot.Errorf(iot.Unauthorized, "this call needs the admin token as Authorization: Bearer; dunlin info --json shows it"))
			return
		}
		next.ServeHTTP(w, r)
	})
}
