//go:build linux

package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// database is a PostgreSQL server with the settings that its package installs,
// which sync every commit.
type database struct {
	*process
	dir string
}

// postgres starts a server in a new directory, and reaches it by a socket there.
func postgres(dir string) (db *database, err error) {
	bin, err := postgresBinaries()
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var who *syscall.Credential
	if os.Getuid() == 0 { // PostgreSQL refuses to run as root
		if who, err = unprivileged(); err != nil {
			return nil, err
		}
		// It must reach its directory.
		if err := errors.Join(os.Chown(dir, int(who.Uid), int(who.Gid)), os.Chmod(filepath.Dir(dir), 0o711)); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: who}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	p, err := startAs("postgres", who, filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=")
	if err != nil {
		return nil, err
	}
	db = &database{process: p, dir: dir}
	for range 500 {
		if c, err := net.Dial("unix", filepath.Join(dir, ".s.PGSQL.5432")); err == nil {
			_ = c.Close()
			out, err := exec.Command(filepath.Join(bin, "psql"), "-h", dir, "-U", "postgres", "-c", "SELECT 1").CombinedOutput()
			if err == nil {
				return db, nil
			}
			if !strings.Contains(string(out), "starting up") {
				return nil, fmt.Errorf("psql: %w: %s", err, out)
			}
		}
		if err := p.alive(); err != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("postgres does not answer: %s", p.log)
}

func (d *database) url() string {
	return (&url.URL{
		Scheme: "postgres", Path: "/postgres",
		RawQuery: url.Values{"host": {d.dir}, "user": {"postgres"}}.Encode(),
	}).String()
}

// stop ends the server at once: nobody needs its files any more.
func (d *database) stop() {
	_ = d.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-d.exited:
	case <-time.After(10 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.exited
	}
}

func postgresBinaries() (string, error) {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is a good one
	if p, err := exec.LookPath("initdb"); err == nil {
		if p, err = filepath.EvalSymlinks(p); err == nil {
			dirs = append(dirs, filepath.Dir(p))
		}
	}
	for _, dir := range slices.Backward(dirs) {
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("PostgreSQL is not installed (Debian: apt-get install postgresql): %w", errUnavailable)
}

func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return nil, err
		}
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
}
