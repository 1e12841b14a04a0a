package configuration

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"dunlin/internal/iot"
)

// Kind says what a configuration is for; the numbers are not stored.
type Kind uint8

// The kinds.
const (
	Devices Kind = iota // deviceContent: twins of devices
	Modules             // moduleContent: twins of modules
	Edge                // modulesContent: the modules of edge devices
)

var contentNames = [...]string{"deviceContent", "moduleContent", "modulesContent"}

// String gives the member of the content, such as "deviceContent".
func (k Kind) String() string { return contentNames[k] }

// piece is one path that a configuration sets.
type piece struct {
	module string   // of an edge device; else empty
	path   []string // below properties.desired; empty is all of it
	value  any      // nil removes what is there
}

// content is the content of a configuration, understood.
type content struct {
	kind   Kind
	pieces []piece // shorter paths first
	// base says that the deployment describes an edge device as a whole, and
	// does not lie over another one.
	base bool
}

const (
	desired   = "properties.desired"
	edgeAgent = "$edgeAgent"
)

// readContent understands the member "content" of a configuration. check is
// what twins say of a change of one.
func readContent(raw string, check func(id iot.ID, body []byte) error) (content, error) {
	c, err := parseContent(raw)
	if err == nil {
		err = c.fits(check)
	}
	return c, err
}

func parseContent(raw string) (content, error) {
	var c content
	v, err := parse(raw)
	if err != nil {
		return c, badContent("the content is not valid JSON: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return c, badContent("the content must be an object with one of deviceContent, moduleContent and modulesContent")
	}
	given := 0
	for kind, name := range contentNames {
		v := object[name]
		if v == nil {
			continue
		}
		section, ok := v.(map[string]any)
		if !ok {
			return c, badContent("%s must be an object", name)
		}
		if len(section) > 0 {
			given++
			c.kind = Kind(kind)
		}
	}
	if given != 1 {
		return c, badContent("the content has %d of deviceContent, moduleContent and modulesContent that are not empty, and must have one", given)
	}
	section := object[c.kind.String()].(map[string]any)
	if c.kind != Edge {
		return c, c.read("", section)
	}
	for _, module := range slices.Sorted(maps.Keys(section)) {
		if !iot.ValidID(module) {
			return c, badContent("'%.140s' in modulesContent is not the id of a module", module)
		}
		keys, ok := section[module].(map[string]any)
		if !ok {
			return c, badContent("modulesContent of %s must be an object", module)
		}
		if err := c.read(module, keys); err != nil {
			return c, err
		}
	}
	return c, nil
}

// read takes in the paths of one twin.
func (c *content) read(module string, keys map[string]any) error {
	where := c.kind.String()
	if module != "" {
		where += " of " + module
	}
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		rest, ok := strings.CutPrefix(key, desired)
		if !ok || (rest != "" && rest[0] != '.') {
			return badContent("the key '%.200s' in %s does not begin with properties.desired", key, where)
		}
		p := piece{module: module, value: dense(keys[key])}
		if rest == "" {
			if _, ok := p.value.(map[string]any); !ok {
				return badContent("properties.desired in %s must be an object", where)
			}
			c.base = c.base || module == edgeAgent
		} else {
			p.path = strings.Split(rest[1:], ".")
			if slices.Contains(p.path, "") {
				return badContent("the key '%.200s' in %s has an empty name", key, where)
			}
		}
		c.pieces = append(c.pieces, p)
	}
	slices.SortStableFunc(c.pieces, func(a, b piece) int { return cmp.Compare(len(a.path), len(b.path)) })
	return nil
}

// fits asks whether twins could have what the content sets.
func (c *content) fits(check func(id iot.ID, body []byte) error) error {
	whole := map[string]map[string]any{}
	for _, p := range c.pieces {
		whole[p.module] = with(whole[p.module], p.path, p.value)
	}
	for module, doc := range whole {
		body, err := text(map[string]any{"properties": map[string]any{"desired": doc}})
		if err != nil {
			return err
		}
		if err := check(iot.ID{Device: "d", Module: module}, body); err != nil {
			return badContent("no twin can have this content: %w", err)
		}
	}
	return nil
}

// modules names the modules of edge devices that the content sets something of.
func (c *content) modules() []string {
	var out []string
	for _, p := range c.pieces {
		if p.module != "" && !slices.Contains(out, p.module) {
			out = append(out, p.module)
		}
	}
	return out
}
