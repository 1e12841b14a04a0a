package value_test

import (
	"math"
	"testing"

	"dunlin/internal/insights/stream/value"
)

func TestState(t *testing.T) {
	made := value.RecordOf(&value.Tree{Names: []string{"a", "b"}, Values: []value.Value{value.ArrayOf([]value.Value{value.Time(7), {}}), value.String("x")}})
	for _, v := range []value.Value{
		{},
		value.Int(-5), value.Number(math.Inf(-1)), value.Number(math.Copysign(0, -1)), value.Bool(true), value.Bool(false), value.Time(value.MaxTicks),
		value.String(""), value.String("ä"), value.RawRecord(`{"a":[1,2.0]}`), value.RawArray("[]"), value.ArrayOf(nil), value.RecordOf(new(value.Tree)), made,
	} {
		b := value.AppendState(nil, v)
		got, rest, err := value.ReadState(append(b, 9))
		if err != nil || len(rest) != 1 || got.Kind() != v.Kind() || show(got) != show(v) || got.JSON() != v.JSON() {
			t.Errorf("%s became %s, %v", show(v), show(got), err)
		}
		for n := range b {
			if _, _, err := value.ReadState(b[:n]); err == nil {
				t.Errorf("%s: %d bytes of %d are taken", show(v), n, len(b))
			}
		}
		if c := value.Clone(v); show(c) != show(v) || c.Kind() != v.Kind() {
			t.Errorf("%s cloned is %s", show(v), show(c))
		}
	}
	if n := value.Footprint(made); n < 100 || n > 300 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzReadState(f *testing.F) {
	f.Add(value.AppendState(nil, value.ArrayOf([]value.Value{value.Int(1), value.String("a"), value.RawRecord("{}")})))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := value.ReadState(b)
		if err != nil {
			return
		}
		again, _, err := value.ReadState(value.AppendState(nil, v))
		if err != nil || again.Kind() != v.Kind() || len(rest) > len(b) {
			t.Errorf("%x", b)
		}
	})
}

func show(v value.Value) string { return string(value.AppendJSON(nil, v)) }
