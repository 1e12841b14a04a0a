package anomaly_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dunlin/internal/insights/stream/anomaly"
	"dunlin/internal/insights/stream/anomaly/nab"
)

// unixTicks is 1970 in ticks.
const unixTicks = 719162 * day

// score runs a fresh detector over each series.
func score(corpus []nab.Series, limit time.Duration) [][]float64 {
	out := make([][]float64, len(corpus))
	for i, s := range corpus {
		d := anomaly.New(limit)
		for k, v := range s.Values {
			out[i] = append(out[i], d.Score(unixTicks+s.Times[k].Unix()*second, v))
		}
	}
	return out
}

func window(t *testing.T, from, to string) nab.Window {
	t.Helper()
	a, err := time.Parse("2006-01-02 15:04", from)
	if err != nil {
		t.Fatal(err)
	}
	b, err := time.Parse("2006-01-02 15:04", to)
	if err != nil {
		t.Fatal(err)
	}
	return nab.Window{From: a, To: b}
}

// TestMachineTemperature runs over the recorded machine of samples/. Its third
// labelled window is the one that its owners call hard to see.
func TestMachineTemperature(t *testing.T) {
	const dir = "../../../../samples/machine-temperature"
	s, err := nab.ReadFile(filepath.Join(dir, "machine_temperature_system_failure.csv"), "machine")
	if err != nil {
		t.Fatal(err)
	}
	s.Windows = []nab.Window{
		window(t, "2013-12-10 06:25", "2013-12-12 05:35"),
		window(t, "2013-12-15 17:50", "2013-12-17 17:00"),
		window(t, "2014-01-27 14:20", "2014-01-29 13:30"),
		window(t, "2014-02-07 14:55", "2014-02-09 14:05"),
	}
	corpus := []nab.Series{s}
	for _, limit := range []time.Duration{time.Hour, week, 30 * 24 * time.Hour} {
		r := nab.At(corpus, score(corpus, limit), nab.Standard, alarm)
		t.Logf("limit %v: score %.1f, %d of %d windows, %d false alarms in %d events", limit, r.Score, r.Found, r.Windows, r.False, len(s.Values))
		if r.Found < 3 || r.False > 12 {
			t.Errorf("limit %v: %+v", limit, r)
		}
	}
}

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
// which is not ours to carry: go test -run TestCorpus -v -nab DIR.
func TestCorpus(t *testing.T) {
	if *corpusDir == "" {
		t.Skip("no corpus: -nab names its directory")
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
