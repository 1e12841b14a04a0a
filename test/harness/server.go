package harness

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Options says how a server is started. The zero value gives loopback, ports
// of its own and a data directory that goes with the test.
type Options struct {
	Dir    string        // data directory; a new one when empty
	Host   string        // host name; "localhost" when empty
	Listen string        // address that ports are bound to; "127.0.0.1" when empty
	HTTPS  int           // port of HTTPS; a free one when 0
	Plain  bool          // also serve MQTT without TLS
	Args   []string      // further arguments of serve
	Env    []string      // further environment
	Prefix []string      // command that runs the binary, such as prlimit
	Ready  time.Duration // limit on becoming ready; 30 s when 0
}

// Server is a running instance, started again on the same ports and data by
// Restart.
type Server struct {
	t    testing.TB
	o    Options
	Dir  string
	Info Info
	log  *output

	mqtt, https, metrics, plain int

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	err    error         // of Wait
}

// Info is what `dunlin info --json` prints.
type Info struct {
	HostName  string `json:"hostName"`
	CAFile    string `json:"caFile"`
	HTTPS     string `json:"https"`
	MQTT      string `json:"mqtt"`
	MQTTPlain string `json:"mqttPlain"`
	Metrics   string `json:"metrics"`
	Hub       struct {
		Name              string            `json:"name"`
		ConnectionStrings map[string]string `json:"connectionStrings"`
	} `json:"hub"`
	EventHub struct {
		ConnectionString string `json:"connectionString"`
		Partitions       int    `json:"partitions"`
	} `json:"eventHub"`
	Admin struct {
		Token string `json:"token"`
	} `json:"admin"`
}

// Start runs `dunlin serve` and waits until it is ready. The test ends it.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := New(t, o)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// New prepares a server without starting it. Ports are chosen below the range
// that the kernel takes for outgoing connections, so that they are still free
// when a killed server is started again.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Host == "" {
		o.Host = "localhost"
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	if o.Ready == 0 {
		o.Ready = 30 * time.Second
	}
	s := &Server{t: t, o: o, Dir: o.Dir, log: &output{}}
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	s.mqtt, s.metrics, s.https = FreePort(t, o.Listen), FreePort(t, "127.0.0.1"), o.HTTPS
	if s.https == 0 {
		s.https = FreePort(t, o.Listen)
	}
	if o.Plain {
		s.plain = FreePort(t, o.Listen)
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("log of the server:\n%s", s.log.tail(8<<10))
		}
	})
	return s
}

// Args gives the arguments of serve.
func (s *Server) Args() []string {
	addr := func(ip string, port int) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }
	args := []string{
		"serve", "--data", s.Dir, "--host-name", s.o.Host,
		"--mqtt-addr", addr(s.o.Listen, s.mqtt), "--https-addr", addr(s.o.Listen, s.https),
		"--metrics-addr", addr("127.0.0.1", s.metrics),
	}
	if s.plain != 0 {
		args = append(args, "--mqtt-plain-addr", addr(s.o.Listen, s.plain))
	}
	return append(args, s.o.Args...)
}

// Start starts the instance, again if need be, and waits until it is ready.
func (s *Server) Start() error {
	if err := s.Launch(); err != nil {
		return err
	}
	return s.WaitReady()
}

// Launch starts the process and does not wait.
func (s *Server) Launch() error {
	argv := append(slices.Clone(s.o.Prefix), Binary(s.t))
	argv = append(argv, s.Args()...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(cleanEnv(), s.o.Env...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	cmd.SysProcAttr = childAttr()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", argv[0], err)
	}
	exited := make(chan struct{})
	s.mu.Lock()
	s.cmd, s.exited, s.err = cmd, exited, nil
	s.mu.Unlock()
	go func() {
		err := cmd.Wait()
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
		close(exited)
	}()
	return nil
}

// WaitReady waits for `dunlin info` to say that the instance is ready.
func (s *Server) WaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.o.Ready+5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, Binary(s.t), "info", "--data", s.Dir, "--json", "--wait", s.o.Ready.String())
	cmd.Env = cleanEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	done := make(chan error, 1)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			return fmt.Errorf("not ready: %w: %s\nlog of the server:\n%s", err, errs.String(), s.log.tail(4<<10))
		}
	case <-s.exited:
		cancel()
		<-done
		return fmt.Errorf("the server ended before it was ready: %w\n%s", s.exitError(), s.log.tail(4<<10))
	}
	s.Info = Info{}
	if err := json.Unmarshal(out.Bytes(), &s.Info); err != nil {
		return fmt.Errorf("info --json: %w in %q", err, out.String())
	}
	return nil
}

// Kill ends the process as a power failure of the process would: SIGKILL.
func (s *Server) Kill() { s.signal(syscall.SIGKILL) }

// Stop sends SIGTERM and answers how the process ended; nil is exit code 0.
func (s *Server) Stop() error {
	if !s.signal(syscall.SIGTERM) {
		return errors.New("the server did not end within 30 s of SIGTERM")
	}
	return s.exitError()
}

func (s *Server) signal(sig os.Signal) bool {
	s.mu.Lock()
	cmd, exited := s.cmd, s.exited
	s.mu.Unlock()
	if cmd == nil {
		return true
	}
	cmd.Process.Signal(sig)
	select {
	case <-exited:
		return true
	case <-time.After(30 * time.Second):
		cmd.Process.Kill()
		<-exited
		return false
	}
}

// Wait answers how the process ended, within the time given.
func (s *Server) Wait(d time.Duration) error {
	select {
	case <-s.exited:
		return s.exitError()
	case <-time.After(d):
		return fmt.Errorf("still running after %s", d)
	}
}

// Exited reports whether the process has ended.
func (s *Server) Exited() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

func (s *Server) exitError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// PID is the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log gives everything that the process has written.
func (s *Server) Log() string { return s.log.tail(1 << 30) }

// MQTTAddr is the address of MQTT over TLS, PlainAddr without TLS, HTTPSAddr
// that of REST and WebSockets.
func (s *Server) MQTTAddr() string { return net.JoinHostPort(s.o.Listen, strconv.Itoa(s.mqtt)) }

// PlainAddr is the address of MQTT without TLS.
func (s *Server) PlainAddr() string { return net.JoinHostPort(s.o.Listen, strconv.Itoa(s.plain)) }

// HTTPSAddr is the address of REST and WebSockets.
func (s *Server) HTTPSAddr() string { return net.JoinHostPort(s.o.Listen, strconv.Itoa(s.https)) }

// Metric gives the sum of a metric's samples whose line contains all of labels.
func (s *Server) Metric(name string, labels ...string) float64 {
	s.t.Helper()
	resp, err := http.Get(s.Info.Metrics)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	sum := 0.0
	sc := bufio.NewScanner(resp.Body)
	for sc.Scan() {
		line := sc.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' ||
			slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			s.t.Fatalf("metrics: %q: %v", line, err)
		}
		sum += v
	}
	if err := sc.Err(); err != nil {
		s.t.Fatal(err)
	}
	return sum
}

// TLS gives what a client needs to trust the server.
func (s *Server) TLS() *tls.Config {
	s.t.Helper()
	pem, err := os.ReadFile(s.Info.CAFile)
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		s.t.Fatalf("%s holds no certificate", s.Info.CAFile)
	}
	return &tls.Config{RootCAs: pool, ServerName: s.o.Host}
}

// FreePort finds a port that nothing listens on, below the range of outgoing
// connections.
func FreePort(t testing.TB, ip string) int {
	t.Helper()
	for range 200 {
		port := nextPort()
		l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("no free port")
	return 0
}

// cleanEnv is the environment without settings of the person who runs the test.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "DUNLIN_") })
}

// output keeps what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf.Bytes()
	return string(b[max(0, len(b)-n):])
}
