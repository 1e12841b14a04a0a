package blobsas

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var key = []byte("0123456789abcdef0123456789abcdef")

func parse(t testing.TB, query string) (Claim, error) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return Parse(q)
}

func TestSigned(t *testing.T) {
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	one := Sign(key, "acct", Spec{Container: "box", Blob: "dir/ä b?", Permissions: Read | Write, Expiry: expiry})
	c, err := parse(t, one)
	if err != nil {
		t.Fatal(err)
	}
	if !c.SignedBy(key, "acct", "box", "dir/ä b?") || c.Permissions != Read|Write || c.Resource != Blob || !c.HTTPSOnly || !c.Expiry.Equal(expiry.Truncate(time.Second)) || !c.Start.IsZero() {
		t.Errorf("%+v", c)
	}
	for _, other := range [][3]string{{"acct", "box", "dir"}, {"acct", "box", ""}, {"acct", "bo", "x/dir/ä b?"}, {"x", "box", "dir/ä b?"}, {"acct", "box", "dir/Ä b?"}} {
		if c.SignedBy(key, other[0], other[1], other[2]) {
			t.Errorf("signed for %q too", other)
		}
	}
	if c.SignedBy(key[1:], "acct", "box", "dir/ä b?") || (&Claim{}).SignedBy(nil, "", "", "") {
		t.Error("signed by another key")
	}
	whole, err := parse(t, Sign(key, "acct", Spec{Container: "box", Permissions: List, Start: expiry.Add(-time.Hour), Expiry: expiry}))
	if err != nil || whole.Resource != Container || !whole.SignedBy(key, "acct", "box", "any") || whole.SignedBy(key, "acct", "bo", "x") || whole.Start.IsZero() {
		t.Errorf("%+v, %v", whole, err)
	}
}

// TestVersions holds the text that is signed to the documented lines of each
// version.
func TestVersions(t *testing.T) {
	tests := []struct{ query, text string }{
		{"sv=2015-04-05&sr=b&sp=r&se=2030-01-01&rsct=text/plain", "r\n\n2030-01-01\n/blob/acct/box/a\n\n\n\n2015-04-05\n\n\n\n\ntext/plain"},
		{"sv=2018-11-09&sr=c&sp=rl&st=2020-01-01&se=2030-01-01T00:00Z&sip=10.0.0.1-10.0.0.9&spr=https", "rl\n2020-01-01\n2030-01-01T00:00Z\n/blob/acct/box\n\n10.0.0.1-10.0.0.9\nhttps\n2018-11-09\nc\n\n\n\n\n\n"},
		{"sv=2020-12-06&sr=b&sp=rw&se=2030-01-01T00:00:00.0000000Z&spr=https,http&rscc=no-cache&ses=scope", "rw\n\n2030-01-01T00:00:00.0000000Z\n/blob/acct/box/a\n\n\nhttps,http\n2020-12-06\nb\n\nscope\nno-cache\n\n\n\n"},
		{"sv=2026-02-06&sr=b&sp=rwx&se=2030-01-01T01:00:00%2B01:00", "rwx\n\n2030-01-01T01:00:00+01:00\n/blob/acct/box/a\n\n\n\n2026-02-06\nb\n\n\n\n\n\n\n"},
	}
	for _, tt := range tests {
		sig := base64.StdEncoding.EncodeToString(sum(key, tt.text))
		for _, encoded := range []string{url.QueryEscape(sig), sig} { // sloppy clients leave + as it is
			c, err := parse(t, tt.query+"&sig="+encoded)
			if err != nil || !c.SignedBy(key, "acct", "box", "a") {
				t.Errorf("%s: %v", tt.query, err)
			}
		}
	}
}

func TestMalformed(t *testing.T) {
	good := Sign(key, "acct", Spec{Container: "box", Blob: "a", Permissions: Read, Expiry: time.Now().Add(time.Hour)})
	for _, tt := range []struct{ old, new, text string }{
		{"sv=2021-12-02", "sv=2014-02-14", "sv is not"},
		{"sv=2021-12-02", "sv=latest", "sv is not"},
		{"sv=2021-12-02", "", "sv is missing"},
		{"sr=b", "sr=d", "sr is neither"},
		{"sr=b", "sr=b&sr=c", "sr is given twice"},
		{"sp=r", "sp=", "sp (the permissions) is missing"},
		{"sp=r", "sp=R", "letter"},
		{"se=", "se=x", "se (the expiry)"},
		{"se=", "st=now&se=", "st (the start)"},
		{"spr=https", "spr=http", "spr is neither"},
		{"spr=https", "sip=10.0.0", "sip is not"},
		{"spr=https", "si=policy", "stored access policy"},
		{"spr=https", "rsct=a%0Ab", "line break"},
		{"spr=https", "ss=b&srt=o", "account SAS"},
		{"spr=https", "skoid=x", "user delegation"},
		{"sig=", "sig=A", "sig is not"},
	} {
		query := strings.Replace(good, tt.old, tt.new, 1)
		if c, err := parse(t, query); err == nil || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), url.QueryEscape("=")) {
			t.Errorf("%s: %+v, %v", query, c, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	c := Claim{From: netip.MustParseAddr("10.0.0.2"), To: netip.MustParseAddr("10.0.0.4")}
	for a, want := range map[string]bool{"10.0.0.1": false, "10.0.0.2": true, "::ffff:10.0.0.3": true, "10.0.0.4": true, "10.0.0.5": false, "::1": false} {
		if got := c.AllowsAddress(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v", a, got)
		}
	}
	if c.AllowsAddress(netip.Addr{}) || !(&Claim{}).AllowsAddress(netip.Addr{}) {
		t.Error("an address that is not known")
	}
}

// FuzzParse: whatever the query is, it is refused or it is good for the
// resource that was signed alone, and no key signs what it did not sign.
func FuzzParse(f *testing.F) {
	f.Add(Sign(key, "acct", Spec{Container: "box", Blob: "a", Permissions: Read | Write, Expiry: time.Unix(2_000_000_000, 0)}))
	f.Add(Sign(key, "acct", Spec{Container: "box", Permissions: List, Start: time.Unix(1, 0), Expiry: time.Unix(2_000_000_000, 0)}))
	f.Add("sv=2018-11-09&sr=b&sp=r&se=2030-01-01&sip=10.0.0.1-10.0.0.9&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		c, err := Parse(q)
		if err != nil {
			return
		}
		if c.SignedBy(key, "acct", "other", "a") || c.SignedBy([]byte("another key"), "acct", "box", "a") {
			t.Errorf("%q is good for what it was not signed for", query)
		}
		if c.Resource == Blob && c.SignedBy(key, "acct", "box", "b") {
			t.Errorf("%q of one blob opens another", query)
		}
		if again := Sign(key, "acct", Spec{Container: "box", Blob: "a", Permissions: c.Permissions, Start: c.Start, Expiry: c.Expiry}); c.Permissions != 0 && c.Expiry.Year() > 0 && c.Expiry.Year() < 9999 && (c.Start.IsZero() || c.Start.Year() > 0 && c.Start.Year() < 9999) {
			b, err := parse(t, again)
			if err != nil || !b.SignedBy(key, "acct", "box", "a") || b.Permissions != c.Permissions {
				t.Errorf("%q made of %q: %v", again, query, err)
			}
		}
	})
}
