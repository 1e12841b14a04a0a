package twinsql

import (
	"encoding/json"
	"strconv"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/lang/twinql"
)

// enrolment is in the order of the numbers that configurations store of the
// twins that they are for.
var enrolment = []string{"Targeted", "Applied", "Targeted"}

// configuration finds what a path below "configurations" names: first the id
// of a configuration, then its status.
func (c *Compiler) configuration(s []twinql.Step) field {
	switch {
	case !c.Configured:
		return undefined()
	case len(s) < 2:
		return field{kind: opaque}
	case len(s) > 2 || s[1].Name != "status" || s[0].Name == "":
		return undefined()
	}
	return field{kind: enrolled, words: enrolment, steps: s[:1]}
}

// enrolledAs says when a twin is noted with one of the codes. What is noted is
// read along an index, and the twins follow from it.
func (c *Compiler) enrolledAs(f field, codes []string, want bool) frag {
	if len(codes) == 0 {
		return exactlyIf(!want)
	}
	key, columns, module := "d.id", "e.device", "e.module = ''"
	if c.From == twinql.Modules {
		key, columns, module = "(d.device, d.id)", "e.device, e.module", "e.module <> ''"
	}
	not := ""
	if !want {
		not = "NOT "
	}
	id := f.steps[0].Name
	if strings.IndexByte(id, 0) >= 0 {
		return exactlyIf(!want)
	}
	return exactly(key+" "+not+"IN (SELECT "+columns+" FROM configuration_target e WHERE e.configuration = (SELECT n.number FROM configuration n WHERE n.id = "+c.textParam()+
		" AND n.deleted = 0) AND "+module+" AND e.status IN ("+strings.Join(codes, ", ")+"))", id)
}

// compareEnrolled says when the comparison of a status and a text is true.
func (c *Compiler) compareEnrolled(f field, op twinql.Op, v twinql.Value) frag {
	var codes []string
	for code, word := range f.words {
		if twinql.Compare(op, twinql.TextValue(word), v).IsTrue() {
			codes = append(codes, strconv.Itoa(code))
		}
	}
	return c.enrolledAs(f, codes, true)
}

// inEnrolled says when a status is among a list, or with want false when it is
// none of its texts and there are some.
func (c *Compiler) inEnrolled(f field, list []twinql.Value, want bool) frag {
	var codes []string
	for code, word := range f.words {
		texts, among := false, false
		for _, v := range list {
			texts = texts || v.Kind == twinql.Text
			among = among || v == twinql.TextValue(word)
		}
		if texts && among == want {
			codes = append(codes, strconv.Itoa(code))
		}
	}
	return c.enrolledAs(f, codes, true)
}

// isEnrolled says when there is a status, which is a text, or none.
func (c *Compiler) isEnrolled(f field, some, none bool) frag {
	all := make([]string, len(f.words))
	for code := range f.words {
		all[code] = strconv.Itoa(code)
	}
	switch {
	case some && none:
		return always()
	case some:
		return c.enrolledAs(f, all, true)
	case none:
		return c.enrolledAs(f, all, false)
	}
	return nothing()
}

// Among is the condition that a column of texts holds one of a list.
func Among(d state.Dialect, column string, list []string) Filter {
	if d == state.PostgreSQL {
		return Filter{SQL: column + " = ANY(CAST(? AS TEXT[]))", Args: []any{list}, Exact: true}
	}
	b, err := json.Marshal(list)
	if err != nil {
		return Filter{SQL: no, Exact: true} // texts can always be written
	}
	return Filter{SQL: column + " IN (SELECT value FROM json_each(?))", Args: []any{string(b)}, Exact: true}
}
