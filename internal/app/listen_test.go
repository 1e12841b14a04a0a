package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// refusing is a listenFunc under which some ports fail; all others take a free
// port of loopback.
func refusing(ports map[string]error) listenFunc {
	return func(ctx context.Context, network, addr string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if err := ports[port]; err != nil {
			return nil, &net.OpError{Op: "listen", Net: network, Err: os.NewSyscallError("bind", err)}
		}
		return listenTCP(ctx, network, "127.0.0.1:0")
	}
}

func TestHTTPSFallsBackWhere443IsNotPermitted(t *testing.T) {
	asked := ""
	listen := refusing(map[string]error{"443": syscall.EACCES})
	l, warning, err := listenHTTPS(t.Context(), "1.2.3.4:443", func(ctx context.Context, n, a string) (net.Listener, error) {
		asked = a
		return listen(ctx, n, a)
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if asked != "1.2.3.4:8443" {
		t.Errorf("fell back to %s", asked)
	}
	for _, w := range []string{"8443", "not work", "setcap", "--https-addr"} {
		if !strings.Contains(warning, w) {
			t.Errorf("the warning does not say %q: %s", w, warning)
		}
	}
}

func TestHTTPSRefusals(t *testing.T) {
	tests := []struct {
		name  string
		addr  string
		ports map[string]error
		words []string
	}{
		{"in use", ":443", map[string]error{"443": syscall.EADDRINUSE}, []string{":443", "in use", "--https-addr"}},
		{"fallback in use", ":443", map[string]error{"443": syscall.EACCES, "8443": syscall.EADDRINUSE}, []string{"443 is not permitted", "8443", "in use", "--https-addr"}},
		{"another low port", ":444", map[string]error{"444": syscall.EACCES}, []string{":444", "not permitted", "--https-addr", "setcap"}},
		{"foreign address", "203.0.113.1:443", map[string]error{"443": syscall.EADDRNOTAVAIL}, []string{"203.0.113.1:443", "no address"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := listenHTTPS(t.Context(), tt.addr, refusing(tt.ports))
			wantError(t, err, tt.words...)
		})
	}
}

func TestPortInUseNamesItsHolder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = listenTCP(t.Context(), "tcp", l.Addr().String())
	wantError(t, bindError("mqtt-addr", l.Addr().String(), err),
		l.Addr().String(), "in use", fmt.Sprintf("pid %d", os.Getpid()), "--mqtt-addr")
}

func TestMetricsTakeAnotherPort(t *testing.T) {
	l, warning, err := listenMetrics(t.Context(), "127.0.0.1:9090", refusing(map[string]error{"9090": syscall.EADDRINUSE}))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if !strings.Contains(warning, l.Addr().String()) || !strings.Contains(warning, "9090") {
		t.Errorf("warning %q", warning)
	}
}

func TestDialAddr(t *testing.T) {
	for in, want := range map[string]string{"0.0.0.0:1": "127.0.0.1:1", "[::]:2": "127.0.0.1:2", "10.1.2.3:4": "10.1.2.3:4", "[::1]:5": "[::1]:5"} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := dialAddr(a); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestDataDirIsTakenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openDataDir(dir)
	wantError(t, err, dir, strconv.Itoa(os.Getpid()), "--data")
	if free, err := lockIsFree(dir); err != nil || free {
		t.Errorf("a held lock looks free: %v, %v", free, err)
	}
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	again, err := openDataDir(dir)
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	again.close()
}

func TestDataDirThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openDataDir(file)
	wantError(t, err, file, "cannot be written", "--data")
	_, err = openDataDir(filepath.Join(file, "below"))
	wantError(t, err, file, "cannot be written", "--data")
}

func TestAdminTokenStays(t *testing.T) {
	d, err := openDataDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	one, err := d.adminToken()
	if err != nil || len(one) < 40 {
		t.Fatalf("%q, %v", one, err)
	}
	if two, err := d.adminToken(); err != nil || two != one {
		t.Errorf("another token: %q, %v", two, err)
	}
	st, err := os.Stat(d.join("run/admin.token"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestReadInstance(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadInstance(dir)
	wantError(t, err, "no instance is running", dir, "dunlin serve")
	d, err := openDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.adminToken()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.writeInstance(Instance{PID: 77, HTTPS: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	if i, err := ReadInstance(dir); err != nil || i.PID != 77 || i.Token != token {
		t.Errorf("%+v, %v", i, err)
	}
	d.close() // as a kill would: the file stays
	_, err = ReadInstance(dir)
	wantError(t, err, "no instance is running", "77")
}
