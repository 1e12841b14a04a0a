//go:build nab

package anomaly_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"dunlin/internal/insights/stream/anomaly/nab"
)

var corpusDir = flag.String("nab", "", "a copy of the repository numenta/NAB, to score the detector on all of it")

// held tells the series on which the detector is judged and was never tuned: in
// each directory of the corpus those at odd places in the order of names, with two
// exceptions, made before any was looked at: the machine is in samples/ and known,
// and the taxis, which have most windows, went to the other side for it.
func held(place int, name string) bool {
	switch {
	case strings.Contains(name, "machine_temperature"):
		return false
	case strings.Contains(name, "nyc_taxi"):
		return true
	}
	return place%2 == 1
}

// TestCorpus prints the scores that docs/anomaly.md reports. It needs the corpus,
// which is not ours to carry: go test -tags nab -run TestCorpus -v -nab DIR.
func TestCorpus(t *testing.T) {
	if *corpusDir == "" {
		t.Fatal("-nab names the directory of the corpus")
	}
	all, err := nab.ReadCorpus(*corpusDir)
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]nab.Series{"all": all}
	place, dir := 0, ""
	for _, s := range all {
		if d := filepath.Dir(s.Name); d != dir {
			place, dir = 0, d
		}
		part := "developed on"
		if held(place, s.Name) {
			part = "held out"
		}
		parts[part] = append(parts[part], s)
		place++
	}
	for _, part := range []string{"developed on", "held out", "all"} {
		scores := score(parts[part], week)
		for _, p := range []nab.Profile{nab.Standard, nab.LowFP, nab.LowFN} {
			r := nab.Best(parts[part], scores, p)
			t.Logf("%-12s %-27s %5.1f, %d of %d windows, %d false alarms, threshold %.3f; at %.1f: %.1f", part, p.Name, r.Score, r.Found,
				r.Windows, r.False, r.Threshold, alarm, nab.At(parts[part], scores, p, alarm).Score)
		}
	}
}
