package exec

import (
	"dunlin/internal/insights/stream/anomaly"
	"dunlin/internal/insights/stream/scalar"
	"dunlin/internal/insights/stream/value"
)

// detector is what the detectors of anomalies have in common.
type detector interface {
	AppendState(b []byte) []byte
	ReadState(b []byte) ([]byte, error)
}

// detect is the functions that find anomalies. The first argument is the
// number; an event without one, or that does not satisfy WHEN, has no result
// and is not seen.
type detect struct {
	detector
	size  int64
	score func(ticks int64, v float64, args []value.Value) (value.Value, error)
}

func (h *detect) row(ticks int64, counts bool, args []value.Value) (value.Value, error) {
	if !counts || args[0].IsNull() {
		return value.Value{}, nil
	}
	v, err := scalar.ToFloat(args[0])
	if err != nil {
		return v, err
	}
	return h.score(ticks, v.Float(), args[1:])
}

func (h *detect) bytes() int64 { return h.size }

func (h *detect) appendState(b []byte) []byte { return h.AppendState(b) }

func (h *detect) readState(r *stateReader) {
	rest, err := h.ReadState(r.b)
	if err != nil {
		r.fail()
		return
	}
	r.b = rest
}

// detectorBytes is what a Detector takes at most.
const detectorBytes = 4096

func newScore(span int64) history {
	d := anomaly.NewTicks(span)
	return &detect{detector: d, size: detectorBytes, score: func(ticks int64, v float64, _ []value.Value) (value.Value, error) {
		return value.Number(d.Score(ticks, v)), nil
	}}
}

var anomalySides = map[string]anomaly.Sides{"spikes": anomaly.Spikes, "dips": anomaly.Dips, "spikesanddips": anomaly.SpikesAndDips}

// documented is the two detectors that the language documents.
type documented interface {
	detector
	Score(ticks int64, v, confidence float64) (bool, float64)
	Bytes() int64
}

// newDocumented makes a function of one; its second argument is the confidence.
func newDocumented(d documented) history {
	h := &detect{detector: d, size: d.Bytes()}
	h.score = func(ticks int64, v float64, args []value.Value) (value.Value, error) {
		c, err := scalar.ToFloat(args[0])
		if err != nil || c.IsNull() {
			return value.Value{}, err
		}
		is, score := d.Score(ticks, v, c.Float())
		h.size = d.Bytes()
		return verdict(is, score), nil
	}
	return h
}

// verdict is the record that AnomalyDetection functions give.
func verdict(is bool, score float64) value.Value {
	n := int64(0)
	if is {
		n = 1
	}
	return value.RecordOf(&value.Tree{Names: verdictNames, Values: []value.Value{value.Int(n), value.Number(score)}})
}

var verdictNames = []string{"IsAnomaly", "Score"}
