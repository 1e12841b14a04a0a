//go:build unix

package statetest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// server is the one PostgreSQL server of a test binary: starting it takes a
// second or two, so it is shared and every test gets a schema of its own. A
// database of its own would take a few hundred milliseconds.
type server struct {
	once sync.Once
	err  error

	dir  string // cluster, log and socket
	cmd  *exec.Cmd
	gone chan struct{}

	mu   sync.Mutex
	next int
}

var shared server

// Main runs the tests of a binary and stops the server that they started. Call
// it from TestMain: func TestMain(m *testing.M) { os.Exit(statetest.Main(m)) }.
func Main(m *testing.M) int {
	defer shared.stop()
	return m.Run()
}

// PostgresURL gives the address of a new, empty schema on a real PostgreSQL
// server, which it starts when it is the first to ask: whoever connects there
// sees no tables of others. The test fails when PostgreSQL is not installed.
func PostgresURL(tb testing.TB) string {
	tb.Helper()
	shared.once.Do(func() { shared.err = shared.start() })
	if shared.err != nil {
		tb.Fatal(shared.err)
	}
	shared.mu.Lock()
	shared.next++
	name := "test" + strconv.Itoa(shared.next)
	shared.mu.Unlock()
	if err := shared.create(tb.Context(), name); err != nil {
		tb.Fatalf("create schema %s: %v\n%s", name, err, shared.log())
	}
	return shared.url(database, name)
}

// database is where all schemas are. Its texts sort as people expect and not by
// bytes, so that a room which forgets COLLATE "C" is found out.
const (
	database       = "test"
	createDatabase = "CREATE DATABASE " + database + " TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'en'"
)

func (s *server) url(db, schema string) string {
	q := url.Values{"host": {s.dir}, "user": {"postgres"}}
	if schema != "" {
		q.Set("search_path", schema)
	}
	return (&url.URL{Scheme: "postgres", Path: "/" + db, RawQuery: q.Encode()}).String()
}

func (s *server) create(ctx context.Context, schema string) error {
	pool, err := sql.Open("pgx", s.url(database, ""))
	if err != nil {
		return err
	}
	defer pool.Close()
	_, err = pool.ExecContext(ctx, "CREATE SCHEMA "+schema)
	return err
}

func (s *server) start() error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "dunlin-pg-"); err != nil {
		return err
	}
	var attr syscall.SysProcAttr
	if os.Geteuid() == 0 {
		// PostgreSQL refuses to run as root.
		uid, gid, err := unprivileged()
		if err != nil {
			return err
		}
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: attr.Credential}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	logFile, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	// Tests kill processes, and no machine loses its power: only figures need
	// what is written to be on the disk.
	sync := "off"
	if f := flag.Lookup("test.bench"); f != nil && f.Value.String() != "" {
		sync = "on"
	}
	// Only a socket in the directory of the cluster: no port to clash with.
	s.cmd = exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-c", "listen_addresses=", "-c", "max_connections=200", "-c", "fsync="+sync)
	s.cmd.Dir, s.cmd.SysProcAttr, s.cmd.Stdout, s.cmd.Stderr = s.dir, &attr, logFile, logFile
	dieWithParent(&attr)
	s.gone = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The server is told to die with the thread that started it, so that
		// a killed test leaves nothing behind; this thread therefore stays.
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
		_ = logFile.Close()
		close(s.gone)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	return s.ready()
}

func (s *server) ready() error {
	pool, err := sql.Open("pgx", s.url("postgres", ""))
	if err != nil {
		return err
	}
	defer pool.Close()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.gone:
			return fmt.Errorf("postgres ended at once:\n%s", s.log())
		case <-deadline:
			return fmt.Errorf("postgres did not get ready in 60 s:\n%s", s.log())
		case <-tick.C:
			if pool.Ping() == nil {
				_, err := pool.Exec(createDatabase)
				return err
			}
		}
	}
}

func (s *server) log() []byte {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return text
}

// stop ends the server ("immediate" shutdown: a tidy one would first bring all
// of the test databases to disk) and removes its files.
func (s *server) stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGQUIT)
		select {
		case <-s.gone:
		case <-time.After(20 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.gone
		}
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// binaries finds the directory of initdb and postgres; Debian keeps them off
// the PATH.
func binaries() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	for _, dir := range slices.Backward(dirs) {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL is not installed (initdb and postgres were not found in /usr/lib/postgresql/*/bin nor on the PATH): " +
		"run `make test`, which installs Debian's postgresql, or install it yourself")
}

func unprivileged() (uid, gid uint32, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, lerr := user.Lookup(name)
		if lerr != nil {
			err = lerr
			continue
		}
		var un, gn uint64
		if un, err = strconv.ParseUint(u.Uid, 10, 32); err != nil {
			continue
		}
		if gn, err = strconv.ParseUint(u.Gid, 10, 32); err == nil {
			return uint32(un), uint32(gn), nil
		}
	}
	return 0, 0, err
}
