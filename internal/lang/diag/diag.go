// Package diag says what is wrong with a text that a person wrote, where, and
// what was probably meant. All languages of the house share it.
package diag

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a text and where.
type Error struct {
	Offset  int    // first byte of the place
	Line    int    // the place for people: lines from 1
	Column  int    // characters of the line, from 1
	Message string // what was wrong
	Hint    string // what to write instead, may be empty
}

// Error gives the place as "at character 5", or as "at line 2, column 5" when
// it is not in the first line.
func (e *Error) Error() string {
	where := fmt.Sprintf("at line %d, column %d", e.Line, e.Column)
	if e.Line <= 1 {
		where = fmt.Sprintf("at character %d", e.Column)
	}
	s := where + ": " + e.Message
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// At makes the error for the place at an offset in bytes.
func At(text string, offset int, hint, format string, args ...any) *Error {
	offset = min(max(offset, 0), len(text))
	before := text[:offset]
	return &Error{
		Offset:  offset,
		Line:    strings.Count(before, "\n") + 1,
		Column:  utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1,
		Message: fmt.Sprintf(format, args...),
		Hint:    hint,
	}
}

// Back makes e an error of the text without its first n characters, which are
// ASCII and stand in one line.
func (e *Error) Back(n int) {
	e.Offset = max(0, e.Offset-n)
	if e.Line <= 1 {
		e.Column = max(1, e.Column-n)
	}
}

// Clip keeps long input out of messages: 40 characters stay.
func Clip(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	n := 0
	for i := range s {
		if n == most {
			return s[:i] + "..."
		}
		n++
	}
	return s
}

// DidYouMean gives the hint for a misspelt word, or "".
func DidYouMean(s string, candidates []string) string {
	if c := Suggest(s, candidates); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
}

// Suggest finds the candidate that s was most likely meant to be, in its own
// spelling, or "".
func Suggest(s string, candidates []string) string {
	if len(s) > 40 {
		return ""
	}
	low := strings.ToLower(s)
	most, best, found := max(1, min(2, len(s)/3)), 1<<30, ""
	for _, c := range candidates {
		d := distance(low, strings.ToLower(c))
		if d > most {
			continue
		}
		d *= 2
		if low != "" && c != "" && strings.EqualFold(low[:1], c[:1]) {
			d-- // the first letter is seldom wrong
		}
		if d < best {
			best, found = d, c
		}
	}
	return found
}

// distance counts the letters to insert, delete, change or exchange with their
// neighbour to get from a to b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
