package twin

import (
	"encoding/json"
	"strconv"
	"strings"

	"dunlin/internal/lang/twinql"
)

// jsonAt finds the member of a valid JSON text that steps lead to, as a view,
// "" when it is not there.
func jsonAt(text string, steps []twinql.Step) string {
	for i := range steps {
		if text = jsonMember(text, &steps[i]); text == "" {
			return ""
		}
	}
	return strings.TrimSpace(text)
}

func jsonMember(text string, step *twinql.Step) string {
	text = jsonSkip(text)
	if text == "" || (text[0] == '{') != (step.Name != "") || (text[0] != '{' && text[0] != '[') {
		return ""
	}
	isObject := text[0] == '{'
	for n := 0; ; n++ {
		text = jsonSkip(text[1:]) // the bracket or the comma
		if text == "" || text[0] == ']' || text[0] == '}' {
			return ""
		}
		found := n == step.Index
		if isObject {
			key := jsonEnd(text)
			found = jsonTextIs(text[:key], step.Name)
			text = jsonSkip(text[key:])
			text = jsonSkip(text[1:]) // the colon
		}
		end := jsonEnd(text)
		if found {
			return text[:end]
		}
		if text = jsonSkip(text[end:]); text == "" || text[0] != ',' {
			return ""
		}
	}
}

func jsonSkip(text string) string { return strings.TrimLeft(text, " \t\r\n") }

// jsonEnd is the length of the value at the beginning of text.
func jsonEnd(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return min(i+1, len(text))
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return i
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

func jsonTextIs(quoted, s string) bool {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1:len(quoted)-1] == s
	}
	return jsonText(quoted) == s
}

func jsonText(quoted string) string {
	if strings.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	var s string
	if json.Unmarshal([]byte(quoted), &s) != nil {
		return quoted // not valid JSON: it was checked when it came in
	}
	return s
}

// jsonValue reads a value as the query language sees it.
func jsonValue(raw string) twinql.Value {
	if raw == "" {
		return twinql.Value{}
	}
	switch raw[0] {
	case '"':
		return twinql.TextValue(jsonText(raw))
	case '{':
		return twinql.Value{Kind: twinql.Object}
	case '[':
		return twinql.Value{Kind: twinql.Array}
	case 't', 'f':
		return twinql.BoolValue(raw[0] == 't')
	case 'n':
		return twinql.Value{Kind: twinql.Null}
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return twinql.Value{}
	}
	return twinql.NumberValue(f)
}

// jsonCanonical gives equal values equal texts: numbers are written in one
// way, texts without needless escapes, members in the order of their names.
func jsonCanonical(raw string) string {
	if raw == "" {
		return ""
	}
	switch raw[0] {
	case '"':
		return string(appendString(nil, jsonText(raw)))
	case '{', '[':
		var v any
		if err := json.Unmarshal([]byte(raw), &v); err == nil {
			if b, err := json.Marshal(v); err == nil {
				return string(b)
			}
		}
		return raw
	case 't', 'f', 'n':
		return raw
	}
	b, err := json.Marshal(jsonValue(raw).Number)
	if err != nil {
		return raw
	}
	return string(b)
}
