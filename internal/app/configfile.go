package app

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"dunlin/internal/lang/diag"
)

// ReadFile reads a configuration file and gives its settings by the names of
// flags, as the text of flags, lists joined by commas. A key that is not known,
// one given twice or a value that cannot be read is an error that names file
// and line; all of them are reported together.
func ReadFile(path string) (map[string]string, error) {
	f, err := readFile(path)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(f.values))
	for key, text := range f.values {
		out[flagName(key)] = text
	}
	return out, nil
}

// CheckFile says what is wrong with a configuration file by itself: with the
// settings of a command line it may be another matter.
func CheckFile(path string) error {
	f, err := readFile(path)
	if err != nil {
		return err
	}
	c := Default()
	c.Data = "." // comes from the command line
	for _, s := range c.fields() {
		text, set := f.values[s.key]
		if !set {
			continue
		}
		if err := setField(s.value, text); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", path, f.lines[s.key], s.key, err)
		}
	}
	if err := c.Locate(path); err != nil {
		return err
	}
	return c.Validate()
}

// Locate makes Validate name the line of each setting that c has from a file;
// what was set elsewhere is named without one.
func (c *Config) Locate(path string) error {
	f, err := readFile(path)
	if err != nil {
		return err
	}
	var scratch Config
	theirs := map[string]reflect.Value{}
	for _, s := range scratch.fields() {
		theirs[s.key] = s.value
	}
	c.lines = map[string]string{}
	for _, s := range c.fields() {
		text, set := f.values[s.key]
		if !set {
			continue
		}
		if err := setField(theirs[s.key], text); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", path, f.lines[s.key], s.key, err)
		}
		if reflect.DeepEqual(theirs[s.key].Interface(), s.value.Interface()) {
			c.lines[s.key] = fmt.Sprintf("%s:%d: ", path, f.lines[s.key])
		}
	}
	return nil
}

// file is the content of a configuration file by keys.
type file struct {
	values map[string]string
	lines  map[string]int
}

func readFile(path string) (file, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return file{}, fmt.Errorf("configuration file: %w", err)
	}
	return parseFile(path, b)
}

func parseFile(path string, content []byte) (file, error) {
	r := fileReader{
		path: path, fields: map[string]reflect.Value{}, sections: map[string]bool{},
		file: file{values: map[string]string{}, lines: map[string]int{}},
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return r.file, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 { // nothing but comments
		return r.file, nil
	}
	var scratch Config
	for _, f := range scratch.fields() {
		r.fields[f.key] = f.value
		for i, c := range f.key {
			if c == '.' {
				r.sections[f.key[:i]] = true
			}
		}
	}
	r.section("", doc.Content[0])
	return r.file, errors.Join(r.errs...)
}

// fileReader takes a file apart.
type fileReader struct {
	path     string
	fields   map[string]reflect.Value
	sections map[string]bool
	file     file
	errs     []error
}

func (r *fileReader) bad(line int, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.path, line, fmt.Sprintf(format, args...)))
}

// section reads the settings of a section; before is what their keys begin with.
func (r *fileReader) section(before string, node *yaml.Node) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" && before != "" {
		return // a section without settings
	}
	if node.Kind != yaml.MappingNode {
		r.bad(node.Line, "settings are lines of the form \"key: value\"")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		key := before + name.Value
		field, known := r.fields[key]
		section := r.sections[key]
		if !known && !section {
			if like := nearest(key, r.fields); like != "" {
				r.bad(name.Line, "unknown key %q; did you mean %q?", key, like)
			} else {
				r.bad(name.Line, "unknown key %q; dunlin serve --help lists them all", key)
			}
			continue
		}
		if first, twice := r.file.lines[key]; twice {
			r.bad(name.Line, "key %q was already set in line %d", key, first)
			continue
		}
		r.file.lines[key] = name.Line
		if section {
			r.section(key+".", value)
			continue
		}
		text, err := flagText(field, value)
		if err != nil {
			r.bad(name.Line, "%s: %v", key, err)
			continue
		}
		r.file.values[key] = text
	}
}

// flagText checks that value fits field and gives it as a flag would be written.
func flagText(field reflect.Value, value *yaml.Node) (string, error) {
	if field.Kind() == reflect.Slice && value.Kind == yaml.SequenceNode {
		var items []string
		if err := value.Decode(&items); err != nil {
			return "", errors.New("not a list of texts")
		}
		return strings.Join(items, ","), nil
	}
	if value.Kind != yaml.ScalarNode {
		return "", errors.New("one value is needed here")
	}
	if field.Kind() == reflect.Slice { // a list may be written a,b
		return value.Value, nil
	}
	if _, long := reflect.TypeAssert[time.Duration](field); long && value.Value == "0" {
		return value.Value, nil // YAML reads a number, which is no duration but for this one
	}
	if err := value.Decode(field.Addr().Interface()); err != nil {
		return "", fmt.Errorf("%q cannot be read as %s", value.Value, kindName(field))
	}
	return value.Value, nil
}

func kindName(field reflect.Value) string {
	switch field.Type().String() {
	case "int":
		return "a number"
	case "time.Duration":
		return "a duration such as 90s or 24h"
	case "app.Bytes":
		return "a size such as 500MB or 20GiB"
	}
	return "a text"
}

// nearest finds the known key that a misspelt one was probably meant to be.
func nearest(key string, fields map[string]reflect.Value) string {
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(s))
	}
	names := map[string]string{}
	for name := range fields {
		names[plain(name)] = name
	}
	return names[diag.Suggest(plain(key), slices.Sorted(maps.Keys(names)))]
}
