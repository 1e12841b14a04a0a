// Package httpd is the HTTPS door: it owns the HTTP server, dispatches to the
// surfaces of internal/api, and turns WebSocket upgrades into byte streams for
// the device protocols. It knows none of the operations behind it.
package httpd
