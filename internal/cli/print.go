package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printJSON prints one value, indented for people at a terminal.
func (s *session) printJSON(v any) error {
	e := json.NewEncoder(s.out)
	e.SetEscapeHTML(false)
	if terminal(s.out) {
		e.SetIndent("", "  ")
	}
	return e.Encode(v)
}

// printf prints a part of the result.
func (s *session) printf(format string, args ...any) {
	fmt.Fprintf(s.out, format, args...)
}

// notef tells something beside the result.
func (s *session) notef(format string, args ...any) {
	fmt.Fprintf(s.err, format, args...)
}

// table prints rows under a heading, columns aligned; a row may have fewer
// cells. Programs should use --json; the columns are for people.
func table(w io.Writer, head []string, rows [][]string) error {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{head}, rows...) {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// pairs prints names and values in two columns, leaving out empty values.
func pairs(w io.Writer, list [][2]string) error {
	width := 0
	for _, p := range list {
		width = max(width, utf8.RuneCountInString(p[0]))
	}
	var b strings.Builder
	for _, p := range list {
		if p[1] != "" {
			fmt.Fprintf(&b, "%-*s  %s\n", width, p[0], p[1])
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ago says how long ago a time was, in one unit.
func ago(t, now time.Time) string {
	if t.Year() <= 1 {
		return "never"
	}
	d := now.Sub(t)
	switch {
	case d < 0:
		return "in " + roughly(-d)
	case d < time.Second:
		return "now"
	}
	return roughly(d) + " ago"
}

func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// count says a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
