package twin

import (
	"strings"
	"unicode/utf8"
)

// node is a value of a section: an object, or a leaf that is kept as text.
// Arrays are leaves, as they are replaced as a whole. Nodes are not changed
// once they were built; merge makes new ones.
type node struct {
	raw     string // compact JSON text of a leaf; empty for an object
	members []member
	size    int   // as the documented rule counts the value
	at      int64 // last update in ticks, see ticks; 0 is never
	version int64 // section version of the last update; 0 is never
}

// member is a member of an object. Keys are decoded and hold no control
// characters; members keep the order in which they came.
type member struct {
	key string
	val node
}

const null = "null"

func (n *node) isObject() bool { return n.raw == "" }

// keySize is what a key counts for; it holds no control characters.
func keySize(key string) int { return len(key) }

// stamp is when and with which version of its section a change was made.
type stamp struct {
	at      int64
	version int64
}

// A search through an object is linear while both sides are small; the product
// of two large ones would let one patch keep a processor busy.
const (
	smallPatch  = 8
	smallObject = 16
)

// merge gives old with the changes of patch: null removes a member, an object
// is merged, anything else replaces. Both are objects; old may be the zero
// node, which is an empty object. Every object and value that the patch
// touches gets the stamp.
func merge(old, patch *node, s stamp) node {
	out := node{at: s.at, version: s.version, members: make([]member, len(old.members), len(old.members)+len(patch.members))}
	copy(out.members, old.members)
	var index map[string]int
	if len(patch.members) > smallPatch && len(old.members) > smallObject {
		index = make(map[string]int, len(old.members))
		for i := range old.members {
			index[old.members[i].key] = i
		}
	}
	removed := false
	for i := range patch.members {
		p := &patch.members[i]
		at := -1
		if index != nil {
			if j, ok := index[p.key]; ok {
				at = j
			}
		} else {
			at = old.find(p.key)
		}
		switch {
		case p.val.raw == null:
			if at >= 0 {
				out.members[at].val = node{raw: null}
				removed = true
			}
			continue
		case at < 0:
			out.members = append(out.members, member{key: p.key})
			at = len(out.members) - 1
		}
		to := &out.members[at].val
		if p.val.isObject() {
			var was node
			if to.isObject() {
				was = *to
			}
			*to = merge(&was, &p.val, s)
			continue
		}
		*to = node{raw: p.val.raw, size: p.val.size, at: s.at, version: s.version}
	}
	if removed {
		kept := out.members[:0]
		for i := range out.members {
			if out.members[i].val.raw != null {
				kept = append(kept, out.members[i])
			}
		}
		clear(out.members[len(kept):])
		out.members = kept
	}
	for i := range out.members {
		out.size += keySize(out.members[i].key) + out.members[i].val.size
	}
	return out
}

func (n *node) find(key string) int {
	for i := range n.members {
		if n.members[i].key == key {
			return i
		}
	}
	return -1
}

// append writes the value as compact JSON.
func (n *node) append(dst []byte) []byte {
	if !n.isObject() {
		return append(dst, n.raw...)
	}
	dst = append(dst, '{')
	for i := range n.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendKey(dst, n.members[i].key)
		dst = n.members[i].val.append(dst)
	}
	return append(dst, '}')
}

func appendKey(dst []byte, key string) []byte {
	return append(appendString(dst, key), ':')
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become the
// replacement character.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			const hex = "0123456789abcdef"
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}

// compact removes the blanks between the tokens of a valid JSON text.
func compact(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	quoted := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case quoted && c == '\\':
			b.WriteByte(c)
			i++
			c = s[i]
		case c == '"':
			quoted = !quoted
		case !quoted && isBlank(c):
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

func isBlank(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }
