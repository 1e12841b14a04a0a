package blobsas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// The forms of the text that is signed, by the version sv: the oldest that is
// read, and those that added a line.
const (
	oldest      = "2015-04-05"
	addsSnap    = "2018-11-09" // the kind of resource and the snapshot
	addsScope   = "2020-12-06" // the encryption scope
	signVersion = "2021-12-02" // of the signatures made here
)

// Kinds of resource that a signature can be for.
const (
	Blob      = "b"
	Container = "c"
)

// Claim is what a signature says. The zero Claim is signed by no key.
type Claim struct {
	Version     string
	Permissions Permission
	Start       time.Time // zero when it is good from the beginning of time
	Expiry      time.Time
	Resource    string // Blob or Container
	HTTPSOnly   bool
	// From and To bound the addresses that may use it; not valid for all.
	From, To netip.Addr
	// Headers are what a reader is to be told in the place of the blob's own
	// headers; empty for those that stay.
	Headers Headers

	fields map[string]string // as they came, decoded
	sig    []byte
}

// Headers replace those of a blob in an answer.
type Headers struct{ CacheControl, Disposition, Encoding, Language, Type string }

// SyntaxError says what is wrong with a signature, in words for the developer
// of the client that sent it. It quotes nothing secret.
type SyntaxError struct{ Detail string }

func (e *SyntaxError) Error() string { return "shared access signature: " + e.Detail }

func malformed(detail string) (Claim, error) { return Claim{}, &SyntaxError{Detail: detail} }

// names are the parameters that belong to a signature.
var names = [...]string{"sv", "sr", "sp", "st", "se", "spr", "sip", "si", "ses", "sig", "rscc", "rscd", "rsce", "rscl", "rsct"}

// foreign are parameters of other kinds of signatures, and what those are.
var foreign = [...][2]string{
	{"ss", "an account SAS"}, {"srt", "an account SAS"}, {"skoid", "a user delegation SAS"}, {"sdd", "a SAS for a directory"},
}

// Present reports whether the query of an address holds a signature.
func Present(q url.Values) bool { return q.Has("sig") && q.Has("sv") }

// Parse reads the parameters of a signature from the query of an address;
// others are left alone. Errors are *SyntaxError.
func Parse(q url.Values) (Claim, error) {
	for _, f := range foreign {
		if q.Has(f[0]) {
			return malformed(f[0] + " makes it " + f[1] + ": only a service SAS for a blob (sr=b) or a container (sr=c) is known here")
		}
	}
	c := Claim{fields: map[string]string{}}
	for _, n := range names {
		switch v := q[n]; {
		case len(v) > 1:
			return malformed(n + " is given twice")
		case len(v) == 1 && strings.ContainsAny(v[0], "\n\r"):
			return malformed(n + " has a line break")
		case len(v) == 1:
			c.fields[n] = v[0]
		}
	}
	for _, n := range [...]string{"sv", "sr", "se", "sig"} {
		if c.fields[n] == "" {
			return malformed(n + " is missing")
		}
	}
	var detail string
	if c.Version = c.fields["sv"]; !isDate(c.Version) || c.Version < oldest {
		return malformed("sv is not a version from " + oldest + " on")
	}
	switch c.Resource = c.fields["sr"]; {
	case c.Resource != Blob && c.Resource != Container:
		return malformed("sr is neither b (a blob) nor c (a container)")
	case c.fields["si"] != "":
		return malformed("si names a stored access policy: there are none here")
	case c.fields["sp"] == "":
		return malformed("sp (the permissions) is missing")
	}
	var ok bool
	if c.Permissions, ok = ParsePermissions(c.fields["sp"]); !ok {
		return malformed("sp has a letter that is no permission")
	}
	if c.Expiry, ok = parseTime(c.fields["se"]); !ok {
		return malformed("se (the expiry) is not a time such as 2030-01-02T03:04:05Z")
	}
	if st := c.fields["st"]; st != "" {
		if c.Start, ok = parseTime(st); !ok {
			return malformed("st (the start) is not a time such as 2030-01-02T03:04:05Z")
		}
	}
	switch c.fields["spr"] {
	case "https":
		c.HTTPSOnly = true
	case "", "https,http", "http,https":
	default:
		return malformed("spr is neither https nor https,http")
	}
	if detail = c.parseRange(c.fields["sip"]); detail != "" {
		return malformed(detail)
	}
	// A plus sign that a client has left as it is was read as a blank.
	sig, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(c.fields["sig"], " ", "+"))
	if err != nil || len(sig) != sha256.Size {
		return malformed("sig is not the base64 text of 32 bytes")
	}
	c.sig = sig
	c.Headers = Headers{c.fields["rscc"], c.fields["rscd"], c.fields["rsce"], c.fields["rscl"], c.fields["rsct"]}
	return c, nil
}

func isDate(s string) bool {
	_, err := time.Parse(time.DateOnly, s)
	return err == nil
}

func parseTime(s string) (time.Time, bool) {
	for _, layout := range [...]string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (c *Claim) parseRange(s string) (detail string) {
	if s == "" {
		return ""
	}
	from, to, both := strings.Cut(s, "-")
	if !both {
		to = from
	}
	var err1, err2 error
	c.From, err1 = netip.ParseAddr(from)
	c.To, err2 = netip.ParseAddr(to)
	if err1 != nil || err2 != nil {
		return "sip is not an address or a range such as 10.0.0.1-10.0.0.9"
	}
	return ""
}

// AllowsAddress reports whether a peer at an address may use it.
func (c *Claim) AllowsAddress(a netip.Addr) bool {
	if !c.From.IsValid() {
		return true
	}
	a = a.Unmap()
	return a.IsValid() && c.From.Compare(a) <= 0 && a.Compare(c.To) <= 0
}

// SignedBy reports whether the claim was signed with a key, for a blob or, by
// its kind, for the container that holds it.
func (c *Claim) SignedBy(key []byte, account, container, blob string) bool {
	if c.Resource == Container {
		blob = ""
	}
	return c.sig != nil && hmac.Equal(c.sig, sum(key, text(c.fields, account, container, blob)))
}

func sum(key []byte, s string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(s))
	return mac.Sum(nil)
}

// text is what is signed.
func text(f map[string]string, account, container, blob string) string {
	resource := "/blob/" + account + "/" + container
	if blob != "" {
		resource += "/" + blob
	}
	lines := []string{f["sp"], f["st"], f["se"], resource, f["si"], f["sip"], f["spr"], f["sv"]}
	if f["sv"] >= addsSnap {
		lines = append(lines, f["sr"], "")
	}
	if f["sv"] >= addsScope {
		lines = append(lines, f["ses"])
	}
	return strings.Join(append(lines, f["rscc"], f["rscd"], f["rsce"], f["rscl"], f["rsct"]), "\n")
}

// Spec is a signature to be made.
type Spec struct {
	Container   string
	Blob        string // empty for the whole container
	Permissions Permission
	Start       time.Time // zero for none
	Expiry      time.Time
}

// Sign makes a signature for HTTPS only: the query of an address, without the
// question mark. Times are cut to seconds.
func Sign(key []byte, account string, s Spec) string {
	f := map[string]string{"sv": signVersion, "sr": Blob, "sp": s.Permissions.String(), "se": s.Expiry.UTC().Format(time.RFC3339), "spr": "https"}
	if s.Blob == "" {
		f["sr"] = Container
	}
	if !s.Start.IsZero() {
		f["st"] = s.Start.UTC().Format(time.RFC3339)
	}
	f["sig"] = base64.StdEncoding.EncodeToString(sum(key, text(f, account, s.Container, s.Blob)))
	var b strings.Builder
	for _, n := range names {
		if f[n] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(n + "=" + url.QueryEscape(f[n]))
	}
	return b.String()
}
