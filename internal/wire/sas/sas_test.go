package sas

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

// key and the signatures below were made with Python's hmac module.
var key = func() []byte {
	k := make([]byte, 32)
	for i := range k {
		k[i] = byte(i)
	}
	return k
}()

const expiry = 1795223469

const (
	sigUpper = "HwcTaN9Q1gbM86KOdbl7%2FyEDk9FTSJoXsQggrH3jP7o%3D" // hub.test.local%2Fdevices%2Fdev1
	sigLower = "cyHBriiRO1yehe7rbFe8zEbf%2F7NdcGvGbhizppM80po%3D" // hub.test.local%2fdevices%2fdev1
	sigPlain = "5nxLGLfYqnZBJFbKI2%2f72IHHY0zx26C1Ir4ecErrueE%3d" // hub.test.local/devices/dev1
	sigHub   = "kzF4nMp5h3yDYO6nj9Aj1ITvhwGpHvGP1T5ZP%2BdIEFw%3D" // hub.test.local
	sigPort  = "Hm90DcXFlICdjG1O9gKfsUU2BPBYhxtDj51TOndiSd4%3D"   // h%3A18883%2Fdevices%2Fdev1
)

func token(pairs string) string { return "SharedAccessSignature " + pairs }

// Every spelling that clients were seen to send.
func TestVerifySpellings(t *testing.T) {
	for name, c := range map[string]struct{ pairs, resource, policy string }{
		"Node device, encoded sr":       {"sr=hub.test.local%2Fdevices%2Fdev1&sig=" + sigUpper + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"Node device, port in host":     {"sr=h%3A18883%2Fdevices%2Fdev1&sig=" + sigPort + "&se=1795223469", "h/devices/dev1", ""},
		"Node service, plain sr, skn":   {"sr=hub.test.local&sig=" + sigHub + "&skn=iothubowner&se=1795223469", "hub.test.local", "iothubowner"},
		"C device, plain sr, lower sig": {"sr=hub.test.local/devices/dev1&sig=" + sigPlain + "&se=1795223469&skn=", "hub.test.local/devices/dev1", ""},
		"lower-case escapes":            {"sr=hub.test.local%2fdevices%2fdev1&sig=" + sigLower + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"any order":                     {"se=1795223469&skn=a%20b&sig=" + sigUpper + "&sr=hub.test.local%2Fdevices%2Fdev1", "hub.test.local/devices/dev1", "a b"},
		"unknown pair":                  {"x=y&sr=hub.test.local%2Fdevices%2Fdev1&sig=" + sigUpper + "&se=1795223469&", "hub.test.local/devices/dev1", ""},
		"signed %2F, sent plain":        {"sr=hub.test.local/devices/dev1&sig=" + sigUpper + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"signed %2f, sent plain":        {"sr=hub.test.local/devices/dev1&sig=" + sigLower + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"signed %2f, sent %2F":          {"sr=hub.test.local%2Fdevices%2Fdev1&sig=" + sigLower + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"signed plain, sent %2F":        {"sr=hub.test.local%2Fdevices%2Fdev1&sig=" + sigPlain + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"signed host in lower case":     {"sr=Hub.Test.local%2Fdevices%2Fdev1&sig=" + sigLower + "&se=1795223469", "hub.test.local/devices/dev1", ""},
		"sig with plain + / =":          {"sr=hub.test.local&sig=" + strings.NewReplacer("%2B", "+", "%3D", "=").Replace(sigHub) + "&se=1795223469", "hub.test.local", ""},
		"hub token for a device":        {"sr=hub.test.local&sig=" + sigHub + "&se=1795223469&skn=device", "HUB.test.local:8883/devices/dev1", "device"},
	} {
		t.Run(name, func(t *testing.T) {
			tok, err := Parse(token(c.pairs))
			if err != nil {
				t.Fatal(err)
			}
			if !tok.Verify(key) {
				t.Error("does not verify")
			}
			if tok.Verify(key[:31]) || tok.Verify(nil) {
				t.Error("verifies with another key")
			}
			if !tok.Covers(c.resource) {
				t.Errorf("resource %q does not cover %q", tok.Resource(), c.resource)
			}
			if tok.Policy() != c.policy {
				t.Errorf("policy %q, want %q", tok.Policy(), c.policy)
			}
			if got := tok.Expiry().Unix(); got != expiry {
				t.Errorf("expiry %d, want %d", got, expiry)
			}
		})
	}
}

// A fallback must never make a token good for another resource than the one
// it was signed for.
func TestVerifyRefusesOtherResources(t *testing.T) {
	for name, sr := range map[string]string{
		"other device":           "hub.test.local%2Fdevices%2Fdev2",
		"id in another case":     "hub.test.local%2Fdevices%2FDEV1",
		"longer":                 "hub.test.local%2Fdevices%2Fdev1%2Fmodules%2Fm",
		"encoded twice":          "hub.test.local%252Fdevices%252Fdev1",
		"scheme added":           "sb%3A%2F%2Fhub.test.local%2Fdevices%2Fdev1",
		"host in another letter": "hub.test.locaL2%2Fdevices%2Fdev1",
	} {
		tok, err := Parse(token("sr=" + sr + "&sig=" + sigUpper + "&se=1795223469"))
		if err != nil {
			t.Fatal(name, err)
		}
		if tok.Verify(key) {
			t.Errorf("%s: verifies", name)
		}
	}
	// The expiry is signed too.
	tok, err := Parse(token("sr=hub.test.local%2Fdevices%2Fdev1&se=1795223470&sig=" + sigUpper))
	if err != nil || tok.Verify(key) {
		t.Error("verifies with another expiry", err)
	}
	var zero Token
	if zero.Verify(key) || zero.Covers("") || zero.Covers("hub") {
		t.Error("the zero token is good for something")
	}
}

// The text signed decodes to the same resource as the text sent, in every
// spelling that Verify tries: so a token for one device never turns into one
// for another.
func TestVerifyPlainFormWithPercent(t *testing.T) {
	// What the owner of a hub key signs for device "aA", spelled a%41.
	const signed = "hub/devices/a%41"
	mine := signRaw(signed)
	tok, err := Parse(token("sr=hub%2Fdevices%2Fa%2541&se=1795223469&sig=" + mine))
	if err != nil {
		t.Fatal(err)
	}
	if tok.Covers("hub/devices/a%41") && tok.Verify(key) {
		t.Error(`a token for device "aA" was taken for device "a%41"`)
	}
	if tok, err = Parse(token("sr=" + signed + "&se=1795223469&sig=" + mine)); err != nil || !tok.Verify(key) || !tok.Covers("hub/devices/aA") {
		t.Error("the raw form does not verify", err)
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		sr, resource string
		want         bool
	}{
		{"hub", "hub/devices/d", true},
		{"hub", "hub2/devices/d", false},
		{"hub", "hubx", false},
		{"hub%2Fdevices", "hub/devices/d/modules/m", true},
		{"hub%2Fdevices%2Fd", "hub/devices/d", true},
		{"hub%2Fdevices%2Fd%2F", "hub/devices/d", true},
		{"hub%2Fdevices%2Fd", "hub/devices/d/modules/m", true},
		{"hub%2Fdevices%2Fd", "hub/devices/dd", false},
		{"hub%2Fdevices%2Fd", "hub/devices/D", false},
		{"hub%2Fdevices%2Fd", "hub/devices", false},
		{"hub%2Fdevices%2Fd", "hub", false},
		{"HUB.Example%2Fdevices%2Fd", "hub.example/devices/d", true},
		{"hub:443/devices/d", "hub/devices/d", true},
		{"hub%3A443%2Fdevices%2Fd", "HUB:8883/devices/d", true},
		{"amqps%3A%2F%2Fhub%2Fdevices%2Fd", "hub/devices/d", true},
		{"sb://hub:5671/events", "hub/events/ConsumerGroups", true},
		{"https://hub", "hub/devices/d", true},
		{"[::1]:8883/devices/d", "[::1]/devices/d", true},
		{"[::1]/devices/d", "[::2]/devices/d", false},
		{"hub/devices/a%2Bb", "hub/devices/a+b", true},
		{"hub/devices/a+b", "hub/devices/a+b", true},
		{"hub/devices/a%2525", "hub/devices/a%25", true},
		{"hub/devices/d", "/devices/d", false},
		{"hub/devices/d", "", false},
	} {
		tok, err := Parse(token("sr=" + c.sr + "&sig=" + sigUpper + "&se=1"))
		if err != nil {
			t.Fatal(c.sr, err)
		}
		if got := tok.Covers(c.resource); got != c.want {
			t.Errorf("%s covers %s: %v, want %v", c.sr, c.resource, got, c.want)
		}
	}
}

func TestExpired(t *testing.T) {
	now := time.Unix(2_000_000_000, 999)
	for _, c := range []struct {
		se   string
		want bool
	}{
		{"1999999699", true},
		{"1999999700", true}, // se = now - 5 min
		{"1999999701", false},
		{"2000000000", false},
		{"4294967296", false}, // above 32 bits
		{"2000000000000", false},
		{"1000000000000000000", false},
		{"0", true},
	} {
		tok, err := Parse(token("sr=h&sig=" + sigUpper + "&se=" + c.se))
		if err != nil {
			t.Fatal(c.se, err)
		}
		if got := tok.Expired(now); got != c.want {
			t.Errorf("se=%s: expired %v, want %v", c.se, got, c.want)
		}
	}
}

// The moments that callers compute with must not wrap around.
func TestExpiryFarAway(t *testing.T) {
	for _, se := range []string{"9214646399", "9214646400", "9223372037", "2000000000000", "1152921504606846976"} {
		tok, err := Parse(token("sr=h&sig=" + sigUpper + "&se=" + se))
		if err != nil {
			t.Fatal(se, err)
		}
		now := time.Unix(2_000_000_000, 0)
		end := tok.Expiry().Add(Skew)
		if end.UnixNano() < now.UnixNano() || end.Sub(now) <= 0 || end.Year() > 2262 || tok.Expired(now) {
			t.Errorf("se=%s ends at %v", se, end)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	const good = "sr=h%2Fd&sig=" + sigUpper + "&se=1"
	for name, c := range map[string]struct{ text, want string }{
		"empty":                   {"", "is empty"},
		"connection string":       {"HostName=h;DeviceId=d;SharedAccessKey=AAAA", "does not begin with"},
		"bare key":                {"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "does not begin with"},
		"bearer":                  {"Bearer eyJ", "does not begin with"},
		"scheme only":             {"SharedAccessSignature", "does not begin with"},
		"scheme and a space":      {"SharedAccessSignature ", "sr (the resource, such as"},
		"no space":                {"SharedAccessSignature" + good, "does not begin with"},
		"too long":                {token(good + "&x=" + strings.Repeat("y", 5000)), "longer than 4096"},
		"no sr":                   {token("sig=" + sigUpper + "&se=1"), "sr (the resource, such as"},
		"empty sr":                {token("sr=&sig=" + sigUpper + "&se=1"), "sr (the resource) is empty"},
		"no host in sr":           {token("sr=%2Fdevices%2Fd&sig=" + sigUpper + "&se=1"), "no host"},
		"scheme alone in sr":      {token("sr=sb://&sig=" + sigUpper + "&se=1"), "no host"},
		"port alone in sr":        {token("sr=:443/d&sig=" + sigUpper + "&se=1"), "no host"},
		"bad escape in sr":        {token("sr=h%2&sig=" + sigUpper + "&se=1"), "sr has a %"},
		"control escape in sr":    {token("sr=h%\x10\x11&sig=" + sigUpper + "&se=1"), "sr has a %"},
		"no sig":                  {token("sr=h&se=1"), "sig (the signature) is missing"},
		"empty sig":               {token("sr=h&se=1&sig="), "sig (the signature) is empty"},
		"bad escape in sig":       {token("sr=h&se=1&sig=AA%3"), "sig has a %"},
		"sig not base64":          {token("sr=h&se=1&sig=" + strings.Repeat("!", 44)), "base64"},
		"sig of 31 bytes":         {token("sr=h&se=1&sig=" + strings.Repeat("A", 42) + "=="), "base64"},
		"sig of 33 bytes":         {token("sr=h&se=1&sig=" + strings.Repeat("A", 44)), "base64"},
		"sig encoded twice":       {token("sr=h&se=1&sig=" + strings.ReplaceAll(sigUpper, "%", "%25")), "exactly once"},
		"sig with other pad bits": {token("sr=h&se=1&sig=" + strings.Replace(sigUpper, "o%3D", "p%3D", 1)), "base64"},
		"no se":                   {token("sr=h&sig=" + sigUpper), "se (the expiry, seconds since 1970) is missing"},
		"empty se":                {token("sr=h&se=&sig=" + sigUpper), "se (the expiry) is empty"},
		"se with a fraction":      {token("sr=h&se=1795223469.25&sig=" + sigUpper), "whole number"},
		"se negative":             {token("sr=h&se=-1&sig=" + sigUpper), "whole number"},
		"se a date":               {token("sr=h&se=2026-01-01&sig=" + sigUpper), "whole number"},
		"se above 64 bits":        {token("sr=h&se=99999999999999999999&sig=" + sigUpper), "too large"},
		"se near the end":         {token("sr=h&se=9223372036854775807&sig=" + sigUpper), "too large"},
		"sr twice":                {token(good + "&sr=other"), "sr is given twice"},
		"bad escape in skn":       {token(good + "&skn=%zz"), "skn has a %"},
	} {
		_, err := Parse(c.text)
		var se *SyntaxError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
}

func TestSign(t *testing.T) {
	got := Sign("hub.test.local/devices/dev1", key, time.Unix(expiry, 0), "")
	want := token("sr=hub.test.local%2Fdevices%2Fdev1&sig=" + sigUpper + "&se=1795223469")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := Sign("h", key, time.Unix(1, 0), "a policy"); !strings.HasSuffix(got, "&se=1&skn=a%20policy") {
		t.Errorf("got %s", got)
	}
}

func TestParseKey(t *testing.T) {
	got, err := ParseKey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	if err != nil || !bytes.Equal(got, key) {
		t.Fatal(got, err)
	}
	for text, want := range map[string]string{
		"not base64":                    "not base64",
		"":                              "has 0 bytes",
		"AAECAwQFBgcICQoLDA0O":          "has 15 bytes",
		strings.Repeat("AAAA", 22):      "has 66 bytes",
		"AAECAwQFBgcICQoLDA0ODxAREhMUA": "not base64",
	} {
		if _, err := ParseKey(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

// signRaw signs a resource as it stands and gives the percent-encoded sig.
func signRaw(sr string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(sr + "\n1795223469"))
	return url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

func FuzzParse(f *testing.F) {
	for _, sr := range []string{"hub.test.local%2Fdevices%2Fdev1", "sb://h:1/x/", "[::1]:2/a%25", "h?x#y"} {
		f.Add(token("sr=" + sr + "&sig=" + sigUpper + "&se=1795223469&skn=p"))
	}
	f.Add(token("se=1&&sr&sig=%"))
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := Parse(text)
		if err != nil {
			return
		}
		if tok.Host() == "" || !tok.Covers(tok.Resource()) || !tok.Covers(tok.Resource()+"/x") || tok.Covers("x"+tok.Resource()) {
			t.Errorf("resource %q", tok.Resource())
		}
		tok.Verify(key)
		// A resource that is signed again is the same resource.
		again, err := Parse(Sign(tok.Resource(), key, tok.Expiry(), tok.Policy()))
		if err != nil {
			t.Fatalf("made from %q: %v", tok.Resource(), err)
		}
		if !again.Verify(key) || again.Policy() != tok.Policy() || !again.Expiry().Equal(tok.Expiry()) {
			t.Errorf("signed again: %+v, was %+v", again, tok)
		}
	})
}

func BenchmarkParseVerify(b *testing.B) {
	text := Sign("hub.test.local/devices/dev1", key, time.Unix(expiry, 0), "")
	now := time.Unix(expiry, 0)
	b.ReportAllocs()
	for b.Loop() {
		t, err := Parse(text)
		if err != nil || t.Expired(now) || !t.Covers("hub.test.local/devices/dev1") || !t.Verify(key) {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyWrongKey(b *testing.B) {
	t, err := Parse(Sign("hub.test.local/devices/dev1", key, time.Unix(expiry, 0), ""))
	if err != nil {
		b.Fatal(err)
	}
	wrong := key[:16]
	b.ReportAllocs()
	for b.Loop() {
		if t.Verify(wrong) {
			b.Fatal("verifies")
		}
	}
}
