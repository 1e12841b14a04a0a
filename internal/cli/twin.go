package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

type twinCmd struct {
	Show    twinShowCmd    `cmd:"" help:"Show a twin."`
	Update  twinUpdateCmd  `cmd:"" help:"Change tags and desired properties; what is not named stays."`
	Replace twinReplaceCmd `cmd:"" help:"Put new tags or desired properties in the place of the old."`
	Query   queryCmd       `cmd:"" help:"Query devices, modules and their twins."`
}

// twinPath is where the hub keeps a twin.
func twinPath(id, module string) string {
	p := "/twins/" + url.PathEscape(id)
	if module != "" {
		p += "/modules/" + url.PathEscape(module)
	}
	return p
}

// twin is a twin as far as it is shown to people.
type twin struct {
	Device           string         `json:"deviceId"`
	Module           string         `json:"moduleId"`
	ETag             string         `json:"etag"`
	Version          int64          `json:"version"`
	Status           string         `json:"status"`
	ConnectionState  string         `json:"connectionState"`
	LastActivityTime string         `json:"lastActivityTime"`
	ModelID          string         `json:"modelId"`
	Tags             map[string]any `json:"tags"`
	Properties       struct {
		Desired  map[string]any `json:"desired"`
		Reported map[string]any `json:"reported"`
	} `json:"properties"`
}

// decode reads one JSON value, with numbers as they were written.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind it")
	}
	return nil
}

type twinShowCmd struct {
	ID     string `arg:"" help:"Id of the device."`
	Module string `name:"module" placeholder:"ID" help:"Show the twin of this module of it."`
}

// Run prints a twin.
func (c *twinShowCmd) Run(s *session) error {
	raw, err := s.fetch(c.ID, twinPath(c.ID, c.Module))
	if err != nil {
		return err
	}
	return s.printTwin(raw)
}

// printTwin prints a twin as the hub answered it: what it is, then a line for
// each tag and property.
func (s *session) printTwin(raw json.RawMessage) error {
	if s.JSON {
		return s.printJSON(raw)
	}
	var t twin
	if err := decode(raw, &t); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	now := time.Now()
	err := pairs(s.out, [][2]string{
		{"device", t.Device},
		{"module", t.Module},
		{"status", t.Status},
		{"connection", strings.ToLower(t.ConnectionState)},
		{"last activity", ago(parseTime(t.LastActivityTime), now)},
		{"model", t.ModelID},
		{"version", strconv.FormatInt(t.Version, 10)},
		{"etag", t.ETag},
	})
	if err != nil {
		return err
	}
	sections := []struct {
		title  string
		values map[string]any
	}{
		{"tags", t.Tags},
		{"desired, version " + versionOf(t.Properties.Desired), t.Properties.Desired},
		{"reported, version " + versionOf(t.Properties.Reported), t.Properties.Reported},
	}
	for _, section := range sections {
		meta, _ := section.values["$metadata"].(map[string]any)
		rows := leaves(nil, "  ", section.values, meta, now)
		if rows == nil {
			rows = [][]string{{"  (none)"}}
		}
		s.printf("\n")
		if err := table(s.out, []string{section.title, "", ""}, rows); err != nil {
			return err
		}
	}
	return nil
}

func versionOf(section map[string]any) string {
	if n, ok := section["$version"].(json.Number); ok {
		return n.String()
	}
	return "?"
}

// leaves lists the values of a section by their paths, in order, each with the
// time of its change.
func leaves(rows [][]string, prefix string, values, meta map[string]any, now time.Time) [][]string {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if name == "$metadata" || name == "$version" {
			continue
		}
		inner, _ := meta[name].(map[string]any)
		if object, ok := values[name].(map[string]any); ok && len(object) > 0 {
			rows = leaves(rows, prefix+printable(name)+".", object, inner, now)
			continue
		}
		when := ""
		if text, ok := inner["$lastUpdated"].(string); ok {
			when = ago(parseTime(text), now)
		}
		rows = append(rows, []string{prefix + printable(name), cell(values[name]), when})
	}
	return rows
}

// cell shows a value in one line.
func cell(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return shorten(printable(strings.TrimSuffix(b.String(), "\n")))
}

func shorten(s string) string {
	const most = 100
	if r := []rune(s); len(r) > most {
		return string(r[:most-3]) + "..."
	}
	return s
}

// twinBody is what twin update and twin replace send.
type twinBody struct {
	Tags    string `name:"tags" placeholder:"JSON" help:"Tags, an object."`
	Desired string `name:"desired" placeholder:"JSON" help:"Desired properties, an object."`
	File    string `name:"file" placeholder:"FILE" help:"Read the whole document, as twin show --json prints it, from this file; - is standard input."`
	ETag    string `name:"etag" placeholder:"ETAG" help:"Only if the twin still has this etag."`
}

// document gives the JSON that the flags stand for; nil when there are none.
func (b *twinBody) document(s *session) (map[string]any, error) {
	var doc map[string]any
	if b.File != "" {
		if b.Tags != "" || b.Desired != "" {
			return nil, usagef("give either --file or --tags and --desired")
		}
		text, err := s.readFile(b.File)
		if err != nil {
			return nil, err
		}
		if err := decode(text, &doc); err != nil {
			return nil, fmt.Errorf("%s is not a JSON object: %w", b.File, err)
		}
		if doc == nil {
			return nil, fmt.Errorf("%s is not a JSON object", b.File)
		}
		return doc, nil
	}
	for _, section := range []struct{ flag, text string }{{"tags", b.Tags}, {"desired", b.Desired}} {
		if section.text == "" {
			continue
		}
		var v any
		if err := decode([]byte(section.text), &v); err != nil {
			return nil, usagef("--%s is not JSON: %w", section.flag, err)
		}
		if _, ok := v.(map[string]any); !ok && v != nil {
			return nil, usagef("--%s: write an object such as {\"name\":1}", section.flag)
		}
		if doc == nil {
			doc = map[string]any{}
		}
		if err := setPath(doc, section.flag, v); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// send changes the twin and prints what it is then.
func (b *twinBody) send(s *session, method, id, module string, doc map[string]any) error {
	delete(doc, "etag") // that of a document which was read before is no condition
	cl, err := s.connect()
	if err != nil {
		return err
	}
	match := "*"
	if b.ETag != "" {
		match = `"` + strings.Trim(b.ETag, `"`) + `"`
	}
	var raw json.RawMessage
	err = cl.hub(s.ctx, method, twinPath(id, module), map[string]string{"If-Match": match}, doc, &raw)
	if hasCode(err, "PreconditionFailed") {
		return fmt.Errorf("%w; somebody has changed the twin: see it with dunlin twin show %s", err, id)
	}
	if err != nil {
		return notFound(err)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	var t twin
	if err := decode(raw, &t); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	s.printf("%s changed: desired version %s, etag %s.\n", strings.TrimSuffix(id+"/"+module, "/"), versionOf(t.Properties.Desired), t.ETag)
	return nil
}

// readFile reads a file, or standard input for -.
func (s *session) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(s.in)
	}
	return os.ReadFile(name)
}

type twinUpdateCmd struct {
	ID     string `arg:"" help:"Id of the device."`
	Module string `name:"module" placeholder:"ID" help:"Change the twin of this module of it."`
	twinBody
	Set    []string `name:"set" sep:"none" placeholder:"PATH=VALUE" help:"Set one value, such as desired.fan.speed=3 or tags.site=north. VALUE is JSON, else text. May be repeated."`
	Remove []string `name:"remove" sep:"none" placeholder:"PATH" help:"Remove one, such as tags.site. May be repeated."`
}

// Run merges a change into a twin.
func (c *twinUpdateCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	doc, err := c.change(s)
	if err != nil {
		return err
	}
	return c.send(s, http.MethodPatch, c.ID, c.Module, doc)
}

// change gives the document that the flags stand for.
func (c *twinUpdateCmd) change(s *session) (map[string]any, error) {
	doc, err := c.document(s)
	if err != nil {
		return nil, err
	}
	if doc == nil {
		doc = map[string]any{}
	}
	for _, text := range c.Set {
		path, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, usagef("--set %s: write PATH=VALUE, such as desired.interval=5", text)
		}
		var v any
		if err := decode([]byte(value), &v); err != nil {
			v = value
		}
		if err := setPath(doc, path, v); err != nil {
			return nil, err
		}
	}
	for _, path := range c.Remove {
		if err := setPath(doc, path, nil); err != nil {
			return nil, err
		}
	}
	if len(doc) == 0 {
		return nil, usagef("nothing to change: give --set, --remove, --desired, --tags or --file")
	}
	return doc, nil
}

// setPath puts a value where a path such as desired.fan.speed or tags.site says.
func setPath(doc map[string]any, path string, v any) error {
	names := strings.Split(path, ".")
	if len(names) > 1 && names[0] == "properties" {
		names = names[1:]
	}
	switch {
	case names[0] == "desired":
		names = append([]string{"properties"}, names...)
	case names[0] == "reported":
		return usagef("%s: only the device itself changes what it reports", path)
	case names[0] != "tags":
		return usagef("%s: begin with desired. or tags.", path)
	}
	for i, name := range names {
		if name == "" {
			return usagef("%s has an empty name", path)
		}
		if i == len(names)-1 {
			doc[name] = v
			return nil
		}
		next, ok := doc[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			doc[name] = next
		}
		doc = next
	}
	return nil
}

type twinReplaceCmd struct {
	ID     string `arg:"" help:"Id of the device."`
	Module string `name:"module" placeholder:"ID" help:"Replace the twin of this module of it."`
	twinBody
}

// Run replaces sections of a twin.
func (c *twinReplaceCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	doc, err := c.document(s)
	if err != nil {
		return err
	}
	if doc == nil {
		return usagef("replace with what? Give --desired, --tags or --file; to change single values see dunlin twin update")
	}
	return c.send(s, http.MethodPut, c.ID, c.Module, doc)
}
