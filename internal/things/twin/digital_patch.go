package twin

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"dunlin/internal/iot"
)

// maxDigitalOps bounds the operations of one patch: each walks the desired
// properties.
const maxDigitalOps = 256

// digitalOp is one operation of a JSON patch (RFC 6902).
type digitalOp struct {
	Op    string          `json:"op"`
	Path  *string         `json:"path"`
	Value json.RawMessage `json:"value"`
}

// readDigital turns a JSON patch of a digital twin into a change of desired
// properties. What is there is given by desired and reported: a path exists
// when either has it, but only what was desired can be removed. Errors carry
// the codes of digital twins and name the operation.
func readDigital(lim *Limits, text string, desired, reported *node) (node, error) {
	if int64(len(text)) > lim.MaxBody() {
		return node{}, iot.Errorf(iot.MessageTooLarge, "the body has %d bytes, at most %d are read (%s)", len(text), lim.MaxBody(), lim.source("twin-..."))
	}
	var ops []digitalOp
	if err := json.Unmarshal([]byte(text), &ops); err != nil {
		return node{}, iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "the body is not a JSON patch, an array of operations with op, path and value: %w", err)
	}
	switch {
	case ops == nil:
		return node{}, iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "the body is null, a JSON patch is an array of operations")
	case len(ops) > maxDigitalOps:
		return node{}, iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "the patch has %d operations, at most %d are taken", len(ops), maxDigitalOps)
	}
	p := digitalPatch{lim: lim, desired: *desired, reported: reported}
	for i := range ops {
		if err := p.apply(&ops[i]); err != nil {
			return node{}, inOperation(i, err)
		}
	}
	return difference(desired, &p.desired), nil
}

// inOperation says which operation is wrong. The rules of twins have a code of
// their own here.
func inOperation(i int, err error) error {
	var domain *iot.Error
	if !errors.As(err, &domain) {
		return err
	}
	code := domain.Code
	if code == iot.ArgumentInvalid {
		code = iot.InvalidDigitalTwinPayload
	}
	return iot.Errorf(code, "operation %d: %w", i, &iot.Error{Code: code, Message: domain.Message})
}

// digitalPatch is a patch on its way: desired is what the operations so far
// have made of the desired properties. What they have written is marked.
type digitalPatch struct {
	lim      *Limits
	desired  node
	reported *node
}

// written marks what an operation has written, in the place of a version.
const written = -1

func (p *digitalPatch) apply(o *digitalOp) error {
	if o.Path == nil {
		return iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "path is missing")
	}
	path, err := p.path(*o.Path)
	if err != nil {
		return err
	}
	switch o.Op {
	case "add", "replace":
		if o.Value == nil {
			return iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "value is missing, which %s needs", o.Op)
		}
	case "remove":
		if !has(&p.desired, path) {
			return iot.Errorf(iot.InvalidDigitalTwinPatch, "there is no desired value at '%s' to remove", clip(*o.Path, 200))
		}
		p.desired = removed(p.desired, path)
		return nil
	case "test", "move", "copy":
		return iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "the operation %s is not possible on digital twins: use add, replace and remove", o.Op)
	default:
		return iot.Errorf(iot.InvalidDigitalTwinJSONPatch, "the operation '%s' is unknown: use add, replace and remove", clip(o.Op, 40))
	}
	if o.Op == "replace" && !has(&p.desired, path) && !has(p.reported, path) {
		return iot.Errorf(iot.InvalidDigitalTwinPatch, "there is nothing at '%s' to replace: use add", clip(*o.Path, 200))
	}
	val, err := p.value(o.Value, path)
	if err != nil {
		return err
	}
	p.desired, err = p.with(p.desired, path, val, *o.Path)
	return err
}

// path reads a JSON pointer (RFC 6901).
func (p *digitalPatch) path(text string) ([]string, error) {
	bad := func(why string) error {
		return iot.Errorf(iot.InvalidDigitalTwinPatchPath, "the path '%s' is not valid: %s", clip(text, 200), why)
	}
	if !strings.HasPrefix(text, "/") {
		return nil, bad("it begins with a slash, such as /property or /component/property")
	}
	path := strings.Split(text[1:], "/")
	if len(path) > p.lim.Depth+1 {
		return nil, bad("it leads too deep")
	}
	s := scanner{lim: p.lim}
	for i, key := range path {
		if strings.Contains(strings.NewReplacer("~0", "", "~1", "").Replace(key), "~") {
			return nil, bad("a tilde stands only as ~0, and ~1 for a slash")
		}
		path[i] = strings.ReplaceAll(strings.ReplaceAll(key, "~1", "/"), "~0", "~")
		if err := s.checkKey(path[i], 0); err != nil {
			return nil, bad("names of properties and components are not empty and hold none of . $ and blank")
		}
		if path[i] == markerKey {
			return nil, bad("__t is how components are marked and not a property")
		}
	}
	return path, nil
}

// has reports whether there is a value at a path.
func has(n *node, path []string) bool {
	for _, key := range path {
		if !n.isObject() {
			return false
		}
		if n = n.member(key); n == nil {
			return false
		}
	}
	return true
}

// component reports whether the twin has a component of that name.
func (p *digitalPatch) component(name string) bool {
	return isComponent(p.desired.member(name)) || isComponent(p.reported.member(name))
}

// value reads what is to stand at a path. An object with "$metadata" at the
// root is a component.
func (p *digitalPatch) value(text json.RawMessage, path []string) (node, error) {
	s := scanner{s: string(text), lim: p.lim, syntax: iot.InvalidDigitalTwinJSONPatch, where: strings.Join(path, "."), rules: true}
	if s.s == null {
		return node{}, iot.Errorf(iot.InvalidDigitalTwinPayload, "the value is null, which cannot be kept: use remove")
	}
	if len(path) > 1 {
		n, err := s.value(len(path)-1, true)
		return n, err
	}
	var members map[string]json.RawMessage
	isObject := json.Unmarshal(text, &members) == nil
	if _, marked := members["$metadata"]; !marked {
		if p.component(path[0]) {
			return node{}, iot.Errorf(iot.InvalidDigitalTwinPayload, `%s is a component: its value is an object with "$metadata":{}`, path[0])
		}
		if isObject {
			n, err := s.value(0, true)
			return n, err
		}
		n, err := s.value(0, false)
		return n, err
	}
	inner := *p.lim
	inner.Depth-- // it stands in the section
	s.lim = &inner
	n, err := s.section()
	if err != nil {
		return n, err
	}
	return marked(n), nil
}

// marked gives a component with its marker.
func marked(n node) node {
	if n.find(markerKey) < 0 {
		m := member{markerKey, node{raw: markerValue, size: 1, version: written}}
		n.members = append([]member{m}, n.members...)
	} else if !isComponent(&n) {
		n = removed(n, []string{markerKey})
		return marked(n)
	}
	return n
}

// with gives n with a value at a path. The way to it must be there, but for a
// component, which is made.
func (p *digitalPatch) with(n node, path []string, val node, text string) (node, error) {
	if len(path) == 1 {
		return put(n, path[0], touched(val)), nil
	}
	at := n.member(path[0])
	var inner node
	root := len(path) == len(strings.Split(text, "/"))-1
	switch {
	case root && (at == nil || at.isObject()) && (p.component(path[0]) || at == nil && p.reported.member(path[0]) == nil):
		if at != nil {
			inner = *at
		}
		inner = marked(inner)
	case at != nil && at.isObject():
		inner = *at
	case root && at == nil && p.reported.member(path[0]).isObject():
		// A property that is an object, and of which nothing was desired so far.
	default:
		return n, iot.Errorf(iot.InvalidDigitalTwinPatchPath, "the path '%s' leads through '%s', which is no component and no object", clip(text, 200), clip(path[0], 100))
	}
	inner, err := p.with(inner, path[1:], val, text)
	return put(n, path[0], inner), err
}

// put gives n with another member.
func put(n node, key string, val node) node {
	n.members = slices.Clone(n.members)
	if i := n.find(key); i >= 0 {
		n.members[i].val = val
	} else {
		n.members = append(n.members, member{key, val})
	}
	return n
}

// removed gives n without what is at a path.
func removed(n node, path []string) node {
	i := n.find(path[0])
	if i < 0 {
		return n
	}
	n.members = slices.Clone(n.members)
	if len(path) == 1 {
		n.members = slices.Delete(n.members, i, i+1)
	} else {
		n.members[i].val = removed(n.members[i].val, path[1:])
	}
	return n
}

// touched marks a value with all that is in it.
func touched(n node) node {
	n.version = written
	n.members = slices.Clone(n.members)
	for i := range n.members {
		n.members[i].val = touched(n.members[i].val)
	}
	return n
}

// difference gives the change that makes after of before: all that was
// written, even where it is equal, and null for what has gone.
func difference(before, after *node) node {
	var out node
	for i := range after.members {
		m := &after.members[i]
		was := before.member(m.key)
		switch {
		case was == nil || !was.isObject() || !m.val.isObject():
			if was == nil || m.val.version == written {
				out.members = append(out.members, *m)
			}
		default:
			if d := difference(was, &m.val); len(d.members) > 0 || m.val.version == written {
				out.members = append(out.members, member{m.key, d})
			}
		}
	}
	for i := range before.members {
		if key := before.members[i].key; after.find(key) < 0 {
			out.members = append(out.members, member{key, node{raw: null}})
		}
	}
	return out
}
