package scalar

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"dunlin/internal/insights/stream/value"
)

// maxText bounds what a function may make of a short text.
const maxText = 1 << 20

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }

// text1 makes a function of one text; null stays null.
func text1(f func(string) string) Func {
	return func(args []value.Value) (value.Value, error) {
		if args[0].IsNull() {
			return value.Value{}, nil
		}
		return value.String(f(ToText(args[0]))), nil
	}
}

func lower(s string) string     { return strings.ToLower(s) }
func upper(s string) string     { return strings.ToUpper(s) }
func trim(s string) string      { return strings.TrimFunc(s, unicode.IsSpace) }
func trimLeft(s string) string  { return strings.TrimLeftFunc(s, unicode.IsSpace) }
func trimRight(s string) string { return strings.TrimRightFunc(s, unicode.IsSpace) }

func reverse(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		r, n := utf8.DecodeLastRuneInString(s)
		b.WriteRune(r)
		s = s[:len(s)-n]
	}
	return b.String()
}

// length counts characters without the blanks at the end.
func length(args []value.Value) (value.Value, error) {
	if args[0].IsNull() {
		return value.Value{}, nil
	}
	return value.Int(int64(utf8.RuneCountInString(strings.TrimRight(ToText(args[0]), " ")))), nil
}

func anyNull(args []value.Value) bool {
	for _, v := range args {
		if v.IsNull() {
			return true
		}
	}
	return false
}

// offset gives where the n-th character of s begins, n from 0; len(s) beyond
// the end.
func offset(s string, n int64) int {
	if n <= 0 {
		return 0
	}
	if n >= int64(len(s)) {
		n = min(n, int64(len(s)))
	}
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

// place gives the number of the character at an offset, from 1.
func place(s string, at int) value.Value {
	return value.Int(int64(utf8.RuneCountInString(s[:at])) + 1)
}

func charIndex(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	find, s := ToText(args[0]), ToText(args[1])
	from := 0
	if len(args) > 2 {
		n, err := ToBigint(args[2])
		if err != nil {
			return value.Value{}, err
		}
		from = offset(s, n.Int()-1)
	}
	if find == "" {
		return value.Int(0), nil
	}
	i := strings.Index(s[from:], find)
	if i < 0 {
		return value.Int(0), nil
	}
	return place(s, from+i), nil
}

func concat(args []value.Value) (value.Value, error) {
	var b strings.Builder
	for _, v := range args {
		b.WriteString(ToText(v))
	}
	return value.String(b.String()), nil
}

func concatWith(args []value.Value) (value.Value, error) {
	separator := ToText(args[0])
	var parts []string
	for _, v := range args[1:] {
		if !v.IsNull() {
			parts = append(parts, ToText(v))
		}
	}
	return value.String(strings.Join(parts, separator)), nil
}

func space(args []value.Value) (value.Value, error) {
	return replicate([]value.Value{value.String(" "), args[0]})
}

func replicate(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	s := ToText(args[0])
	n, err := ToBigint(args[1])
	if err != nil || n.Int() < 0 {
		return value.Value{}, err
	}
	if len(s) > 0 && n.Int() > int64(maxText/len(s)) {
		return value.Value{}, fail(InvalidArgument, "REPLICATE would make a text of more than %d bytes.", maxText)
	}
	return value.String(strings.Repeat(s, int(n.Int()))), nil
}

func nchar(args []value.Value) (value.Value, error) {
	n, err := ToBigint(args[0])
	if err != nil || n.IsNull() {
		return value.Value{}, err
	}
	if r := n.Int(); r >= 0 && r <= unicode.MaxRune && utf8.ValidRune(rune(r)) {
		return value.String(string(rune(r))), nil
	}
	return value.Value{}, nil
}

func unicodeOf(args []value.Value) (value.Value, error) {
	s := ToText(args[0])
	if args[0].IsNull() || s == "" {
		return value.Value{}, nil
	}
	r, _ := utf8.DecodeRuneInString(s)
	return value.Int(int64(r)), nil
}

// textAndCount reads a text and a count that may not be negative.
func textAndCount(name string, args []value.Value) (s string, n int64, null bool, err error) {
	if anyNull(args) {
		return "", 0, true, nil
	}
	v, err := ToBigint(args[1])
	if err != nil {
		return "", 0, false, err
	}
	if v.Int() < 0 {
		return "", 0, false, fail(InvalidArgument, "%s takes a number of characters, not %d.", name, v.Int())
	}
	return ToText(args[0]), v.Int(), false, nil
}

func left(args []value.Value) (value.Value, error) {
	s, n, null, err := textAndCount("LEFT", args)
	if null || err != nil {
		return value.Value{}, err
	}
	return value.String(s[:offset(s, n)]), nil
}

func right(args []value.Value) (value.Value, error) {
	s, n, null, err := textAndCount("RIGHT", args)
	if null || err != nil {
		return value.Value{}, err
	}
	at := len(s)
	for ; n > 0 && at > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:at])
		at -= size
	}
	return value.String(s[at:]), nil
}

// substring counts from 1; characters before the first are counted but not
// there.
func substring(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	s := ToText(args[0])
	start, err := ToBigint(args[1])
	if err != nil {
		return value.Value{}, err
	}
	n, err := ToBigint(args[2])
	if err != nil {
		return value.Value{}, err
	}
	from, count := start.Int(), n.Int()
	if count < 0 {
		return value.Value{}, fail(InvalidArgument, "SUBSTRING takes a number of characters, not %d.", count)
	}
	if from < 1 {
		if count > 0 && from < 1-count {
			count = 0
		} else {
			count = max(from+count-1, 0)
		}
		from = 1
	}
	s = s[offset(s, from-1):]
	return value.String(s[:offset(s, count)]), nil
}

func stuff(args []value.Value) (value.Value, error) {
	if args[0].IsNull() || args[1].IsNull() || args[2].IsNull() {
		return value.Value{}, nil
	}
	s := ToText(args[0])
	start, err := ToBigint(args[1])
	if err != nil {
		return value.Value{}, err
	}
	n, err := ToBigint(args[2])
	if err != nil {
		return value.Value{}, err
	}
	switch at := start.Int(); {
	case at > int64(utf8.RuneCountInString(s)):
		return value.String(""), nil
	case at < 1 || n.Int() < 0:
		return value.Value{}, nil
	}
	from := offset(s, start.Int()-1)
	rest := s[from:]
	return value.String(s[:from] + ToText(args[3]) + rest[offset(rest, n.Int()):]), nil
}

func replace(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	s, from, to := ToText(args[0]), ToText(args[1]), ToText(args[2])
	if from == "" {
		return value.String(s), nil
	}
	if n := strings.Count(s, from); n*(len(to)-len(from)) > maxText {
		return value.Value{}, fail(InvalidArgument, "REPLACE would make a text of more than %d bytes.", maxText)
	}
	return value.String(strings.ReplaceAll(s, from, to)), nil
}

func translate(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	s, from, to := ToText(args[0]), []rune(ToText(args[1])), []rune(ToText(args[2]))
	if len(from) != len(to) {
		return value.Value{}, fail(InvalidArgument, "TRANSLATE takes as many characters to find as to put in their place, not %d and %d.", len(from), len(to))
	}
	return value.String(strings.Map(func(r rune) rune {
		for i, f := range from {
			if f == r {
				return to[i]
			}
		}
		return r
	}, s)), nil
}

func jsonParse(args []value.Value) (value.Value, error) {
	if args[0].Kind() != value.Text {
		return value.Value{}, nil
	}
	v, err := value.FromJSON(args[0].Text())
	if err != nil {
		return value.Value{}, nil //nolint:nilerr // what cannot be read is null
	}
	return v, nil
}

// patIndex finds where a pattern of LIKE begins in a text.
func patIndex(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	return patIndexOf(ToText(args[0]))(args[1:])
}

// patIndexOf is PATINDEX of one pattern, of the text that is left.
func patIndexOf(text string) Func {
	open := strings.HasPrefix(text, "%")
	p := NewPattern(strings.TrimPrefix(text, "%"))
	return func(args []value.Value) (value.Value, error) {
		if args[0].IsNull() {
			return value.Value{}, nil
		}
		s := ToText(args[0])
		for at := range s + " " {
			if at > 0 && !open {
				break
			}
			if p.Match(s[at:]) {
				return place(s, at), nil
			}
		}
		return value.Int(0), nil
	}
}

func regexMatch(args []value.Value) (value.Value, error) {
	if anyNull(args) {
		return value.Value{}, nil
	}
	return regexMatchOf(ToText(args[1]))(args[:1])
}

// regexMatchOf is REGEXMATCH of one expression. It ignores case and takes a
// text as one line; what is no expression is found nowhere.
func regexMatchOf(text string) Func {
	re, err := regexp.Compile("(?is)" + text)
	return func(args []value.Value) (value.Value, error) {
		if args[0].IsNull() {
			return value.Value{}, nil
		}
		s := ToText(args[0])
		if err != nil {
			return value.Int(0), nil //nolint:nilerr // it is documented to be found nowhere
		}
		found := re.FindStringIndex(s)
		if found == nil {
			return value.Int(0), nil
		}
		return place(s, found[0]), nil
	}
}

// Prepare is Lookup for a call some of whose arguments stand in the query:
// constant gives them, false for the others. A pattern is then read once.
func Prepare(name string, constant func(arg int) (value.Value, bool)) Func {
	if f := relations[name]; f != nil {
		return remembering(f)
	}
	pattern, rest := 0, 1
	var of func(string) Func
	switch name {
	case "PATINDEX":
		of = patIndexOf
	case "REGEXMATCH":
		pattern, rest = 1, 0
		of = regexMatchOf
	default:
		return Lookup(name)
	}
	v, ok := constant(pattern)
	if !ok || v.IsNull() {
		return Lookup(name)
	}
	f := of(ToText(v))
	return func(args []value.Value) (value.Value, error) { return f(args[rest : rest+1]) }
}
