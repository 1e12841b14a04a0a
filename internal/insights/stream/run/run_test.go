package run_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/run"
)

// TestCases runs the files of cases, a JSON object a line; lines that begin
// with // are for people.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no files of cases", err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			lines := bufio.NewScanner(f)
			lines.Buffer(nil, 1<<20)
			for n := 1; lines.Scan(); n++ {
				line := strings.TrimSpace(lines.Text())
				if line == "" || strings.HasPrefix(line, "//") {
					continue
				}
				c, err := run.ReadCase(line)
				if err != nil {
					t.Errorf("line %d: %v", n, err)
					continue
				}
				t.Run(c.Name, func(t *testing.T) {
					if err := c.Verify(); err != nil {
						t.Errorf("line %d: %v", n, err)
					}
				})
			}
			if lines.Err() != nil {
				t.Error(lines.Err())
			}
		})
	}
}
