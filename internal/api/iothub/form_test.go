package iothub_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestForms holds what surrounds the operations to the contract of the public
// service: spelling of paths, preconditions, media types, methods, versions.
func TestForms(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		s.send("PUT", "/devices/d", `{}`).ok(200, nil)
		s.send("PUT", "/devices/d/modules/m", `{}`).ok(201, nil)
		type call struct {
			what, method, path, body string
			headers                  []string
			status                   int
			code                     string // of an error
		}
		for _, c := range []call{
			{what: "a slash at the end", method: "GET", path: "/devices/", status: 200},
			{what: "a slash behind an id", method: "GET", path: "/devices/d/", status: 200},
			{what: "capitals", method: "GET", path: "/Devices/d/Modules/m", status: 200},
			{what: "capitals of an id", method: "GET", path: "/devices/D", status: 404, code: "DeviceNotFound"},
			{what: "an escaped id", method: "GET", path: "/devices/%64", status: 200},
			{what: "escaped twice", method: "GET", path: "/devices/%2564", status: 404, code: "DeviceNotFound"},
			{what: "a slash within an id", method: "GET", path: "/devices/a%2Fb", status: 400, code: "ArgumentInvalid"},
			{what: "an id that is too long", method: "GET", path: "/devices/" + strings.Repeat("a", 129), status: 400, code: "ArgumentInvalid"},
			{what: "an empty segment", method: "GET", path: "/devices//modules", status: 404, code: "GenericNotFound"},
			{what: "dots", method: "GET", path: "/devices/%2e%2e", status: 404, code: "DeviceNotFound"},
			{what: "an unknown path", method: "POST", path: "/$admin/x", status: 404, code: "GenericNotFound"},
			{what: "another method", method: "POST", path: "/devices/d", body: "{}", status: 405, code: "GenericMethodNotAllowed"},
			{what: "HEAD", method: "HEAD", path: "/devices/d", status: 405},
			{what: "no version", method: "GET", path: "/devices/d?x=1", status: 400, code: "InvalidProtocolVersion"},
			{what: "a bad version", method: "GET", path: "/devices/d?api-version=latest", status: 400, code: "InvalidProtocolVersion"},
			{what: "a preview", method: "GET", path: "/devices/d?api-version=2030-01-01-preview", status: 200},
			{what: "an older version", method: "GET", path: "/devices/d?api-version=2016-11-14", status: 200},
			{what: "top", method: "GET", path: "/devices?" + version + "&top=5000", status: 200},
			{what: "top 0", method: "GET", path: "/devices?" + version + "&top=0", status: 400, code: "ArgumentInvalid"},
			{what: "modules of nobody", method: "GET", path: "/devices/nobody/modules", status: 404, code: "DeviceNotFound"},
			{what: "a module of nobody", method: "PUT", path: "/devices/nobody/modules/m", body: "{}", status: 404, code: "DeviceNotFound"},

			{what: "create what is there", method: "PUT", path: "/devices/d", body: "{}", status: 409, code: "DeviceAlreadyExists"},
			{what: "create only", method: "PUT", path: "/devices/d", body: "{}", headers: []string{"If-None-Match", `"*"`}, status: 409, code: "DeviceAlreadyExists"},
			{what: "create only, bare", method: "PUT", path: "/devices/e", body: "{}", headers: []string{"If-None-Match", "*"}, status: 200},
			{what: "create only a module", method: "PUT", path: "/devices/d/modules/m", body: "{}", headers: []string{"If-None-Match", "*"}, status: 409, code: "ModuleAlreadyExistsOnDevice"},
			{what: "both preconditions", method: "PUT", path: "/devices/d", body: "{}", headers: []string{"If-None-Match", "*", "If-Match", "*"}, status: 400, code: "ArgumentInvalid"},
			{what: "none of an ETag", method: "PUT", path: "/devices/d", body: "{}", headers: []string{"If-None-Match", `"abc"`}, status: 400, code: "ArgumentInvalid"},
			{what: "change what is not there", method: "PUT", path: "/devices/n", body: "{}", headers: []string{"If-Match", `"*"`}, status: 404, code: "DeviceNotFound"},
			{what: "a stale ETag", method: "PUT", path: "/devices/d", body: "{}", headers: []string{"If-Match", `W/"stale"`}, status: 412, code: "PreconditionFailed"},
			{what: "a stale ETag of nothing", method: "DELETE", path: "/devices/n", headers: []string{"If-Match", `"stale"`}, status: 404, code: "DeviceNotFound"},
			{what: "a twin that must not be there", method: "PATCH", path: "/twins/d", body: "{}", headers: []string{"If-None-Match", "*"}, status: 412, code: "PreconditionFailed"},
			{what: "likewise replaced", method: "PUT", path: "/twins/d", body: "{}", headers: []string{"If-None-Match", "*"}, status: 412, code: "PreconditionFailed"},
			{what: "a digital twin likewise", method: "PATCH", path: "/digitaltwins/d", body: "[]", headers: []string{"If-None-Match", "*"}, status: 412, code: "PreconditionFailed"},

			{what: "a form", method: "PUT", path: "/devices/d", body: "a=b", headers: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "IncompatibleDataType"},
			{what: "JSON patch", method: "PATCH", path: "/digitaltwins/d", body: "[]", headers: []string{"Content-Type", "application/json-patch+json"}, status: 202},
			{what: "merge patch", method: "PATCH", path: "/twins/d", body: "{}", headers: []string{"Content-Type", "application/merge-patch+json; charset=utf-8"}, status: 200},
			{what: "no type", method: "PATCH", path: "/twins/d", body: "{}", headers: []string{"Content-Type", ""}, status: 200},
			{what: "Latin-1", method: "PATCH", path: "/twins/d", body: "{\"tags\":{\"a\":\"\xe9\"}}", status: 400, code: "DeserializationError"},
			{what: "a byte order mark", method: "PATCH", path: "/twins/d", body: "\ufeff{}", status: 200},
			{what: "an array", method: "PUT", path: "/devices/d", body: "[]", status: 400, code: "ArgumentInvalid"},
			{what: "two values", method: "PUT", path: "/devices/d", body: "{} {}", status: 400, code: "DeserializationError"},

			{what: "no token", method: "GET", path: "/devices/d", headers: []string{"Authorization", ""}, status: 401, code: "IotHubUnauthorizedAccess"},
			{what: "a bearer", method: "GET", path: "/devices/d", headers: []string{"Authorization", "Bearer x"}, status: 401, code: "IotHubUnauthorizedAccess"},
			{what: "no token for an unknown path", method: "GET", path: "/nothing", headers: []string{"Authorization", ""}, status: 404, code: "GenericNotFound"},
		} {
			a := s.send(c.method, c.path, c.body, c.headers...)
			switch {
			case a.status != c.status:
				t.Errorf("%s: %s %s: %d %s, want %d %s", c.what, c.method, c.path, a.status, a.body, c.status, c.code)
			case c.code != "":
				a.refused(c.what, c.status, c.code)
			case c.method == http.MethodHead:
			case a.header.Get("x-ms-request-id") == "":
				t.Errorf("%s: no x-ms-request-id", c.what)
			}
			if a.status == 405 && a.header.Get("Allow") == "" {
				t.Errorf("%s: 405 without Allow", c.what)
			}
		}
	})
}
