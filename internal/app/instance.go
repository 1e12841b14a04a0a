package app

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Instance says how a program on the same machine reaches a running instance.
// It is written to the data directory once the instance is ready.
type Instance struct {
	PID      int       `json:"pid"`
	Started  time.Time `json:"started"`
	Version  string    `json:"version"`
	HostName string    `json:"hostName"`
	HTTPS    string    `json:"https"`  // host:port to dial
	MQTT     string    `json:"mqtt"`   // host:port to dial
	CAFile   string    `json:"caFile"` // empty: the system's authorities, and CertFile
	CertFile string    `json:"certFile,omitempty"`
	Token    string    `json:"-"` // admin token, from its own file
}

// The files in the run directory.
const (
	instanceFile = "instance.json"
	tokenFile    = "admin.token"
)

// ErrNotRunning says that no instance is ready on a data directory.
var ErrNotRunning = errors.New("no instance is running")

// ReadInstance reads how to reach the instance that runs on a data directory.
// The files of one that has been killed are taken for what they are: it
// answers ErrNotRunning unless the directory is locked.
func ReadInstance(dir string) (Instance, error) {
	var i Instance
	b, err := os.ReadFile(filepath.Join(dir, runDir, instanceFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return i, fmt.Errorf("%w on %s: start one with dunlin serve --data %s, or name its directory with --data", ErrNotRunning, dir, dir)
	case err != nil:
		return i, fmt.Errorf("find the running instance: %w", err)
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, fmt.Errorf("find the running instance: %s is damaged (%w): start the instance again", filepath.Join(dir, runDir, instanceFile), err)
	}
	if free, err := lockIsFree(dir); err == nil && free {
		return i, fmt.Errorf("%w on %s (the last one, pid %d, has ended without saying so): start one with dunlin serve --data %s", ErrNotRunning, dir, i.PID, dir)
	}
	token, err := os.ReadFile(filepath.Join(dir, runDir, tokenFile))
	if err != nil {
		return i, fmt.Errorf("read the admin token: %w: run this as the user that runs the instance, or give --url and --token", err)
	}
	i.Token = strings.TrimSpace(string(token))
	return i, nil
}

// lockIsFree reports whether no process holds a data directory.
func lockIsFree(dir string) (bool, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close() // and with it the lock
	switch err := tryLock(f); {
	case err == nil:
		return true, nil
	case errors.Is(err, errLocked):
		return false, nil
	default:
		return false, err
	}
}

// adminToken reads the admin token, or makes it at the first start. It stays
// the same over restarts, so that programs may keep it.
func (d *dataDir) adminToken() (string, error) {
	path := d.join(runDir + "/" + tokenFile)
	b, err := os.ReadFile(path)
	if err == nil && len(strings.TrimSpace(string(b))) >= 32 {
		return strings.TrimSpace(string(b)), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin token: %w", err)
	}
	token := base64.RawURLEncoding.EncodeToString(randomBytes(32))
	if err := replaceFile(path, 0o600, []byte(token+"\n")); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}

func (d *dataDir) writeInstance(i Instance) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("write how to reach the instance: %w", err)
	}
	if err := replaceFile(d.join(runDir+"/"+instanceFile), 0o600, append(b, '\n')); err != nil {
		return fmt.Errorf("write how to reach the instance: %w", err)
	}
	return nil
}

// removeInstance forgets the instance; nothing is lost if it fails, because
// the lock says the same.
func (d *dataDir) removeInstance() error {
	err := os.Remove(d.join(runDir + "/" + instanceFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

// replaceFile writes a file in one step, so that a reader never sees half of it.
func replaceFile(path string, mode fs.FileMode, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // gone after the rename
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}
