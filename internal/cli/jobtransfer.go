package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// transferBox is the container in which files of imports and exports lie while
// a job works with them.
const transferBox = "jobs"

// transferLife is how long a job may work with the addresses that it is given.
const transferLife = 24 * time.Hour

type jobImportCmd struct {
	File           string `arg:"" help:"What to import: a line of JSON for each device or module, as export writes it; - is standard input. With --container the name of a blob in it."`
	Container      string `name:"container" placeholder:"NAME" help:"Import a blob of this container instead of a file."`
	Configurations bool   `name:"configurations" help:"With --container: also the configurations in its configurations.txt."`
}

// Run imports.
func (c *jobImportCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	box, name := c.Container, c.File
	if box == "" {
		if c.Configurations {
			return usagef("--configurations goes with --container")
		}
		// A name of its own: what failed can be looked at.
		box, name = transferBox, time.Now().UTC().Format("import-20060102-150405.000")+"/devices.txt"
	}
	uri, err := cl.access(s.ctx, box, "", "rw", transferLife) // makes the container
	if err != nil {
		return err
	}
	if c.Container == "" {
		if err := s.upload(cl, box, name, c.File); err != nil {
			return err
		}
	}
	body := map[string]any{"type": "import", "inputBlobContainerUri": uri, "inputBlobName": name, "outputBlobContainerUri": uri}
	if c.Configurations {
		body["includeConfigurations"] = true
	}
	raw, err := s.doTransfer(cl, body)
	if err != nil {
		return err
	}
	refused, err := cl.refusedLines(s, box)
	if err != nil {
		return err
	}
	if c.Container == "" {
		if err := s.discard(cl, box, name); err != nil {
			return err
		}
	}
	if s.JSON {
		if refused == nil {
			refused = []json.RawMessage{}
		}
		if err := s.printJSON(map[string]any{"job": raw, "refused": refused}); err != nil {
			return err
		}
	} else if err := s.printJob(raw); err != nil {
		return err
	}
	if len(refused) == 0 {
		return nil
	}
	const shown = 20
	for i, line := range refused {
		if i == shown {
			s.notef("and %d more, in importErrors.log of the container %s\n", len(refused)-shown, box)
			break
		}
		var e struct {
			Line                  int64
			DeviceID, ErrorStatus string
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		s.notef("line %d, %s: %s\n", e.Line, printable(e.DeviceID), printable(e.ErrorStatus))
	}
	return fmt.Errorf("%s refused", count(len(refused), "line was", "lines were"))
}

// upload brings a file into a container.
func (s *session) upload(cl *client, box, name, file string) error {
	r, size := s.in, int64(-1)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return usagef("%s is no file", file)
		}
		r, size = f, info.Size()
	}
	uri, err := cl.access(s.ctx, box, name, "cw", transferLife)
	if err != nil {
		return err
	}
	resp, err := cl.blob(s.ctx, http.MethodPut, uri, map[string]string{"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain"}, r, size)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// discard removes a blob that nobody needs any more.
func (s *session) discard(cl *client, box, name string) error {
	uri, err := cl.access(s.ctx, box, name, "d", transferLife)
	if err != nil {
		return err
	}
	resp, err := cl.blob(s.ctx, http.MethodDelete, uri, nil, nil, 0)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// doTransfer begins an import or export and waits until it has ended.
func (s *session) doTransfer(cl *client, body map[string]any) (json.RawMessage, error) {
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodPost, "/jobs/create", nil, body, &raw); err != nil {
		return nil, jobError(err, "")
	}
	j, err := readJob(raw)
	if err != nil {
		return nil, err
	}
	quiet := *s
	quiet.out, quiet.JSON = io.Discard, s.JSON
	if err := quiet.awaitJob(cl, j.ID); err != nil {
		return nil, err
	}
	return cl.fetchJob(s, j.ID)
}

// refusedLines reads what an import has refused.
func (c *client) refusedLines(s *session, box string) (list []json.RawMessage, err error) {
	uri, err := c.access(s.ctx, box, "importErrors.log", "r", transferLife)
	if err != nil {
		return nil, err
	}
	resp, err := c.blob(s.ctx, http.MethodGet, uri, nil, nil, 0)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var line json.RawMessage
		if err := d.Decode(&line); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("the answer of the instance cannot be read: %w", err)
		}
		list = append(list, line)
	}
}

type jobExportCmd struct {
	File           string `arg:"" help:"Where to write: a line of JSON for each device or module; - is standard output. With --container the name of a blob in it."`
	Container      string `name:"container" placeholder:"NAME" help:"Write to a blob of this container instead of a file."`
	Keys           bool   `name:"keys" help:"With their keys: whoever can read the file can act for every device. Without them an import keeps the keys of devices that are there and makes new ones for others."`
	Configurations bool   `name:"configurations" help:"With --container: also the configurations, to its configurations.txt."`
}

// Run exports.
func (c *jobExportCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	box, name := c.Container, c.File
	if box == "" {
		if c.Configurations {
			return usagef("--configurations goes with --container")
		}
		box, name = transferBox, time.Now().UTC().Format("export-20060102-150405.000")+"/devices.txt"
	}
	uri, err := cl.access(s.ctx, box, "", "rw", transferLife)
	if err != nil {
		return err
	}
	body := map[string]any{"type": "export", "outputBlobContainerUri": uri, "outputBlobName": name, "excludeKeysInExport": !c.Keys}
	if c.Configurations {
		body["includeConfigurations"] = true
	}
	raw, err := s.doTransfer(cl, body)
	if err != nil {
		return err
	}
	if c.Container == "" {
		err := s.download(cl, box, name, c.File)
		if err := errors.Join(err, s.discard(cl, box, name)); err != nil {
			return err
		}
		if c.File == "-" {
			return nil
		}
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	j, err := readJob(raw)
	if err != nil {
		return err
	}
	s.printf("%s to %s.\n", strings.TrimSuffix(j.Message, "."), c.File)
	return nil
}

// download brings a blob into a file that only its owner can read.
func (s *session) download(cl *client, box, name, file string) error {
	uri, err := cl.access(s.ctx, box, name, "r", transferLife)
	if err != nil {
		return err
	}
	resp, err := cl.blob(s.ctx, http.MethodGet, uri, nil, nil, 0)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if file == "-" {
		_, err := io.Copy(s.out, resp.Body)
		return err
	}
	const mine = 0o600
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mine)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
