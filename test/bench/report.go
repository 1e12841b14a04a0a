package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// figure is one measured number beside what it is compared with.
type figure struct {
	Case    string  `json:"case"`
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Value   float64 `json:"value"`
	Target  float64 `json:"target,omitempty"`  // 0 is none, but for an upper bound
	AtMost  bool    `json:"atMost,omitempty"`  // the target is an upper bound
	Peer    float64 `json:"peer,omitempty"`    // the peer in the same run
	Before  float64 `json:"before,omitempty"`  // the same figure of an earlier run
	Earlier string  `json:"earlier,omitempty"` // peers measured earlier on the same kind of machine
	Noise   float64 `json:"noise"`             // part of the machine that other processes used, 0 to 1
}

func (f figure) met() string {
	switch {
	case f.Target == 0 && !f.AtMost:
		return ""
	case f.AtMost == (f.Value <= f.Target) || f.Value == f.Target:
		return "yes"
	}
	return "no"
}

// report gathers figures and failures of a run.
type report struct {
	Time    time.Time         `json:"time"`
	Cores   int               `json:"cores"`
	Quick   bool              `json:"quick"` // too short to be worth keeping
	Figures []figure          `json:"figures"`
	Failed  map[string]string `json:"failed,omitempty"` // by case
	Notes   []string          `json:"notes,omitempty"`

	before map[figureKey]float64
}

// figureKey tells which figures of two runs are the same.
type figureKey struct{ Case, Name, Unit string }

func (r *report) add(f figure) {
	f.Before = r.before[figureKey{f.Case, f.Name, f.Unit}]
	r.Figures = append(r.Figures, f)
}

// compareWith reads the figures that an earlier run has saved.
func (r *report) compareWith(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var old report
	if err := json.Unmarshal(b, &old); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r.before = map[figureKey]float64{}
	for _, f := range old.Figures {
		r.before[figureKey{f.Case, f.Name, f.Unit}] = f.Value
	}
	return nil
}

func (r *report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *report) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "case\tfigure\tbefore\tmeasured\ttarget\tmet\tpeer, same run\tpeers, earlier\tnoise")
	last := ""
	for _, f := range r.Figures {
		name := f.Case
		if name == last {
			name = ""
		}
		last = f.Case
		before, target, peer := "", "", ""
		if f.Before != 0 {
			before = number(f.Before)
		}
		if f.Target != 0 || f.AtMost {
			sign := "≥ "
			if f.AtMost {
				sign = "≤ "
			}
			target = sign + number(f.Target)
		}
		if f.Peer != 0 {
			peer = "Mosquitto " + number(f.Peer)
		}
		fmt.Fprintf(t, "%s\t%s, %s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\n", name, f.Name, f.Unit, before, number(f.Value), target, f.met(), peer, f.Earlier, 100*f.Noise)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(w, "NOT MEASURED %s: %s\n", name, r.Failed[name])
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	if r.Quick {
		fmt.Fprintln(w, "note: a quick run: it shows that the cases work; its figures are worth nothing")
	}
	return nil
}

func (r *report) save(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.0f k", v/1e3)
	case a >= 100 || a == math.Trunc(a):
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}
