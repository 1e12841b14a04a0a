package apptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dunlin/test/harness"
)

func itoa(n int) string { return strconv.Itoa(n) }

// nobody is a user without rights.
const nobody = 65534

// asNobody makes a command run without rights when the test has them.
func asNobody(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	// A copy: the checkout may stand where nobody may look.
	b, err := os.ReadFile(harness.Binary(t))
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(openDir(t), "dunlin")
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// openDir is a directory that nobody may write in.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dunlin-nobody-") //nolint:usetesting // t.TempDir is below directories that only this user may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if os.Getuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWithoutPermissionFor443: HTTPS goes to 8443 and the instance says so, or
// gets 443 where the system lets everybody have it.
func TestWithoutPermissionFor443(t *testing.T) {
	dir := openDir(t)
	const ip = "127.79.0.1" // of this test alone, so that both ports are free
	cmd := asNobody(t, "serve", "--data", dir, "--mqtt-addr", ip+":0", "--https-addr", ip+":443", "--metrics-addr", "off")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	r := harness.Run(t, "info", "--data", dir, "--json", "--wait", "30s")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the end: %v", err)
	}
	if r.Code != 0 {
		t.Fatalf("info: %s\n%s", r.Stderr, log.String())
	}
	var info struct {
		HTTPS    string
		Warnings []string
	}
	if err := json.Unmarshal([]byte(r.Stdout), &info); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		t.Fatal(err)
	}
	if first, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || first <= 443 {
		if info.HTTPS != "https://localhost:443" || len(info.Warnings) != 0 {
			t.Errorf("everybody may have 443 here: %+v", info)
		}
		return
	}
	if info.HTTPS != "https://localhost:8443" || len(info.Warnings) != 1 {
		t.Fatalf("%+v", info)
	}
	for _, text := range []string{info.Warnings[0], log.String()} {
		for _, word := range []string{"8443", "What will not work", "To allow it", "setcap"} {
			if !strings.Contains(text, word) {
				t.Errorf("%q is not said in %s", word, text)
			}
		}
	}
}

// TestDirectoryOfAnotherUser: the start is refused with directory and remedy.
func TestDirectoryOfAnotherUser(t *testing.T) {
	dir := openDir(t)
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "below")} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		out, err := runFor(ctx, asNobody(t, "serve", "--data", path, "--mqtt-addr", "127.0.0.1:0", "--https-addr", "127.0.0.1:0"))
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("ended with %v: %s", err, out)
		}
		for _, word := range []string{path, "cannot be written", "permission denied", "--data"} {
			if !strings.Contains(out, word) {
				t.Errorf("%q is not said in %s", word, out)
			}
		}
	}
}

// runFor runs a command until it ends or ctx does.
func runFor(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { cmd.Process.Kill() })()
	err := cmd.Wait()
	return out.String(), err
}
