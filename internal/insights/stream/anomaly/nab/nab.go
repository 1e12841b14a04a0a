// Package nab scores anomaly detectors by the rules of the Numenta Anomaly
// Benchmark (Lavin and Ahmad, "Evaluating Real-Time Anomaly Detection
// Algorithms", 2015): labelled windows, a reward that is larger the earlier a
// detection falls in its window, a cost for each false alarm, one threshold for
// the whole corpus, and a scale on which a detector that never alarms has 0 and
// a perfect one 100. It is our own implementation of the published rules and is
// used by the tests of the detectors only.
package nab

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// A Profile weighs the outcomes for one kind of user.
type Profile struct {
	Name                                       string
	TruePositive, FalsePositive, FalseNegative float64
}

// The three profiles of the benchmark.
var (
	Standard = Profile{"standard", 1, 0.11, 1}
	LowFP    = Profile{"reward low false positives", 1, 0.22, 1}
	LowFN    = Profile{"reward low false negatives", 1, 0.11, 2}
)

// A Window is a labelled span of a series, both ends included.
type Window struct{ From, To time.Time }

// A Series is a recorded and labelled series.
type Series struct {
	Name    string // directory/file.csv
	Times   []time.Time
	Values  []float64
	Windows []Window // in order of time
}

// Probation returns how many first events of the series are not judged: 15 %,
// and of a long series 750.
func (s *Series) Probation() int {
	return int(math.Min(math.Floor(0.15*float64(len(s.Times))), 0.15*5000))
}

// layout is how the files of the corpus write a time; they have no zone and are
// taken as UTC.
const layout = "2006-01-02 15:04:05"

// ReadSeries reads a file of the corpus: a header, then a time and a value on
// each line.
func ReadSeries(r io.Reader, name string) (Series, error) {
	s := Series{Name: name}
	rows, err := csv.NewReader(r).ReadAll()
	if err != nil {
		return s, fmt.Errorf("%s: %w", name, err)
	}
	for i, row := range rows {
		if i == 0 {
			continue
		}
		at, err := time.Parse(layout, row[0])
		if err != nil {
			return s, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
		v, err := strconv.ParseFloat(row[1], 64)
		if err != nil {
			return s, fmt.Errorf("%s: line %d: %w", name, i+1, err)
		}
		s.Times, s.Values = append(s.Times, at), append(s.Values, v)
	}
	return s, nil
}

// ReadFile reads a series from a file.
func ReadFile(path, name string) (Series, error) {
	f, err := os.Open(path)
	if err != nil {
		return Series{}, err
	}
	defer f.Close()
	return ReadSeries(f, name)
}

// ReadCorpus reads all labelled series of a copy of the benchmark's repository.
func ReadCorpus(dir string) ([]Series, error) {
	text, err := os.ReadFile(filepath.Join(dir, "labels", "combined_windows.json"))
	if err != nil {
		return nil, err
	}
	var labels map[string][][2]string
	if err := json.Unmarshal(text, &labels); err != nil {
		return nil, err
	}
	var names []string
	for name := range labels {
		names = append(names, name)
	}
	slices.Sort(names)
	var corpus []Series
	for _, name := range names {
		s, err := ReadFile(filepath.Join(dir, "data", filepath.FromSlash(name)), name)
		if err != nil {
			return nil, err
		}
		for _, w := range labels[name] {
			from, err := time.Parse(layout, w[0][:len(layout)])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			to, err := time.Parse(layout, w[1][:len(layout)])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			s.Windows = append(s.Windows, Window{from, to})
		}
		corpus = append(corpus, s)
	}
	return corpus, nil
}

// A Result is the outcome at one threshold.
type Result struct {
	Threshold float64
	Score     float64 // 0 = never alarms, 100 = perfect
	Found     int     // windows with at least one alarm
	Windows   int
	False     int // alarms outside of any window
}

// A point is an event that counts.
type point struct {
	score  float64
	worth  float64 // what an alarm here adds (outside) or is worth (inside)
	window int     // index among all windows, or -1
}

// sigmoid is the benchmark's scaled sigmoid: near 1 at the left edge of a window
// (-1), 0 at its right edge, near -1 one width behind it.
func sigmoid(x float64) float64 {
	if x > 3 {
		return -1
	}
	return 2/(1+math.Exp(5*x)) - 1
}

// points weighs the events of a series. first is the index of its first window.
func points(s *Series, scores []float64, p Profile, first int) []point {
	var out []point
	index := func(at time.Time) int { return slices.IndexFunc(s.Times, at.Equal) }
	next, in := 0, -1
	right, width := -1, 0.0
	prevRight, prevWidth := -1, 0.0
	best := sigmoid(-1)
	for i, at := range s.Times {
		if next < len(s.Windows) && at.Equal(s.Windows[next].From) {
			in = next
			right = index(s.Windows[next].To)
			width = float64(right - index(s.Windows[next].From) + 1)
			next++
		}
		pt := point{score: scores[i], window: -1}
		switch {
		case in >= 0:
			pt.window = first + in
			pt.worth = sigmoid(-float64(right-i+1)/width) * p.TruePositive / best
		case prevRight < 0:
			pt.worth = -p.FalsePositive
		default:
			pt.worth = sigmoid(math.Abs(float64(prevRight-i))/(prevWidth-1)) * p.FalsePositive
		}
		if i >= s.Probation() {
			out = append(out, pt)
		}
		if in >= 0 && at.Equal(s.Windows[in].To) {
			prevRight, prevWidth, in = i, width, -1
		}
	}
	return out
}

// Sweep scores a detector on a corpus at every threshold, the highest first.
// scores holds a slice of scores for each series, one score for each event.
func Sweep(corpus []Series, scores [][]float64, p Profile) []Result {
	var all []point
	windows := 0
	for i := range corpus {
		all = append(all, points(&corpus[i], scores[i], p, windows)...)
		windows += len(corpus[i].Windows)
	}
	slices.SortFunc(all, func(a, b point) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return 0
	})
	worth := make([]float64, windows)
	seen := make([]bool, windows)
	judged := make([]bool, windows)
	base := 0.0
	for _, pt := range all {
		if pt.window >= 0 && !judged[pt.window] {
			judged[pt.window] = true
			base -= p.FalseNegative
		}
	}
	for i := range worth {
		worth[i] = -p.FalseNegative
	}
	perfect := float64(windows) * p.TruePositive
	now := Result{Threshold: math.Inf(1), Windows: windows}
	sum := base
	var out []Result
	for i, pt := range all {
		if pt.window < 0 {
			sum += pt.worth
			now.False++
		} else if w := pt.window; pt.worth > worth[w] {
			sum += pt.worth - worth[w]
			worth[w] = pt.worth
			if !seen[w] {
				seen[w] = true
				now.Found++
			}
		}
		if i+1 == len(all) || all[i+1].score != pt.score {
			now.Threshold = pt.score
			now.Score = 100 * (sum - base) / (perfect - base)
			out = append(out, now)
		}
	}
	return out
}

// Best returns the result at the threshold that scores highest.
func Best(corpus []Series, scores [][]float64, p Profile) Result {
	best := Result{Threshold: math.Inf(1)}
	for _, r := range Sweep(corpus, scores, p) {
		if r.Score > best.Score {
			best = r
		}
	}
	return best
}

// At returns the result at a given threshold.
func At(corpus []Series, scores [][]float64, p Profile, threshold float64) Result {
	last := Result{Threshold: threshold}
	for _, r := range Sweep(corpus, scores, p) {
		if r.Threshold < threshold {
			break
		}
		last = r
	}
	return last
}
