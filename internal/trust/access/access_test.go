package access_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/sas"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func TestHosts(t *testing.T) {
	h := access.NewHosts("Hub.Example", "localhost", "", "::1", "hub.example:443", "gateway")
	if h.Name() != "hub.example" || h.String() != "hub.example, localhost, ::1, gateway" {
		t.Errorf("names %q", h)
	}
	for host, want := range map[string]bool{
		"": true, "hub.example": true, "HUB.example:8883": true, "hub.example.": true, "localhost:1": true, "[::1]:443": true, "::1": true, "[::1]": true,
		"gateway": true, "hub.example.net": false, "xhub.example": false, "hub": false, "127.0.0.1": false, ":443": false, "hub.example:443:1": false,
	} {
		if got := h.Match(host); got != want {
			t.Errorf("Match(%q) = %v, want %v", host, got, want)
		}
	}
}

// TestPoliciesStay opens the policies twice: the keys are made once.
func TestPoliciesStay(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		hosts := access.NewHosts("hub.example")
		first, err := access.Open(t.Context(), db, hosts)
		if err != nil {
			t.Fatal(err)
		}
		second, err := access.Open(t.Context(), db, hosts)
		if err != nil {
			t.Fatal(err)
		}
		a, b := first.List(), second.List()
		if len(a) != 5 || len(b) != 5 {
			t.Fatalf("%d and %d policies, want 5", len(a), len(b))
		}
		seen := map[string]bool{}
		for i := range a {
			if a[i].Name != b[i].Name || !bytes.Equal(a[i].PrimaryKey, b[i].PrimaryKey) || !bytes.Equal(a[i].SecondaryKey, b[i].SecondaryKey) {
				t.Errorf("policy %s changed", a[i].Name)
			}
			for _, key := range [][]byte{a[i].PrimaryKey, a[i].SecondaryKey} {
				if len(key) != 32 || seen[string(key)] {
					t.Errorf("policy %s has a key of %d bytes, or one that another has", a[i].Name, len(key))
				}
				seen[string(key)] = true
			}
		}
		// A bit that flips is told, not taken for another key.
		err = db.Write(t.Context(), func(tx state.Tx) error {
			key := bytes.Clone(a[0].PrimaryKey)
			key[3] ^= 1
			_, err := tx.Exec(t.Context(), "UPDATE policy SET primary_key = ? WHERE name = ?", key, a[0].Name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = access.Open(t.Context(), db, hosts)
		if !errors.Is(err, state.ErrDamaged) || !strings.Contains(err.Error(), db.Location()) || !strings.Contains(err.Error(), a[0].Name) {
			t.Errorf("a damaged policy: %v", err)
		}
	})
}

func TestAuthorize(t *testing.T) {
	db, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "state.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := access.Open(t.Context(), db, access.NewHosts("hub.example", "localhost"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	soon := now.Add(time.Hour)
	key := func(name string) []byte {
		policy, ok := p.Find(name)
		if !ok {
			t.Fatal(name)
		}
		return policy.PrimaryKey
	}
	for _, policy := range p.List() {
		for _, k := range [][]byte{policy.PrimaryKey, policy.SecondaryKey} {
			got, err := p.Authorize(sas.Sign("hub.example", k, soon, policy.Name), "/devices/d", now)
			if err != nil || got.Name != policy.Name || got.Permissions != policy.Permissions {
				t.Errorf("%s: %+v, %v", policy.Name, got, err)
			}
		}
	}
	// As the Node service client writes it: plain, with the port.
	if _, err := p.Authorize(sas.Sign("LOCALHOST:8443", key("service"), soon, "service"), "/twins/d", now); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]struct{ token, path, word string }{
		"nothing":        {"", "/", "Authorization header missing"},
		"blank":          {"  ", "/", "Authorization header missing"},
		"garbage":        {"garbage", "/", "SharedAccessSignature"},
		"other hub":      {sas.Sign("other", key("service"), soon, "service"), "/", "'other'"},
		"no policy":      {sas.Sign("hub.example", key("service"), soon, ""), "/", "skn"},
		"unknown policy": {sas.Sign("hub.example", key("service"), soon, "Service"), "/", "'Service'"},
		"wrong key":      {sas.Sign("hub.example", key("device"), soon, "service"), "/", "neither key"},
		"expired":        {sas.Sign("hub.example", key("service"), now.Add(-6*time.Minute), "service"), "/", "expired at"},
		"not covered":    {sas.Sign("hub.example/devices/d", key("service"), soon, "service"), "/devices/dd", "does not cover"},
	} {
		_, err := p.Authorize(c.token, c.path, now)
		if iot.CodeOf(err) != iot.UnauthorizedAccess || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %v, want IotHubUnauthorizedAccess with %q", what, err, c.word)
		}
	}
	if _, err := p.Authorize(sas.Sign("hub.example", key("service"), now.Add(-4*time.Minute), "service"), "/", now); err != nil {
		t.Errorf("within the allowance for clocks: %v", err)
	}
}

func TestRequire(t *testing.T) {
	p := access.Principal{Name: "registryRead", Permissions: access.RegistryRead}
	if err := p.Require(access.RegistryRead, "devices"); err != nil {
		t.Error(err)
	}
	err := p.Require(access.RegistryWrite, "devices/d")
	if iot.CodeOf(err) != iot.UnauthorizedAccess ||
		!strings.Contains(err.Error(), "Authorization rule 'registryRead' does not allow access for 'devices/d'") || !strings.Contains(err.Error(), "RegistryWrite") {
		t.Error(err)
	}
	if !access.Admin().Allows(access.All) || (access.Principal{}).Allows(access.RegistryRead) {
		t.Error("the administrator may do everything, nobody nothing")
	}
	if s := (access.RegistryRead | access.DeviceConnect).String(); s != "RegistryRead, DeviceConnect" {
		t.Error(s)
	}
}
