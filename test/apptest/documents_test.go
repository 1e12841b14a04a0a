package apptest

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dunlin/test/harness"
)

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(), "docs", "ops", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestSettingsAreDocumented: every flag of serve that is a setting stands in
// the reference with its variable, and the reference names no other.
func TestSettingsAreDocumented(t *testing.T) {
	t.Parallel()
	text := document(t, "configuration.md")
	help := harness.Run(t, "serve", "--help").Stdout
	_, settings, found := strings.Cut(help, "\nNames\n")
	if !found {
		t.Fatalf("serve --help has no settings:\n%s", help)
	}
	// Settings in sections are told of by their keys, hub.limits.method; flag
	// and variable follow from the key by the rule that the reference states.
	flag := func(key string) string { return strings.ReplaceAll(key, ".", "-") }
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z0-9.-]+)`").FindAllStringSubmatch(text, -1) {
		told[flag(m[1])] = true
	}
	known := map[string]bool{"data": true}
	for _, m := range regexp.MustCompile(`(?m)^  --(?:\[no-\])?([a-z0-9-]+)`).FindAllStringSubmatch(settings, -1) {
		known[m[1]] = true
		variable := "DUNLIN_" + strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))
		section := strings.HasPrefix(m[1], "hub-") && !strings.Contains(text, "`"+m[1]+"`")
		if !told[m[1]] || !section && !strings.Contains(text, "`"+variable+"`") {
			t.Errorf("docs/ops/configuration.md does not tell of %s and %s", m[1], variable)
		}
	}
	if len(known) < 15 {
		t.Errorf("only %d settings found in serve --help", len(known))
	}
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		first, _, _ := strings.Cut(line[1:], "|")
		for _, m := range regexp.MustCompile("`([a-z0-9.-]+)`").FindAllStringSubmatch(first, -1) {
			if !known[flag(m[1])] {
				t.Errorf("docs/ops/configuration.md tells of %s, which serve does not know", m[1])
			}
		}
	}
}

// TestMetricsAreDocumented: every metric of a running instance stands in the
// reference.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	text := document(t, "metrics.md")
	s := harness.Start(t, harness.Options{})
	resp, err := http.Get(s.Info.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^# TYPE (dunlin_\w+)`).FindAllStringSubmatch(string(b), -1)
	if len(names) < 20 {
		t.Errorf("only %d metrics found", len(names))
	}
	for _, m := range names {
		if !strings.Contains(text, "`"+m[1]+"`") && !strings.Contains(text, "`"+m[1]+"{") {
			t.Errorf("docs/ops/metrics.md does not tell of %s", m[1])
		}
	}
}
