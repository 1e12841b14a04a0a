package twinsql

import (
	"strconv"
	"strings"

	"dunlin/internal/lang/twinql"
)

// twin is the alias of the twin's table.
const twin = "t."

type fieldKind uint8

const (
	constant   fieldKind = iota // value is the same in all rows
	opaque                      // not in the rows: nothing is known in SQL
	text                        // NULL is undefined
	nullable                    // text; NULL is null
	number                      // an integer, never NULL
	boolean                     // 0 or 1
	enumerated                  // position in words
	instant                     // Unix nanoseconds, 0 is never
	document                    // member of a JSON column
	enrolled                    // position in words, noted of a configuration; no row is undefined
)

// field is where a path leads.
type field struct {
	kind  fieldKind
	sql   string        // column or expression; of a document the column
	value twinql.Value  // of a constant
	words []string      // of an enumeration
	bare  string        // of an enumeration: sql without the code 0 for rows that are not there
	steps []twinql.Step // of a document, at least one
	index string        // of a document: the expression that is indexed for texts
}

func undefined() field { return field{kind: constant} }

func object() field { return field{kind: constant, value: twinql.Value{Kind: twinql.Object}} }

// authTypes and the other words are in the order of the stored numbers.
var (
	authTypes  = []string{"sas", "selfSigned", "certificateAuthority", "none"}
	statuses   = []string{"enabled", "disabled"}
	connection = []string{"Disconnected", "Connected"}
)

// field finds what a bound path names.
func (c *Compiler) field(p *twinql.Path) field {
	s := p.Steps
	leaf := func(f field) field {
		if len(s) > 1 {
			return undefined()
		}
		return f
	}
	module := c.From == twinql.Modules
	switch s[0].Name {
	case "deviceId":
		if module {
			return leaf(field{kind: text, sql: "d.device"})
		}
		return leaf(field{kind: text, sql: "d.id"})
	case "moduleId":
		if module {
			return leaf(field{kind: text, sql: "d.id"})
		}
	case "deviceEtag":
		return leaf(field{kind: text, sql: "d.etag"})
	case "version":
		return leaf(field{kind: number, sql: "COALESCE(t.version, 2)"})
	case "modelId":
		return leaf(field{kind: text, sql: "COALESCE(t.model, '')"})
	case "status":
		if module {
			return leaf(field{value: twinql.TextValue(statuses[0])})
		}
		return leaf(field{kind: enumerated, sql: "d.status", words: statuses})
	case "statusReason":
		if !module {
			return leaf(field{kind: text, sql: "d.status_reason"})
		}
	case "statusUpdateTime":
		if module {
			return leaf(field{value: twinql.TextValue(never)})
		}
		return leaf(field{kind: instant, sql: "d.status_at"})
	case "connectionState":
		if module {
			return leaf(field{kind: enumerated, sql: "d.connected", words: connection})
		}
		return leaf(field{kind: enumerated, sql: "COALESCE(s.connected, 0)", bare: "s.connected", words: connection})
	case "lastActivityTime":
		if module {
			return leaf(field{kind: instant, sql: "d.active_at"})
		}
		return leaf(field{kind: instant, sql: "COALESCE(s.active_at, 0)"})
	case "authenticationType":
		return leaf(field{kind: enumerated, sql: "d.auth", words: authTypes})
	case "deviceScope":
		if !module {
			return leaf(field{kind: text, sql: "NULLIF(d.scope, '')"})
		}
	case "x509Thumbprint":
		return thumbprint(s[1:])
	case "capabilities":
		if module {
			break
		}
		if len(s) == 1 {
			return object()
		}
		if len(s) == 2 && s[1].Name == "iotEdge" {
			return field{kind: boolean, sql: "d.edge"}
		}
	case "tags":
		return c.section("t.tags", s[1:])
	case "properties":
		return c.properties(s[1:])
	case "configurations":
		return c.configuration(s[1:])
	case "cloudToDeviceMessageCount":
		return leaf(field{kind: number, sql: c.Messages()})
	case "etag", "parentScopes":
		return field{kind: opaque}
	}
	return undefined()
}

func thumbprint(s []twinql.Step) field {
	switch {
	case len(s) == 0:
		return object()
	case len(s) > 1:
	case s[0].Name == "primaryThumbprint":
		return field{kind: nullable, sql: "d.thumb1"}
	case s[0].Name == "secondaryThumbprint":
		return field{kind: nullable, sql: "d.thumb2"}
	}
	return undefined()
}

func (c *Compiler) properties(s []twinql.Step) field {
	if len(s) == 0 {
		return object()
	}
	name := s[0].Name
	if name != "desired" && name != "reported" {
		return undefined()
	}
	if len(s) > 1 {
		switch s[1].Name {
		case "$version":
			if len(s) > 2 {
				return undefined()
			}
			return field{kind: number, sql: "COALESCE(t." + name + "_version, 1)"}
		case "$metadata":
			return field{kind: opaque} // kept in a form of its own
		}
	}
	return c.section("t."+name, s[1:])
}

func (c *Compiler) section(column string, s []twinql.Step) field {
	if len(s) == 0 {
		return object()
	}
	f := field{kind: document, sql: column, steps: s}
	if c.Indexed != nil {
		f.index = c.Indexed(strings.TrimPrefix(column, twin), s)
	}
	return f
}

// plain reports whether a path can be spelled as SQLite wants it: it has no
// escapes for the names in it.
func plain(s []twinql.Step) bool {
	for i := range s {
		if strings.ContainsAny(s[i].Name, "\"\\\x00") {
			return false
		}
	}
	return true
}

// jsonPath spells a path for SQLite.
func jsonPath(s []twinql.Step) string {
	b := []byte{'$'}
	for i := range s {
		if s[i].Name == "" {
			b = append(strconv.AppendInt(append(b, '['), int64(s[i].Index), 10), ']')
			continue
		}
		b = append(append(append(b, '.', '"'), s[i].Name...), '"')
	}
	return string(b)
}
