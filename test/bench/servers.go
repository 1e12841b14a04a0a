//go:build linux

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/wire/sas"
)

// server is a running server under load and how to reach it.
type server struct {
	*process
	plain, tls netip.AddrPort
	metrics    netip.AddrPort // the peer has none
	conf       *tls.Config
}

// freePort finds a port below the range of outgoing connections.
func freePort() (int, error) {
	for port := 21000 + os.Getpid()%5000; port < 32000; port++ {
		l, err := net.Listen("tcp4", "127.0.0.1:"+strconv.Itoa(port))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port")
}

func loopback(port int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(port))
}

// hub is a Dunlin data directory with devices; serve runs it.
type hub struct {
	bin, dir string
	args     []string // further arguments of serve
	ports    [4]int   // MQTT/TLS, MQTT plain, HTTPS, metrics
	keys     []deviceKey
	info     hubInfo
}

type deviceKey struct {
	id  string
	key []byte
}

type hubInfo struct {
	HostName string `json:"hostName"`
	CAFile   string `json:"caFile"`
	HTTPS    string `json:"https"`
	Hub      struct {
		ConnectionStrings map[string]string `json:"connectionStrings"`
	} `json:"hub"`
	Admin struct {
		Token string `json:"token"`
	} `json:"admin"`
}

func newHub(bin, dir string) (*hub, error) {
	h := &hub{bin: bin, dir: dir}
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for i := range h.ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp4", loopback(port).String()) // hold it until all are chosen
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		h.ports[i] = port
	}
	return h, nil
}

// serve starts the server and waits until it is ready. wrap is a command that
// becomes the server when it has made its arrangements.
func (h *hub) serve(wrap ...string) (*server, error) {
	addr := func(i int) string { return loopback(h.ports[i]).String() }
	argv := append(append([]string{}, wrap...), h.bin, "serve", "--data", h.dir, "--host-name", "localhost",
		"--mqtt-addr", addr(0), "--mqtt-plain-addr", addr(1), "--https-addr", addr(2), "--metrics-addr", addr(3))
	argv = append(argv, h.args...)
	p, err := start("dunlin", argv...)
	if err != nil {
		return nil, err
	}
	var out []byte
	for range 30 {
		if err = p.alive(); err != nil {
			return nil, err
		}
		if out, err = run(10*time.Second, h.bin, "info", "--data", h.dir, "--json", "--wait", "1s"); err == nil {
			err = json.Unmarshal(out, &h.info)
			break
		}
	}
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("dunlin is not ready: %w\n%s", err, p.log)
	}
	ca, err := os.ReadFile(h.info.CAFile)
	if err != nil {
		p.stop()
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &server{
		process: p, tls: loopback(h.ports[0]), plain: loopback(h.ports[1]), metrics: loopback(h.ports[3]),
		conf: &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12},
	}, nil
}

// create registers n devices through the command line and keeps their keys.
func (h *hub) create(n int, prefix string) error {
	file := filepath.Join(h.dir, "..", "keys-"+prefix)
	if _, err := run(30*time.Minute, h.bin, "device", "create", "--count", strconv.Itoa(n), "--prefix", prefix, "--keys-out", file, "--data", h.dir); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	had := len(h.keys)
	for in.Scan() {
		id, text, ok := strings.Cut(in.Text(), " ")
		key, err := sas.ParseKey(text)
		if !ok || err != nil {
			return fmt.Errorf("%s: a line is not \"id key\": %w", file, err)
		}
		h.keys = append(h.keys, deviceKey{id, key})
	}
	if got := len(h.keys) - had; got != n {
		return fmt.Errorf("%s has %d devices, want %d", file, got, n)
	}
	return in.Err()
}

// login makes the credentials of a device, token included.
func (h *hub) login(k deviceKey) login {
	host := h.info.HostName
	return login{
		id: k.id, user: host + "/" + k.id + "/?api-version=2021-04-12",
		password: sas.Sign(host+"/devices/"+k.id, k.key, time.Now().Add(24*time.Hour), ""),
		topic:    "devices/" + k.id + "/messages/events/",
	}
}

func (h *hub) logins(n int) []login {
	out := make([]login, n)
	for i := range out {
		out[i] = h.login(h.keys[i])
	}
	return out
}

// Mosquitto's settings: as good as it gets without storing anything durably.
const mosquittoConf = `per_listener_settings false
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_inflight_messages 1000
persistence true
persistence_location %s/
log_type error
user %s
listener %d 127.0.0.1
max_connections -1
listener %d 127.0.0.1
max_connections -1
certfile %s/cert.pem
keyfile %s/key.pem
`

// mosquitto starts the peer, if it is installed.
func mosquitto(dir string) (*server, error) {
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
			if bin, err = exec.LookPath(filepath.Join(dir, "mosquitto")); err == nil {
				break
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mosquitto is not installed (Debian: apt-get install mosquitto): %w", errUnavailable)
	}
	dir = filepath.Join(dir, "mosquitto")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf, err := selfSigned(dir)
	if err != nil {
		return nil, err
	}
	var ports [2]int
	for i := range ports {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return nil, err
		}
	}
	user := "nobody"
	if os.Getuid() == 0 {
		user = "root" // keeps the rights that it was started with
	}
	file := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf(mosquittoConf, dir, user, ports[0], ports[1], dir, dir)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	p, err := start("mosquitto", bin, "-c", file)
	if err != nil {
		return nil, err
	}
	s := &server{process: p, plain: loopback(ports[0]), tls: loopback(ports[1]), conf: conf}
	for range 100 {
		c, err := net.Dial("tcp4", s.tls.String())
		if err == nil {
			return s, c.Close()
		}
		if err := p.alive(); err != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("mosquitto does not answer: %s", p.log)
}

// selfSigned makes a P-256 certificate like Dunlin's own.
func selfSigned(dir string) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	); err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, nil
}

// anonymous makes logins for servers that ask for nothing.
func anonymous(n int) []login {
	out := make([]login, n)
	for i := range out {
		id := "b-" + strconv.Itoa(i)
		out[i] = login{id: id, topic: "devices/" + id + "/messages/events/"}
	}
	return out
}
