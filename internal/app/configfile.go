package app

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ReadFile reads a configuration file and gives its settings as the text of
// flags, lists joined by commas. A key that is not known, one given twice or a
// value that cannot be read is an error that names file and line; all of them
// are reported together.
func ReadFile(path string) (map[string]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return parseFile(path, b)
}

func parseFile(path string, content []byte) (map[string]string, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(content, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(doc.Content) == 0 { // nothing but comments
		return map[string]string{}, nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: settings are lines of the form \"key: value\"", path, root.Line)
	}
	var (
		scratch Config
		fields  = scratch.fields()
		lines   = map[string]int{}
		values  = map[string]string{}
		errs    []error
	)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s:%d: %s", path, key.Line, fmt.Sprintf(format, args...)))
		}
		field, known := fields[key.Value]
		if !known {
			if like := nearest(key.Value, fields); like != "" {
				bad("unknown key %q; did you mean %q?", key.Value, like)
			} else {
				bad("unknown key %q; dunlin serve --help lists them all", key.Value)
			}
			continue
		}
		if first, twice := lines[key.Value]; twice {
			bad("key %q was already set in line %d", key.Value, first)
			continue
		}
		lines[key.Value] = key.Line
		text, err := flagText(field, value)
		if err != nil {
			bad("%s: %v", key.Value, err)
			continue
		}
		values[key.Value] = text
	}
	return values, errors.Join(errs...)
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
	best, bestDistance := "", 3 // further away is a guess
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if d := distance(plain(key), plain(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// distance counts the single-byte edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
