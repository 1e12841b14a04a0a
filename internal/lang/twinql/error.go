package twinql

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Error says what is wrong with a text and where.
type Error struct {
	Offset  int    // first byte of the place
	Column  int    // the place for people: characters from 1
	Message string // what was wrong
	Hint    string // what to write instead, may be empty
}

func (e *Error) Error() string {
	s := fmt.Sprintf("at character %d: %s", e.Column, e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func errorAt(text string, offset int, hint, format string, args ...any) *Error {
	offset = min(max(offset, 0), len(text))
	return &Error{
		Offset: offset, Column: utf8.RuneCountInString(text[:offset]) + 1,
		Message: fmt.Sprintf(format, args...), Hint: hint,
	}
}

// clip keeps long input out of messages.
func clip(s string) string {
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
		if low != "" && strings.EqualFold(low[:1], c[:1]) {
			d-- // the first letter is seldom wrong
		}
		if d < best {
			best, found = d, c
		}
	}
	return found
}

func didYouMean(s string, candidates []string) string {
	if c := Suggest(s, candidates); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
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
