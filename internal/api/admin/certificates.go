package admin

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
	"dunlin/internal/trust/access"
)

// maxCertificate bounds a certificate in PEM or DER, in bytes.
const maxCertificate = 64 << 10

// Certificate is a device CA certificate as this surface shows it.
type Certificate struct {
	Name       string    `json:"name"`
	Subject    string    `json:"subject"`
	Thumbprint string    `json:"thumbprint"` // SHA-1
	NotAfter   time.Time `json:"expiry"`
	Verified   bool      `json:"isVerified"`
	// VerificationCode is the common name that the certificate which proves
	// possession must have; only while one was asked for.
	VerificationCode string    `json:"verificationCode,omitempty"`
	ETag             string    `json:"etag"`
	Created          time.Time `json:"created"`
	Updated          time.Time `json:"updated"`
	PEM              string    `json:"certificate"`
}

func certificateOut(a *registry.Authority) Certificate {
	return Certificate{
		Name: a.Name, Subject: a.Certificate.Subject.String(), Thumbprint: a.Thumbprint(), NotAfter: a.Certificate.NotAfter.UTC(),
		Verified: a.Verified, VerificationCode: a.Code, ETag: a.ETag, Created: a.Created, Updated: a.Updated,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})),
	}
}

// service is the hub as the administrator may use it.
func (s *server) service() *hub.Service { return s.deps.Hub.For(access.Admin()) }

// registryRoutes lists the operations of certificates and bulk imports.
//
//	GET    /api/certificates               an array of Certificate
//	GET    /api/certificates/{name}        one
//	PUT    /api/certificates/{name}        body: the certificate, PEM or DER, or {"certificate":"PEM"}
//	DELETE /api/certificates/{name}        204
//	POST   /api/certificates/{name}/code   makes a new verification code
//	POST   /api/certificates/{name}/verify body as in PUT: the certificate that proves possession
//	POST   /api/devices/import             see importDevices
func (s *server) registryRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /api/certificates":                s.listCertificates,
		"GET /api/certificates/{name}":         s.getCertificate,
		"PUT /api/certificates/{name}":         s.putCertificate,
		"DELETE /api/certificates/{name}":      s.deleteCertificate,
		"POST /api/certificates/{name}/code":   s.codeCertificate,
		"POST /api/certificates/{name}/verify": s.verifyCertificate,
		"POST /api/devices/import":             s.importDevices,
	}
}

func (s *server) listCertificates(w http.ResponseWriter, r *http.Request) {
	list, err := s.service().Authorities(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := make([]Certificate, len(list))
	for i := range list {
		out[i] = certificateOut(&list[i])
	}
	s.reply(w, r, out)
}

func (s *server) getCertificate(w http.ResponseWriter, r *http.Request) {
	a, err := s.service().Authority(r.Context(), r.PathValue("name"))
	s.replyCertificate(w, r, a, err)
}

func (s *server) putCertificate(w http.ResponseWriter, r *http.Request) {
	b, err := certificateBody(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a, err := s.service().AddAuthority(r.Context(), r.PathValue("name"), b)
	s.replyCertificate(w, r, a, err)
}

func (s *server) codeCertificate(w http.ResponseWriter, r *http.Request) {
	a, err := s.service().ProofCode(r.Context(), r.PathValue("name"))
	s.replyCertificate(w, r, a, err)
}

func (s *server) verifyCertificate(w http.ResponseWriter, r *http.Request) {
	b, err := certificateBody(w, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	a, err := s.service().VerifyAuthority(r.Context(), r.PathValue("name"), b)
	s.replyCertificate(w, r, a, err)
}

func (s *server) deleteCertificate(w http.ResponseWriter, r *http.Request) {
	if err := s.service().DeleteAuthority(r.Context(), r.PathValue("name")); err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *server) replyCertificate(w http.ResponseWriter, r *http.Request, a registry.Authority, err error) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, r, certificateOut(&a))
}

// certificateBody reads a certificate: the bytes as they are, or the member
// certificate of a JSON object.
func certificateBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCertificate))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, iot.Errorf(iot.MessageTooLarge, "the certificate is larger than %d bytes", maxCertificate)
	case err != nil:
		return nil, iot.Errorf(iot.BadRequest, "the body could not be read: %w", err)
	case len(b) == 0:
		return nil, iot.Errorf(iot.ArgumentNull, "the body is empty, a certificate is needed")
	}
	if !strings.HasPrefix(strings.TrimSpace(string(b)), "{") {
		return b, nil
	}
	var v struct {
		Certificate string `json:"certificate"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, iot.Errorf(iot.DeserializationError, "the body is not valid JSON: %w", err)
	}
	return []byte(v.Certificate), nil
}
