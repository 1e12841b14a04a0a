package registry_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
	"dunlin/internal/wire/sas"
)

// issuer is a certificate with its key.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (i *issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// issue makes a certificate signed by parent, or by itself.
func issue(t *testing.T, parent *issuer, name string, ca bool, from, to time.Time) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IsCA: ca, BasicConstraintsValid: ca, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	signer, with := template, crypto.Signer(key)
	if parent != nil {
		signer, with = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), with)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func chain(list ...*issuer) (out []*x509.Certificate) {
	for _, i := range list {
		out = append(out, i.cert)
	}
	return out
}

// wantRefusal checks the reason, the code and words of the text.
func wantRefusal(t *testing.T, err error, reason string, code iot.Code, words ...string) {
	t.Helper()
	var refused *registry.Refused
	if !errors.As(err, &refused) {
		t.Errorf("error %v, want a refusal for %s", err, reason)
		return
	}
	if refused.Reason != reason || refused.Err.Code != code {
		t.Errorf("refused for %s with %s (%s), want %s with %s", refused.Reason, refused.Err.Code.Name(), refused.Err.Message, reason, code.Name())
	}
	for _, w := range words {
		if !strings.Contains(refused.Err.Message, w) {
			t.Errorf("the text does not say %q: %s", w, refused.Err.Message)
		}
	}
}

func TestAuthenticateByToken(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		ctx := t.Context()
		r, policies := open(t, db)
		now := time.Now()
		d, other := create(t, r, "d1"), create(t, r, "d2")
		m, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "d1", Module: "m%1"}}, registry.Match{}, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "off", Status: new(registry.Disabled)}, registry.Match{}, now); err != nil {
			t.Fatal(err)
		}
		off, err := r.Device(ctx, "off")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "off", Module: "m"}}, registry.Match{}, now); err != nil {
			t.Fatal(err)
		}
		offModule, err := r.Module(ctx, iot.ID{Device: "off", Module: "m"})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "x509", Secrets: &registry.SecretsSpec{Proof: new(registry.ProofAuthority)}}, registry.Match{}, now); err != nil {
			t.Fatal(err)
		}
		policy := func(name string) []byte {
			p, ok := policies.Find(name)
			if !ok {
				t.Fatalf("no policy %s", name)
			}
			return p.SecondaryKey
		}
		soon := now.Add(time.Hour)
		id := func(device string, module ...string) iot.ID {
			return iot.ID{Device: device, Module: strings.Join(module, "")}
		}
		auth := func(id iot.ID, host, token string) (registry.Identity, error) {
			return r.Authenticate(ctx, registry.Claim{ID: id, HostName: host, Token: token}, now)
		}

		for name, c := range map[string]struct {
			id         iot.ID
			host       string
			token      string
			scope      iot.AuthScope
			generation uint64
		}{
			"primary key":                {id("d1"), hubName, sas.Sign(hubName+"/devices/d1", d.PrimaryKey, soon, ""), iot.ScopeDevice, d.Generation},
			"secondary key":              {id("d1"), hubName, sas.Sign(hubName+"/devices/d1", d.SecondaryKey, soon, ""), iot.ScopeDevice, d.Generation},
			"alias with port":            {id("d1"), "LocalHost:18883", sas.Sign("localhost:18883/devices/d1", d.PrimaryKey, soon, ""), iot.ScopeDevice, d.Generation},
			"no host in the connection":  {id("d1"), "", sas.Sign(hubName+"/devices/d1", d.PrimaryKey, soon, ""), iot.ScopeDevice, d.Generation},
			"expired within the skew":    {id("d1"), hubName, sas.Sign(hubName+"/devices/d1", d.PrimaryKey, now.Add(-4*time.Minute), ""), iot.ScopeDevice, d.Generation},
			"far in the future":          {id("d1"), hubName, sas.Sign(hubName+"/devices/d1", d.PrimaryKey, time.Unix(1<<33, 0), ""), iot.ScopeDevice, d.Generation},
			"module":                     {id("d1", "m%1"), hubName, sas.Sign(hubName+"/devices/d1/modules/m%1", m.PrimaryKey, soon, ""), iot.ScopeModule, m.Generation},
			"policy for the hub":         {id("d1"), hubName, sas.Sign(hubName, policy("device"), soon, "device"), iot.ScopeHub, d.Generation},
			"policy for all devices":     {id("d2"), hubName, sas.Sign(hubName+"/devices", policy("iothubowner"), soon, "iothubowner"), iot.ScopeHub, other.Generation},
			"policy for one device":      {id("d1"), hubName, sas.Sign(hubName+"/devices/d1", policy("device"), soon, "device"), iot.ScopeHub, d.Generation},
			"policy for a module":        {id("d1", "m%1"), hubName, sas.Sign(hubName+"/devices/d1", policy("device"), soon, "device"), iot.ScopeHub, m.Generation},
			"policy, device without key": {id("x509"), hubName, sas.Sign(hubName, policy("device"), soon, "device"), iot.ScopeHub, 0},
		} {
			got, err := auth(c.id, c.host, c.token)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if got.ID != c.id || got.Auth != (iot.AuthMethod{Scope: c.scope}) || (c.generation != 0 && got.Generation != c.generation) || got.Expiry.Before(now) {
				t.Errorf("%s: %+v", name, got)
			}
		}

		sign := func(resource string, key []byte, expiry time.Time, policy string) string {
			return sas.Sign(resource, key, expiry, policy)
		}
		d1 := hubName + "/devices/d1"
		for name, c := range map[string]struct {
			id          iot.ID
			host, token string
			reason      string
			code        iot.Code
			word        string
		}{
			"unknown host":          {id("d1"), "other.example", sign(d1, d.PrimaryKey, soon, ""), registry.ReasonWrongHub, iot.UnauthorizedAccess, "other.example"},
			"token of another hub":  {id("d1"), hubName, sign("other.example/devices/d1", d.PrimaryKey, soon, ""), registry.ReasonWrongHub, iot.UnauthorizedAccess, "other.example"},
			"nothing shown":         {id("d1"), hubName, "", registry.ReasonNoCredentials, iot.UnauthorizedAccess, "neither"},
			"bare key":              {id("d1"), hubName, "c2VjcmV0", registry.ReasonTokenMalformed, iot.UnauthorizedAccess, "SharedAccessSignature"},
			"wrong key":             {id("d1"), hubName, sign(d1, other.PrimaryKey, soon, ""), registry.ReasonBadSignature, iot.UnauthorizedAccess, "regenerated"},
			"token of another":      {id("d1"), hubName, sign(hubName+"/devices/d2", other.PrimaryKey, soon, ""), registry.ReasonTokenOther, iot.UnauthorizedAccess, "devices/d2"},
			"prefix of an id":       {id("d1"), hubName, sign(hubName+"/devices/d", d.PrimaryKey, soon, ""), registry.ReasonTokenOther, iot.UnauthorizedAccess, "d1"},
			"id in another case":    {id("D1"), hubName, sign(d1, d.PrimaryKey, soon, ""), registry.ReasonTokenOther, iot.UnauthorizedAccess, "D1"},
			"expired":               {id("d1"), hubName, sign(d1, d.PrimaryKey, now.Add(-3*time.Hour), ""), registry.ReasonClockSkew, iot.UnauthorizedAccess, "clock"},
			"unknown device":        {id("nobody"), hubName, sign(hubName+"/devices/nobody", d.PrimaryKey, soon, ""), registry.ReasonUnknownDevice, iot.UnauthorizedAccess, "does not contain the specified device"},
			"unknown module":        {id("d1", "zz"), hubName, sign(d1, d.PrimaryKey, soon, ""), registry.ReasonUnknownModule, iot.UnauthorizedAccess, "zz"},
			"module of nobody":      {id("nobody", "m"), hubName, sign(hubName+"/devices/nobody", d.PrimaryKey, soon, ""), registry.ReasonUnknownDevice, iot.UnauthorizedAccess, "nobody"},
			"module by device key":  {id("d1", "m%1"), hubName, sign(d1+"/modules/m%1", d.PrimaryKey, soon, ""), registry.ReasonBadSignature, iot.UnauthorizedAccess, "d1/m%1"},
			"disabled":              {id("off"), hubName, sign(hubName+"/devices/off", off.PrimaryKey, soon, ""), registry.ReasonDisabled, iot.UnauthorizedAccess, "disabled"},
			"module of a disabled":  {id("off", "m"), hubName, sign(hubName+"/devices/off/modules/m", offModule.PrimaryKey, soon, ""), registry.ReasonDisabled, iot.UnauthorizedAccess, "disabled"},
			"registered for X.509":  {id("x509"), hubName, sign(hubName+"/devices/x509", d.PrimaryKey, soon, ""), registry.ReasonWrongProof, iot.UnauthorizedAccess, "certificateAuthority"},
			"unknown policy":        {id("d1"), hubName, sign(hubName, policy("device"), soon, "nope"), registry.ReasonUnknownPolicy, iot.UnauthorizedAccess, "nope"},
			"policy, wrong key":     {id("d1"), hubName, sign(hubName, policy("service"), soon, "device"), registry.ReasonBadSignature, iot.UnauthorizedAccess, "policy 'device'"},
			"policy too weak":       {id("d1"), hubName, sign(hubName, policy("service"), soon, "service"), registry.ReasonPolicyTooWeak, iot.UnauthorizedAccess, "DeviceConnect"},
			"policy expired":        {id("d1"), hubName, sign(hubName, policy("device"), now.Add(-3*time.Hour), "device"), registry.ReasonTokenExpired, iot.UnauthorizedAccess, "3 h ago"},
			"policy for another":    {id("d1"), hubName, sign(hubName+"/devices/d2", policy("device"), soon, "device"), registry.ReasonTokenOther, iot.UnauthorizedAccess, "devices/d2"},
			"policy, nobody":        {id("nobody"), hubName, sign(hubName, policy("device"), soon, "device"), registry.ReasonUnknownDevice, iot.DeviceNotFound, "nobody"},
			"policy, no module":     {id("d1", "zz"), hubName, sign(hubName, policy("device"), soon, "device"), registry.ReasonUnknownModule, iot.ModuleNotFound, "zz"},
			"policy, disabled":      {id("off"), hubName, sign(hubName, policy("device"), soon, "device"), registry.ReasonDisabled, iot.UnauthorizedAccess, "disabled"},
			"an impossible id":      {id("a b"), hubName, sign(hubName, policy("device"), soon, "device"), registry.ReasonBadID, iot.UnauthorizedAccess, "a b"},
			"an impossible module":  {id("d1", "a/b"), hubName, sign(hubName, policy("device"), soon, "device"), registry.ReasonBadID, iot.UnauthorizedAccess, "a/b"},
			"case of the policy":    {id("d1"), hubName, sign(hubName, policy("device"), soon, "Device"), registry.ReasonUnknownPolicy, iot.UnauthorizedAccess, "Device"},
			"token with wrong sign": {id("d1"), hubName, strings.Replace(sign(d1, d.PrimaryKey, soon, ""), "sig=", "sig=AAAA", 1), registry.ReasonTokenMalformed, iot.UnauthorizedAccess, "sig"},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := auth(c.id, c.host, c.token)
				wantRefusal(t, err, c.reason, c.code, c.word)
			})
		}
		// A token that ended after the device was made simply is too old.
		later := now.Add(5 * time.Hour)
		_, err = r.Authenticate(ctx, registry.Claim{ID: id("d1"), Token: sign(d1, d.PrimaryKey, now.Add(2*time.Hour), "")}, later)
		wantRefusal(t, err, registry.ReasonTokenExpired, iot.UnauthorizedAccess, "3 h ago", later.UTC().Format(time.RFC3339))
		// What is changed counts at once.
		if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "d1", Status: new(registry.Disabled)}, registry.Any(), now); err != nil {
			t.Fatal(err)
		}
		_, err = auth(id("d1"), hubName, sign(d1, d.PrimaryKey, soon, ""))
		wantRefusal(t, err, registry.ReasonDisabled, iot.UnauthorizedAccess)
		// A store that is gone is not the device's fault.
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = auth(id("d2"), hubName, sign(hubName+"/devices/d2", other.PrimaryKey, soon, ""))
		wantRefusal(t, err, registry.ReasonStoreNotAvailable, iot.ServiceUnavailable)
	})
}

func TestAuthenticateByCertificate(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		ctx, now := t.Context(), time.Now()
		r, _ := open(t, db)
		from, to := now.Add(-time.Hour), now.Add(time.Hour)
		root := issue(t, nil, "Root", true, from, to)
		middle := issue(t, root, "Middle", true, from, to)
		unproven := issue(t, nil, "Unproven", true, from, to)
		stranger := issue(t, nil, "Stranger", true, from, to)
		for name, ca := range map[string]*issuer{"root": root, "unproven": unproven} {
			if _, err := r.AddAuthority(ctx, name, ca.pem(), now); err != nil {
				t.Fatal(err)
			}
		}
		coded, err := r.ProofCode(ctx, "root", now)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := registry.SignProof(root.cert, root.key, coded.Code, now)
		if err != nil {
			t.Fatal(err)
		}
		if a, err := r.VerifyAuthority(ctx, "root", proof, now); err != nil || !a.Verified {
			t.Fatal(a, err)
		}

		self := issue(t, nil, "anything", false, from, to)
		old := issue(t, nil, "anything", false, from.Add(-time.Hour), from)
		early := issue(t, nil, "anything", false, to, to.Add(time.Hour))
		sum := func(i *issuer) string { s := sha1.Sum(i.cert.Raw); return strings.ToUpper(hex.EncodeToString(s[:])) }
		sum256 := func(i *issuer) string { s := sha256.Sum256(i.cert.Raw); return hex.EncodeToString(s[:]) }
		put := func(id string, spec registry.SecretsSpec) {
			t.Helper()
			if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: id, Secrets: &spec}, registry.Match{}, now); err != nil {
				t.Fatal(err)
			}
		}
		ca := registry.SecretsSpec{Proof: new(registry.ProofAuthority)}
		put("sas", registry.SecretsSpec{})
		put("none", registry.SecretsSpec{Proof: new(registry.ProofNone)})
		put("thumb", registry.SecretsSpec{PrimaryThumbprint: sum(self)})
		put("thumb256", registry.SecretsSpec{PrimaryThumbprint: strings.Repeat("0", 40), SecondaryThumbprint: sum256(self)})
		put("old", registry.SecretsSpec{PrimaryThumbprint: sum(old)})
		put("early", registry.SecretsSpec{PrimaryThumbprint: sum(early)})
		put("ca", ca)
		put("off", ca)
		if _, _, err := r.PutDevice(ctx, registry.DeviceSpec{ID: "off", Status: new(registry.Disabled)}, registry.Any(), now); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.PutModule(ctx, registry.ModuleSpec{ID: iot.ID{Device: "ca", Module: "m"}, Secrets: &ca}, registry.Match{}, now); err != nil {
			t.Fatal(err)
		}

		leaf := func(parent *issuer, name string) *issuer { return issue(t, parent, name, false, from, to) }
		for name, c := range map[string]struct {
			id     iot.ID
			certs  []*x509.Certificate
			auth   iot.AuthMethod
			reason string
			word   string
		}{
			"SHA-1 thumbprint":     {iot.ID{Device: "thumb"}, chain(self), iot.AuthMethod{Type: iot.AuthX509}, "", ""},
			"SHA-256, secondary":   {iot.ID{Device: "thumb256"}, chain(self), iot.AuthMethod{Type: iot.AuthX509}, "", ""},
			"signed by the root":   {iot.ID{Device: "ca"}, chain(leaf(root, "ca")), iot.AuthMethod{Type: iot.AuthX509Authority}, "", ""},
			"through the middle":   {iot.ID{Device: "ca"}, chain(leaf(middle, "ca"), middle), iot.AuthMethod{Type: iot.AuthX509Authority}, "", ""},
			"whole chain shown":    {iot.ID{Device: "ca"}, chain(leaf(middle, "ca"), middle, root), iot.AuthMethod{Type: iot.AuthX509Authority}, "", ""},
			"module":               {iot.ID{Device: "ca", Module: "m"}, chain(leaf(root, "ca/m")), iot.AuthMethod{Scope: iot.ScopeModule, Type: iot.AuthX509Authority}, "", ""},
			"middle left out":      {iot.ID{Device: "ca"}, chain(leaf(middle, "ca")), iot.AuthMethod{}, registry.ReasonUnknownCA, "intermediate"},
			"another thumbprint":   {iot.ID{Device: "thumb"}, chain(leaf(nil, "thumb")), iot.AuthMethod{}, registry.ReasonThumbprint, "neither"},
			"expired":              {iot.ID{Device: "old"}, chain(old), iot.AuthMethod{}, registry.ReasonCertExpired, "expired"},
			"not yet valid":        {iot.ID{Device: "early"}, chain(early), iot.AuthMethod{}, registry.ReasonCertEarly, "not valid before"},
			"expired, by the CA":   {iot.ID{Device: "ca"}, chain(issue(t, root, "ca", false, from.Add(-time.Hour), from)), iot.AuthMethod{}, registry.ReasonCertExpired, "expired"},
			"unknown CA":           {iot.ID{Device: "ca"}, chain(leaf(stranger, "ca"), stranger), iot.AuthMethod{}, registry.ReasonUnknownCA, "registered: root, unproven"},
			"CA not verified":      {iot.ID{Device: "ca"}, chain(leaf(unproven, "ca")), iot.AuthMethod{}, registry.ReasonCANotVerified, "possession"},
			"another common name":  {iot.ID{Device: "ca"}, chain(leaf(root, "other")), iot.AuthMethod{}, registry.ReasonCommonName, "other"},
			"common name in upper": {iot.ID{Device: "ca"}, chain(leaf(root, "CA")), iot.AuthMethod{}, registry.ReasonCommonName, "CA"},
			"device for module":    {iot.ID{Device: "ca", Module: "m"}, chain(leaf(root, "ca")), iot.AuthMethod{}, registry.ReasonCommonName, "ca/m"},
			"leaf as a CA":         {iot.ID{Device: "ca"}, chain(leaf(leaf(root, "x"), "ca"), leaf(root, "x")), iot.AuthMethod{}, registry.ReasonUnknownCA, "chain"},
			"registered sas":       {iot.ID{Device: "sas"}, chain(self), iot.AuthMethod{}, registry.ReasonWrongProof, "type sas"},
			"registered none":      {iot.ID{Device: "none"}, chain(self), iot.AuthMethod{}, registry.ReasonWrongProof, "none"},
			"disabled":             {iot.ID{Device: "off"}, chain(leaf(root, "off")), iot.AuthMethod{}, registry.ReasonDisabled, "disabled"},
			"unknown device":       {iot.ID{Device: "nobody"}, chain(leaf(root, "nobody")), iot.AuthMethod{}, registry.ReasonUnknownDevice, "nobody"},
			"thumbprint for CA":    {iot.ID{Device: "ca"}, chain(self), iot.AuthMethod{}, registry.ReasonUnknownCA, "issuer"},
		} {
			t.Run(name, func(t *testing.T) {
				got, err := r.Authenticate(ctx, registry.Claim{ID: c.id, HostName: hubName, Certificates: c.certs}, now)
				if c.reason != "" {
					wantRefusal(t, err, c.reason, iot.UnauthorizedAccess, c.word)
					return
				}
				if err != nil || got.Auth != c.auth || !got.Expiry.Equal(c.certs[0].NotAfter) {
					t.Errorf("%+v, %v", got, err)
				}
			})
		}
		// A CA that is deleted lets nobody in any more.
		if err := r.DeleteAuthority(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		_, err = r.Authenticate(ctx, registry.Claim{ID: iot.ID{Device: "ca"}, Certificates: chain(leaf(root, "ca"))}, now)
		wantRefusal(t, err, registry.ReasonUnknownCA, iot.UnauthorizedAccess)
	})
}

func TestAuthorities(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		ctx, now := t.Context(), time.Now()
		r, _ := open(t, db)
		from, to := now.Add(-time.Hour), now.Add(time.Hour)
		root := issue(t, nil, "Root; with semicolon", true, from, to)
		leaf := issue(t, nil, "leaf", false, from, to)
		gone := issue(t, nil, "gone", true, from, from.Add(time.Minute))

		for name, body := range map[string][]byte{
			"a-leaf": leaf.pem(), "expired": gone.pem(), "garbage": []byte("no certificate"), "empty": nil, "bad name": root.pem(),
		} {
			_, err := r.AddAuthority(ctx, name, body, now)
			wantCode(t, err, iot.ArgumentInvalid)
		}
		if _, err := r.AddAuthority(ctx, "root", root.cert.Raw, now); err != nil {
			t.Fatal(err)
		}
		_, err := r.AddAuthority(ctx, "root", root.pem(), now)
		wantCode(t, err, iot.Conflict)
		_, err = r.VerifyAuthority(ctx, "root", leaf.pem(), now)
		wantCode(t, err, iot.InvalidOperation)
		_, err = r.ProofCode(ctx, "nothing", now)
		wantCode(t, err, iot.NotFound)
		a, err := r.ProofCode(ctx, "root", now)
		if err != nil || len(a.Code) != 48 {
			t.Fatal(a, err)
		}
		verify := func(code iot.Code, proof []byte) {
			t.Helper()
			_, err := r.VerifyAuthority(ctx, "root", proof, now)
			wantCode(t, err, code)
		}
		verify(iot.ArgumentInvalid, leaf.pem())
		verify(iot.ArgumentInvalid, issue(t, nil, a.Code, false, from, to).pem())                                     // right name, wrong signer
		verify(iot.ArgumentInvalid, issue(t, root, "other", false, from, to).pem())                                   // wrong name
		verify(iot.ArgumentInvalid, issue(t, root, a.Code, false, from.Add(-time.Hour), now.Add(-time.Second)).pem()) // too late
		if _, err := registry.SignProof(root.cert, leaf.key, a.Code, now); iot.CodeOf(err) != iot.ArgumentInvalid {
			t.Errorf("a proof by another key: %v", err)
		}
		b, err := r.ProofCode(ctx, "root", now)
		if err != nil || b.Code == a.Code {
			t.Fatal("the code did not change", err)
		}
		verify(iot.ArgumentInvalid, issue(t, root, a.Code, false, from, to).pem()) // the code before
		verify(0, issue(t, root, b.Code, false, from, to).pem())
		list, err := r.Authorities(ctx)
		if err != nil || len(list) != 1 || !list[0].Verified || list[0].Code != "" || list[0].Thumbprint() == "" {
			t.Errorf("%+v, %v", list, err)
		}
		if err := r.DeleteAuthority(ctx, "root"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.DeleteAuthority(ctx, "root"), iot.NotFound)
	})
}

// TestAuthenticateAllocations holds the cost of the way to the store and back.
func TestAuthenticateAllocations(t *testing.T) {
	r, _ := open(t, statetest.SQLite(t))
	d := create(t, r, "d1")
	now := time.Now()
	claim := registry.Claim{ID: iot.ID{Device: "d1"}, HostName: hubName, Token: sas.Sign(hubName+"/devices/d1", d.PrimaryKey, now.Add(time.Hour), "")}
	n := testing.AllocsPerRun(200, func() {
		if _, err := r.Authenticate(t.Context(), claim, now); err != nil {
			t.Fatal(err)
		}
	})
	if n > 60 {
		t.Errorf("%.0f allocations for one Authenticate, the budget is 60", n)
	}
}

func TestPermissionsByPolicy(t *testing.T) {
	_, policies := open(t, statetest.SQLite(t))
	want := map[string]access.Permission{
		"iothubowner": access.All, "service": access.ServiceConnect, "device": access.DeviceConnect,
		"registryRead": access.RegistryRead, "registryReadWrite": access.RegistryRead | access.RegistryWrite,
	}
	list := policies.List()
	if len(list) != len(want) {
		t.Errorf("%d policies, want %d", len(list), len(want))
	}
	for _, p := range list {
		if p.Permissions != want[p.Name] || len(p.PrimaryKey) != 32 || len(p.SecondaryKey) != 32 {
			t.Errorf("policy %s grants %s with keys of %d and %d bytes", p.Name, p.Permissions, len(p.PrimaryKey), len(p.SecondaryKey))
		}
	}
}
