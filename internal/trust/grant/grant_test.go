package grant

import (
	"errors"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/wire/blobsas"
)

func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }

func deps(db state.DB) Deps {
	return Deps{
		DB: db, Account: "hub", Host: func() string { return "hub.example:8443" },
		Ours: func(host string) bool { return strings.HasPrefix(host, "hub.example") },
	}
}

func query(t *testing.T, s string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(s)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func TestCheck(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		r, err := Open(t.Context(), deps(db))
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		ref := blob.Ref{Container: "box", Name: "d1/a"}
		one := query(t, r.Sign(blobsas.Spec{Container: "box", Blob: "d1/a", Permissions: blobsas.Read | blobsas.Write, Start: now, Expiry: now.Add(time.Hour)}))
		whole := query(t, r.Sign(blobsas.Spec{Container: "box", Permissions: blobsas.List, Expiry: now.Add(time.Hour)}))
		ranged := query(t, "sv=2021-12-02&sr=c&sp=r&se=2099-01-01&sip=10.0.0.1&sig=AAAA")
		for _, tt := range []struct {
			name   string
			q      url.Values
			ref    blob.Ref
			plain  bool
			at     time.Time
			code   string
			detail string
		}{
			{"the blob", one, ref, false, now, "", ""},
			{"another blob", one, blob.Ref{Container: "box", Name: "d1/b"}, false, now, codeAuthentication, "did not match"},
			{"a blob below", one, blob.Ref{Container: "box", Name: "d1/a/b"}, false, now, codeAuthentication, "did not match"},
			{"another container", one, blob.Ref{Container: "boy", Name: "d1/a"}, false, now, codeAuthentication, "did not match"},
			{"its container", one, blob.Ref{Container: "box"}, false, now, codeAuthentication, "did not match"},
			{"expired", one, ref, false, now.Add(time.Hour), codeAuthentication, "Expiry"},
			{"too early", one, ref, false, now.Add(-time.Minute), codeAuthentication, "Start"},
			{"without TLS", one, ref, true, now, codeProtocol, "HTTPS"},
			{"the container", whole, blob.Ref{Container: "box"}, false, now, "", ""},
			{"a blob of it", whole, ref, false, now, "", ""},
			{"not a signature", ranged, ref, false, now, codeAuthentication, "sig is not"},
		} {
			c, err := r.Check(tt.q, tt.ref, netip.MustParseAddr("127.0.0.1"), !tt.plain, tt.at)
			var refused *RefusedError
			switch {
			case tt.code == "" && (err != nil || c.Permissions == 0):
				t.Errorf("%s: %v", tt.name, err)
			case tt.code != "" && (!errors.As(err, &refused) || refused.Code != tt.code || !strings.Contains(refused.Detail, tt.detail)):
				t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
			}
		}
		again, err := Open(t.Context(), deps(db))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.Check(one, ref, netip.Addr{}, true, now); err != nil {
			t.Errorf("the key changed with a restart: %v", err)
		}
		if err := db.Write(t.Context(), func(tx state.Tx) error {
			_, err := tx.Exec(t.Context(), "UPDATE blob_key SET sum = sum + 1")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), deps(db)); !errors.Is(err, state.ErrDamaged) {
			t.Errorf("a damaged key: %v", err)
		}
	})
}

func TestContainer(t *testing.T) {
	r, err := Open(t.Context(), deps(statetest.SQLite(t)))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	sign := func(name string) string {
		return "?" + r.Sign(blobsas.Spec{Container: "box", Blob: name, Permissions: blobsas.Read | blobsas.Write | blobsas.List, Expiry: now.Add(time.Hour)})
	}
	good := r.URI("box", "") + sign("")
	if good[:32] != "https://hub.example:8443/box?sv=" {
		t.Errorf("URI %s", good)
	}
	if c, p, err := r.Container(good, now); err != nil || c != "box" || p != blobsas.Read|blobsas.Write|blobsas.List {
		t.Errorf("%s %s %v", c, p, err)
	}
	if got, want := r.URI("box", "d#1/a b%?/ü"), "https://hub.example:8443/box/d%231/a%20b%25%3F/%C3%BC"; got != want {
		t.Errorf("URI %s, want %s", got, want)
	}
	for _, bad := range []string{
		"", "box", "http" + good[5:], strings.Replace(good, "hub.example", "other.example", 1), strings.Replace(good, "/box", "/boy", 1), strings.Replace(good, "/box", "/", 1),
		r.URI("box", "a") + sign("a"), r.URI("box", "") + sign("a"), r.URI("box", ""), good + "&sig=x", good + "%zz", strings.Replace(good, "https://", "https://user@", 1),
	} {
		if _, _, err := r.Container(bad, now); iot.CodeOf(err) != iot.ArgumentInvalid {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, _, err := r.Container(good, now.Add(2*time.Hour)); iot.CodeOf(err) != iot.ArgumentInvalid || !strings.Contains(err.Error(), "Expiry") {
		t.Errorf("expired: %v", err)
	}
}
