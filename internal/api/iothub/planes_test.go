package iothub_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"dunlin/internal/api/iothub"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/sas"
)

// moduleToken makes a token of a module, signed with its key.
func (s *site) moduleToken(device, module string) string {
	s.t.Helper()
	var m struct {
		Authentication struct{ SymmetricKey struct{ PrimaryKey string } }
	}
	path := "/devices/" + device + "/modules/" + module
	s.send("GET", path, "").ok(200, &m)
	key, err := base64.StdEncoding.DecodeString(m.Authentication.SymmetricKey.PrimaryKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return sas.Sign(hubName+path, key, time.Now().Add(time.Hour), "")
}

// TestPlanes shows every kind of token to every operation of the tables, those
// of applications and those of devices: what a token is not for is refused
// with 401, as are tokens of other devices, of policies that are none, of
// another hub, expired ones and altered ones.
func TestPlanes(t *testing.T) {
	each(t, func(t *testing.T, s *site) {
		for _, id := range []string{"d", "e"} {
			s.send("PUT", "/devices/"+id, `{}`).ok(200, nil)
			s.send("PUT", "/devices/"+id+"/modules/m", `{}`).ok(201, nil)
			s.send("PUT", "/devices/"+id+"/modules/n", `{}`).ok(201, nil)
		}
		owner, _ := s.policies.Find("iothubowner")
		deviceKey, _ := s.policies.Find("device")
		day := time.Now().Add(24 * time.Hour)
		good := s.token("iothubowner")
		altered := strings.Replace(good, "sig=", "sig=AAAA", 1)
		tokens := map[string]string{
			"none":                             "",
			"of the device":                    s.deviceToken("d"),
			"of another device":                s.deviceToken("e"),
			"of the module":                    s.moduleToken("d", "m"),
			"of another module":                s.moduleToken("d", "n"),
			"of a module elsewhere":            s.moduleToken("e", "m"),
			"of a policy that is none":         sas.Sign(hubName, owner.PrimaryKey, day, "nobody"),
			"of a policy with another key":     sas.Sign(hubName, deviceKey.PrimaryKey, day, "iothubowner"),
			"for another hub":                  sas.Sign("other.example", owner.PrimaryKey, day, "iothubowner"),
			"for another device, by the owner": sas.Sign(hubName+"/devices/e", owner.PrimaryKey, day, "iothubowner"),
			"expired":                          sas.Sign(hubName, owner.PrimaryKey, time.Now().Add(-time.Hour), "iothubowner"),
			"altered":                          altered,
			"without signature":                "SharedAccessSignature sr=" + hubName + "&se=99999999999&skn=iothubowner",
			"basic":                            "Basic aW90aHVib3duZXI6eA==",
			"bearer":                           "Bearer x",
		}
		for _, p := range s.policies.List() {
			tokens["of the policy "+p.Name] = s.token(p.Name)
		}
		for _, row := range iothub.Rows() {
			module := strings.Contains(row.Path, "{module}")
			for kind, token := range tokens {
				may := false
				switch policy, ok := strings.CutPrefix(kind, "of the policy "); {
				case ok:
					p, _ := s.policies.Find(policy)
					may = p.Permissions&row.Need == row.Need
				case row.Need != access.DeviceConnect:
					// no device speaks for an application
				case kind == "of the device":
					may = !module
				case kind == "of the module":
					may = module
				}
				if may {
					continue // shown by the tests of permissions, and it might delete something
				}
				body := valid[row.Method+" "+row.Path]
				if body == "" && row.Method != http.MethodGet && row.Method != http.MethodDelete {
					body = "{}"
				}
				a := s.send(row.Method, fill.Replace(row.Path), body, "Authorization", token, "iothub-to", "/devices/d/messages/devicebound")
				if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("iothub-errorcode"), "IotHubUnauthorized") && a.header.Get("iothub-errorcode") != "GenericUnauthorized" {
					t.Errorf("%s %s with a token %s: %d %s", row.Method, row.Path, kind, a.status, a.body)
				}
			}
		}
		for _, path := range []string{"/devices/d", "/devices/d/modules/m", "/devices/e"} {
			s.send("GET", path, "").ok(200, nil)
		}
		if n := len(s.records()); n > 0 {
			t.Errorf("%d messages were taken", n)
		}
	})
}
