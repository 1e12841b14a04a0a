package twinsql

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// indexedText is how many characters of a text an index of PostgreSQL holds:
// its entries have a largest size, and a longer one would make writes fail.
const indexedText = 128

// IndexExpression spells what an index over the texts at a path of a section
// holds; alias is put before the column, "t." in queries and nothing in an
// index. The names become part of statements, so that only letters, digits and
// a few signs are taken.
func IndexExpression(d state.Dialect, alias, section string, steps []twinql.Step) (string, error) {
	if section != "tags" && section != "desired" && section != "reported" {
		return "", iot.Errorf(iot.ArgumentInvalid, "an index begins with tags, properties.desired or properties.reported")
	}
	if len(steps) == 0 {
		return "", iot.Errorf(iot.ArgumentInvalid, "an index needs the name of a member of %s", section)
	}
	for i := range steps {
		for _, r := range steps[i].Name {
			if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-:#@", r) {
				return "", iot.Errorf(iot.ArgumentInvalid, "members with the character %q in their name cannot be indexed", r)
			}
		}
	}
	column := alias + section
	if d != state.PostgreSQL {
		return "json_extract(" + column + ", '" + jsonPath(steps) + "')", nil
	}
	var b strings.Builder
	b.WriteString("left(" + column)
	for i := range steps {
		b.WriteString(" -")
		if i == len(steps)-1 {
			b.WriteByte('>')
		}
		b.WriteString("> ")
		if steps[i].Name == "" {
			b.WriteString(strconv.Itoa(steps[i].Index))
			continue
		}
		b.WriteString("'" + steps[i].Name + "'")
	}
	b.WriteString(", " + strconv.Itoa(indexedText) + `) COLLATE "C"`)
	return b.String(), nil
}

// indexed narrows a search down to what the index of the field finds.
func (c *Compiler) indexed(f field, texts []any) frag {
	args := make([]any, len(texts))
	for i, t := range texts {
		args[i] = t
		if c.postgres() {
			args[i] = first(t.(string), indexedText)
		}
	}
	sql := "(" + f.index + ") = " + c.textParam()
	if len(args) > 1 {
		sql = "(" + f.index + ")" + listOf(c.textParam(), len(args), true)
	}
	return frag{sql: sql, args: args, exact: true, needs: true}
}

func first(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}
