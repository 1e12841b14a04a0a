package anomaly_test

import (
	"path/filepath"
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
