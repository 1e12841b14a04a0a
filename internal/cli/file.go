package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"dunlin/internal/app"
)

type fileCmd struct {
	List          fileListCmd          `cmd:"" help:"List files that devices have uploaded."`
	Get           fileGetCmd           `cmd:"" help:"Fetch a file."`
	Put           filePutCmd           `cmd:"" help:"Store a file among those of a device."`
	Delete        fileDeleteCmd        `cmd:"" help:"Delete files."`
	Sas           fileSasCmd           `cmd:"" name:"sas" help:"Make an address with a signature, for jobs or for clients of the blob interface."`
	Containers    fileContainersCmd    `cmd:"" help:"List the containers of files."`
	Notifications fileNotificationsCmd `cmd:"" help:"Take the notifications of files that devices have uploaded."`
}

// where is the container that a command works in.
type where struct {
	Container string `name:"container" placeholder:"NAME" help:"Another container than that of the files of devices; names are then whole and no device is given."`
}

// names puts the device before the names of its files, unless another
// container is meant.
func (w *where) names(args []string) ([]string, error) {
	if w.Container != "" {
		if len(args) == 0 {
			return nil, usagef("name a file of the container %s", w.Container)
		}
		return args, nil
	}
	if len(args) < 2 {
		return nil, usagef("name a device and a file of it; dunlin file list shows them")
	}
	if err := checkID(args[0]); err != nil {
		return nil, err
	}
	names := make([]string, len(args)-1)
	for i, n := range args[1:] {
		names[i] = args[0] + "/" + n
	}
	return names, nil
}

// one is names for commands on one file.
func (w *where) one(args []string) (string, error) {
	names, err := w.names(args)
	if err != nil {
		return "", err
	}
	if len(names) != 1 {
		return "", usagef("name one file, not %d", len(names))
	}
	return names[0], nil
}

// fileLife is how long the addresses are good that a command uses itself.
const fileLife = 24 * time.Hour

type fileListCmd struct {
	where
	Device string `arg:"" optional:"" help:"Id of the device; all devices when left out."`
	Prefix string `name:"prefix" placeholder:"TEXT" help:"Only files whose names begin with this, behind the device."`
}

// fileJSON is a line of list --json.
type fileJSON struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"lastModified"`
	Created  time.Time `json:"created"`
	Type     string    `json:"contentType,omitempty"`
	MD5      string    `json:"contentMD5,omitempty"`
	ETag     string    `json:"etag"`
}

// Run lists.
func (c *fileListCmd) Run(s *session) error {
	prefix := c.Prefix
	if c.Device != "" {
		if c.Container != "" {
			return usagef("with --container give no device, but --prefix")
		}
		if err := checkID(c.Device); err != nil {
			return err
		}
		prefix = c.Device + "/" + prefix
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	all := []fileJSON{}
	var rows [][]string
	err = cl.eachFile(s.ctx, c.Container, prefix, func(f *storedFile) error {
		p := &f.Properties
		modified, err1 := http.ParseTime(p.Modified)
		created, err2 := http.ParseTime(p.Created)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		if s.JSON {
			all = append(all, fileJSON{f.Name, p.Size, modified, created, p.Type, p.MD5, p.ETag})
			return nil
		}
		rows = append(rows, []string{printable(f.Name), app.Bytes(p.Size).String(), modified.Local().Format(time.DateTime), printable(p.Type)})
		return nil
	})
	switch {
	case err != nil:
		return err
	case s.JSON:
		return s.printJSON(all)
	case len(rows) == 0:
		s.printf("There are no files.\n")
		return nil
	}
	return table(s.out, []string{"NAME", "SIZE", "MODIFIED", "TYPE"}, rows)
}

type fileGetCmd struct {
	where
	Args   []string `arg:"" name:"device" help:"Id of the device, and the name of the file."`
	Output string   `name:"output" short:"o" placeholder:"FILE" help:"Where to; - is standard output. The last part of the name in this directory when left out."`
}

// Run fetches.
func (c *fileGetCmd) Run(s *session) error {
	name, err := c.one(c.Args)
	if err != nil {
		return err
	}
	output := c.Output
	if output == "" {
		// The name is what a device says it is.
		if output = filepath.Base(path.Base(strings.ReplaceAll(name, `\`, "/"))); !filepath.IsLocal(output) || output == "." {
			return usagef("no file can be called like the end of %s: give --output FILE", printable(name))
		}
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	uri, err := cl.access(s.ctx, c.Container, name, "r", fileLife)
	if err != nil {
		return err
	}
	resp, err := cl.blob(s.ctx, http.MethodGet, uri, nil, nil, 0)
	if err != nil {
		return noFile(err, name)
	}
	defer resp.Body.Close()
	if output == "-" {
		_, err := io.Copy(s.out, resp.Body)
		return err
	}
	n, err := save(output, resp.Body)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(map[string]any{"name": name, "file": output, "size": n})
	}
	s.printf("%s is in %s.\n", app.Bytes(n), printable(output))
	return nil
}

func noFile(err error, name string) error {
	if blobCode(err, "BlobNotFound") {
		return fmt.Errorf("there is no file %s; dunlin file list shows those that there are", printable(name))
	}
	return err
}

// save writes a file whole or not at all.
func save(name string, r io.Reader) (int64, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".dunlin-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the rename
	n, err := io.Copy(f, r)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	return n, err
}

type filePutCmd struct {
	where
	Args        []string `arg:"" name:"device" help:"Id of the device, and the name that the file is to have."`
	File        string   `name:"file" required:"" placeholder:"FILE" help:"What to store; - is standard input."`
	ContentType string   `name:"content-type" placeholder:"TYPE" help:"What the file is; guessed from its name when left out."`
}

// Run stores.
func (c *filePutCmd) Run(s *session) error {
	name, err := c.one(c.Args)
	if err != nil {
		return err
	}
	r, size := s.in, int64(-1)
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		switch {
		case err != nil:
			return err
		case !info.Mode().IsRegular():
			return usagef("%s is no file", c.File)
		}
		r, size = f, info.Size()
	}
	kind := c.ContentType
	if kind == "" {
		kind = mime.TypeByExtension(path.Ext(name))
	}
	if kind == "" {
		kind = "application/octet-stream"
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	uri, err := cl.access(s.ctx, c.Container, name, "cw", fileLife)
	if err != nil {
		return err
	}
	resp, err := cl.blob(s.ctx, http.MethodPut, uri, map[string]string{"x-ms-blob-type": "BlockBlob", "Content-Type": kind}, r, size)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if s.JSON {
		return s.printJSON(map[string]string{"name": name, "etag": strings.Trim(resp.Header.Get("ETag"), `"`)})
	}
	s.printf("Stored as %s.\n", printable(name))
	return nil
}

type fileDeleteCmd struct {
	where
	Args []string `arg:"" name:"device" help:"Id of the device, and the names of files."`
}

// Run deletes.
func (c *fileDeleteCmd) Run(s *session) error {
	names, err := c.names(c.Args)
	if err != nil {
		return err
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	for _, name := range names {
		uri, err := cl.access(s.ctx, c.Container, name, "d", fileLife)
		if err != nil {
			return err
		}
		resp, err := cl.blob(s.ctx, http.MethodDelete, uri, nil, nil, 0)
		if err != nil {
			return noFile(err, name)
		}
		resp.Body.Close()
	}
	if s.JSON {
		return s.printJSON(map[string]any{"deleted": names})
	}
	s.printf("%s deleted.\n", count(len(names), "file", "files"))
	return nil
}

type fileSasCmd struct {
	Resource    string        `arg:"" help:"Container, or container/file. A container that is not there is made."`
	Permissions string        `name:"permissions" default:"r" placeholder:"LETTERS" help:"What its bearer may do: r (read), a (add), c (create), w (write), d (delete), l (list); jobs need rwd or rwdl (${default})."`
	Expires     time.Duration `name:"expires" default:"1h" placeholder:"TIME" help:"How long it is good (${default})."`
}

// Run makes an address.
func (c *fileSasCmd) Run(s *session) error {
	container, name, _ := strings.Cut(c.Resource, "/")
	if container == "" {
		return usagef("name a container, or container/file")
	}
	if c.Expires <= 0 {
		return usagef("--expires: a time from now, such as 24h")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	uri, err := cl.access(s.ctx, container, name, c.Permissions, c.Expires)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(map[string]string{"uri": uri})
	}
	s.printf("%s\n", uri)
	return nil
}

type fileContainersCmd struct{}

// Run lists containers.
func (c *fileContainersCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var list []string
	if err := cl.admin(s.ctx, http.MethodGet, "/api/files/containers", nil, &list); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(list)
	}
	for _, name := range list {
		s.printf("%s\n", name)
	}
	return nil
}

type fileNotificationsCmd struct {
	Follow bool `name:"follow" short:"f" help:"Go on waiting for notifications."`
}

// uploaded is a notification.
type uploaded struct {
	Device   string    `json:"deviceId"`
	URI      string    `json:"blobUri"`
	Name     string    `json:"blobName"`
	Modified time.Time `json:"lastUpdatedTime"`
	Size     int64     `json:"blobSizeInBytes"`
	Enqueued time.Time `json:"enqueuedTimeUtc"`
}

// Run takes notifications: each is gone from the queue once it was shown.
func (c *fileNotificationsCmd) Run(s *session) error {
	const (
		path  = "/messages/serviceBound/filenotifications"
		pause = time.Second
	)
	cl, err := s.connect()
	if err != nil {
		return err
	}
	t := time.NewTicker(pause)
	defer t.Stop()
	for n := 0; ; {
		m, err := cl.receive(s, path, nil)
		switch {
		case err != nil && s.ctx.Err() != nil:
			return nil // the person has seen enough
		case err != nil:
			return err
		case m != nil:
			n++
			if err := s.printUploaded(m.bytes); err != nil {
				return err
			}
			if err := cl.settle(s, path, m.LockToken, "complete"); err != nil {
				return err
			}
			continue
		case !c.Follow:
			if n == 0 && !s.JSON {
				s.printf("There are no notifications.\n")
			}
			return nil
		}
		select {
		case <-t.C:
		case <-s.ctx.Done():
			return nil
		}
	}
}

func (s *session) printUploaded(body []byte) error {
	if s.JSON {
		return s.printJSON(json.RawMessage(body))
	}
	var u uploaded
	if err := json.Unmarshal(body, &u); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	s.printf("%s  %s  %s  %s\n", u.Enqueued.Local().Format("15:04:05.000"), u.Device, app.Bytes(u.Size), printable(u.Name))
	return nil
}
