package configuration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"dunlin/internal/iot"
)

// Documents are trees of map[string]any, []any, string, json.Number, bool and
// nil. Trees that are shared are never changed.

const (
	maxDepth = 40      // of arrays and objects in each other
	maxText  = 1 << 18 // bytes of a configuration
)

// parse reads a JSON text. Numbers stay as they were written; an object that
// has a member twice is refused, as nobody can say which one counts.
func parse(text string) (any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the value")
	}
	return v, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := t.(json.Delim)
	if !ok {
		return t, nil
	}
	if depth >= maxDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	if open == '[' {
		list := []any{}
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // the decoder lets nothing else be a name
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("the member '%.100s' is there twice", name)
		}
		if object[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	_, err = d.Token()
	return object, err
}

// text writes a tree as JSON.
func text(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// dense is a copy without members that are null: in a twin there are none.
func dense(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := make(map[string]any, len(object))
	for name, v := range object {
		if v != nil {
			out[name] = dense(v)
		}
	}
	return out
}

// with is a tree with v in the place of what is at path. What lies beside the
// path is shared with root.
func with(root map[string]any, path []string, v any) map[string]any {
	if len(path) == 0 {
		if object, ok := v.(map[string]any); ok {
			return object
		}
		return map[string]any{}
	}
	out := make(map[string]any, len(root)+1)
	maps.Copy(out, root)
	if len(path) > 1 {
		below, _ := root[path[0]].(map[string]any)
		v = with(below, path[1:], v)
	}
	out[path[0]] = v
	return out
}

// without is a tree that has nothing at path. Objects that become empty by
// that go too: they were made for what they held.
func without(root map[string]any, path []string) map[string]any {
	if len(path) == 0 {
		return map[string]any{}
	}
	have, ok := root[path[0]]
	if !ok {
		return root
	}
	var below map[string]any
	if len(path) > 1 {
		object, ok := have.(map[string]any)
		if !ok {
			return root
		}
		if below = without(object, path[1:]); len(below) == len(object) && len(below) == 0 {
			return root // it was empty before
		}
	}
	out := make(map[string]any, len(root))
	maps.Copy(out, root)
	if len(below) > 0 {
		out[path[0]] = below
	} else {
		delete(out, path[0])
	}
	return out
}

// at gives what is at path.
func at(root map[string]any, path []string) (any, bool) {
	var v any = root
	for _, name := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = object[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// difference gives the change that makes to out of from when it is merged:
// null removes, objects are merged, anything else replaces. It is empty when
// they are equal.
func difference(from, to map[string]any) map[string]any {
	out := map[string]any{}
	for name := range from {
		if _, ok := to[name]; !ok {
			out[name] = nil
		}
	}
	for name, want := range to {
		have, ok := from[name]
		a, before := have.(map[string]any)
		b, after := want.(map[string]any)
		switch {
		case ok && before && after:
			if d := difference(a, b); len(d) > 0 {
				out[name] = d
			}
		case !ok || !reflect.DeepEqual(have, want):
			out[name] = want
		}
	}
	return out
}

// begins reports whether path leads to what prefix names, or below.
func begins(path, prefix []string) bool {
	return len(path) >= len(prefix) && slices.Equal(path[:len(prefix)], prefix)
}

func badContent(format string, args ...any) error {
	return iot.Errorf(iot.InvalidConfigurationContent, format, args...)
}
