package httpd

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"strings"
)

// health answers that the process runs.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok")
}

// ready answers whether the instance can do its work.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if err := s.deps.Ready(r.Context()); err != nil {
		plain(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	plain(w, http.StatusOK, "ready")
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

const rootPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Dunlin</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}code{background:#eee;padding:.1em .3em}</style>
<h1>Dunlin %s</h1>
<p>This is an IoT platform. Devices connect to it with the public Azure IoT device SDKs, applications with the service SDKs.</p>
<ul>
<li><code>dunlin info</code> prints the connection strings and the CA certificate that clients must trust</li>
<li><code>dunlin device create NAME</code> registers a device, <code>dunlin tail</code> shows what devices send</li>
<li><a href="/readyz">/readyz</a> says whether this instance is ready</li>
</ul>
`

// root says what this is.
func (s *Server) root(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		plain(w, http.StatusMethodNotAllowed, "only GET here")
		return
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, rootPage, html.EscapeString(s.deps.Version))
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(map[string]string{ //nolint:errcheck // the caller has gone
		"product": "dunlin", "version": s.deps.Version, "health": "/healthz", "ready": "/readyz", "admin": "/api/info",
	})
}
