package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"dunlin/internal/api/admin"
	"dunlin/internal/things/registry"
)

type certificateCmd struct {
	Create certificateCreateCmd `cmd:"" help:"Register a CA certificate."`
	List   certificateListCmd   `cmd:"" help:"List CA certificates."`
	Show   certificateShowCmd   `cmd:"" help:"Show a CA certificate."`
	Verify certificateVerifyCmd `cmd:"" help:"Prove possession of its key."`
	Delete certificateDeleteCmd `cmd:"" help:"Remove a CA certificate; devices that it signed can no longer connect."`
}

func certificatePath(name string) string { return "/api/certificates/" + url.PathEscape(name) }

type certificateCreateCmd struct {
	Name   string `name:"name" required:"" placeholder:"NAME" help:"Name to administer it by."`
	File   string `name:"file" required:"" placeholder:"FILE" help:"The CA certificate (PEM or DER)."`
	Key    string `name:"key" placeholder:"FILE" help:"Its private key (PEM); used here to sign the proof, not sent."`
	Verify bool   `name:"verify" help:"Prove possession at once, with --key. Devices can connect only after that."`
}

// Run registers a CA and, with its key, proves possession.
func (c *certificateCreateCmd) Run(s *session) error {
	if c.Verify != (c.Key != "") {
		return usagef("--verify and --key belong together: the key signs the proof")
	}
	b, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	ca, err := registry.ParseCertificate(b)
	if err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	var signer crypto.Signer
	if c.Verify {
		if signer, err = readKey(c.Key, ca); err != nil {
			return err
		}
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var made admin.Certificate
	body := map[string]string{"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))}
	if err := cl.admin(s.ctx, http.MethodPut, certificatePath(c.Name), body, &made); err != nil {
		return err
	}
	if c.Verify {
		if made, err = s.prove(cl, c.Name, ca, signer); err != nil {
			return fmt.Errorf("registered, but not verified: %w", err)
		}
	}
	if s.JSON {
		return s.printJSON(made)
	}
	if made.Verified {
		s.printf("%s registered and verified: devices with a certificate that it signed can connect (dunlin device create ID --auth ca).\n", c.Name)
		return nil
	}
	s.printf("%s registered. Prove possession of its key next: dunlin certificate verify --name %s --file %s --key KEY\n", c.Name, c.Name, c.File)
	return nil
}

type certificateVerifyCmd struct {
	Name  string `name:"name" required:"" placeholder:"NAME" help:"Name of the CA."`
	File  string `name:"file" placeholder:"FILE" help:"The CA certificate, with --key."`
	Key   string `name:"key" placeholder:"FILE" help:"Its private key (PEM); used here to sign the proof, not sent."`
	Proof string `name:"proof" placeholder:"FILE" help:"A certificate that the CA has signed for the verification code, instead of --key. Without either, the code is printed."`
}

// Run proves possession, or says what to sign.
func (c *certificateVerifyCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var done admin.Certificate
	switch {
	case c.Key != "":
		b, rerr := os.ReadFile(c.File)
		if c.File == "" || rerr != nil {
			return usagef("--key needs --file with the CA certificate")
		}
		ca, err := registry.ParseCertificate(b)
		if err != nil {
			return fmt.Errorf("%s: %w", c.File, err)
		}
		signer, err := readKey(c.Key, ca)
		if err != nil {
			return err
		}
		if done, err = s.prove(cl, c.Name, ca, signer); err != nil {
			return err
		}
	case c.Proof != "":
		proof, err := os.ReadFile(c.Proof)
		if err != nil {
			return err
		}
		if done, err = s.sendProof(cl, c.Name, proof); err != nil {
			return err
		}
	default:
		var asked admin.Certificate
		if err := cl.admin(s.ctx, http.MethodPost, certificatePath(c.Name)+"/code", nil, &asked); err != nil {
			return err
		}
		if s.JSON {
			return s.printJSON(asked)
		}
		s.printf("Sign a certificate with the common name\n  %s\nwith the key of the CA, then: dunlin certificate verify --name %s --proof FILE\n", asked.VerificationCode, c.Name)
		return nil
	}
	if s.JSON {
		return s.printJSON(done)
	}
	s.printf("%s is verified.\n", done.Name)
	return nil
}

// prove asks for a code, signs it and sends the proof.
func (s *session) prove(cl *client, name string, ca *x509.Certificate, key crypto.Signer) (admin.Certificate, error) {
	var asked admin.Certificate
	if err := cl.admin(s.ctx, http.MethodPost, certificatePath(name)+"/code", nil, &asked); err != nil {
		return admin.Certificate{}, err
	}
	proof, err := registry.SignProof(ca, key, asked.VerificationCode, time.Now())
	if err != nil {
		return admin.Certificate{}, err
	}
	return s.sendProof(cl, name, proof)
}

func (s *session) sendProof(cl *client, name string, proof []byte) (done admin.Certificate, err error) {
	err = cl.admin(s.ctx, http.MethodPost, certificatePath(name)+"/verify", map[string]string{"certificate": string(proof)}, &done)
	return done, err
}

// readKey reads the private key that belongs to a certificate.
func readKey(path string, cert *x509.Certificate) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	pub, ok := cert.PublicKey.(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%s is not the key of this certificate", path)
	}
	return key, nil
}

func parseKey(b []byte) (crypto.Signer, error) {
	for {
		var block *pem.Block
		block, b = pem.Decode(b)
		if block == nil {
			return nil, errors.New("no private key in PEM form; an encrypted one must be decrypted first: openssl pkey -in FILE -out PLAIN")
		}
		switch block.Type {
		case "EC PRIVATE KEY":
			return x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		case "PRIVATE KEY":
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			switch k := key.(type) {
			case *ecdsa.PrivateKey:
				return k, nil
			case *rsa.PrivateKey:
				return k, nil
			case ed25519.PrivateKey:
				return k, nil
			}
			return nil, errors.New("a kind of key that does not sign")
		}
	}
}

type certificateListCmd struct{}

// Run prints all of them.
func (*certificateListCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	list := []admin.Certificate{}
	if err := cl.admin(s.ctx, http.MethodGet, "/api/certificates", nil, &list); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(list)
	}
	var rows [][]string
	for _, c := range list {
		rows = append(rows, []string{c.Name, verified(c.Verified), c.NotAfter.Format(time.DateOnly), c.Thumbprint, c.Subject})
	}
	return table(s.out, []string{"NAME", "VERIFIED", "ENDS", "THUMBPRINT", "SUBJECT"}, rows)
}

func verified(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

type certificateShowCmd struct {
	Name string `name:"name" required:"" placeholder:"NAME" help:"Name of the CA."`
}

// Run prints one.
func (c *certificateShowCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var one admin.Certificate
	if err := cl.admin(s.ctx, http.MethodGet, certificatePath(c.Name), nil, &one); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(one)
	}
	return pairs(s.out, [][2]string{
		{"name", one.Name},
		{"subject", one.Subject},
		{"verified", verified(one.Verified)},
		{"thumbprint", one.Thumbprint},
		{"ends", one.NotAfter.Format(time.DateOnly)},
		{"etag", one.ETag},
	})
}

type certificateDeleteCmd struct {
	Name string `name:"name" required:"" placeholder:"NAME" help:"Name of the CA."`
}

// Run removes one.
func (c *certificateDeleteCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	if err := cl.admin(s.ctx, http.MethodDelete, certificatePath(c.Name), nil, nil); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(map[string]string{"deleted": c.Name})
	}
	s.printf("%s removed.\n", c.Name)
	return nil
}
