package diag_test

import (
	"testing"

	"dunlin/internal/lang/diag"
)

func TestPlaces(t *testing.T) {
	text := "SELECT ä\nFRM x"
	for _, c := range []struct {
		offset int
		hint   string
		want   string
	}{
		{0, "", "at character 1: bad"},
		{9, "", "at character 9: bad"}, // behind a letter of two bytes
		{10, "", "at line 2, column 1: bad"},
		{1000, "go on", "at line 2, column 6: bad (go on)"},
		{-1, "", "at character 1: bad"},
	} {
		if got := diag.At(text, c.offset, c.hint, "bad").Error(); got != c.want {
			t.Errorf("offset %d: %s, want %s", c.offset, got, c.want)
		}
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"SELECT", "FROM", "WHERE", "temperature"}
	for s, want := range map[string]string{
		"SELEC": "SELECT", "form": "FROM", "wehre": "WHERE", "tmperature": "temperature", "x": "", "": "", "nothing": "",
	} {
		if got := diag.Suggest(s, words); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}
