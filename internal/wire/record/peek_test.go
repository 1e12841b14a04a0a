package record

import (
	"errors"
	"testing"

	"dunlin/internal/iot"
)

// FuzzPeek: Peek tells what Decode tells, of every record that Decode reads.
func FuzzPeek(f *testing.F) {
	origin := AppendOrigin(nil, iot.Origin{ID: iot.ID{Device: "d", Module: "m"}, Generation: 1 << 60, Source: iot.SourceTwinChange, Model: "dtmi:a;1"})
	f.Add(AppendEvent(nil, origin, &iot.Message{Body: []byte("x")}))
	f.Add(origin)
	f.Add([]byte{Version, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, perr := Peek(b)
		var e Event
		if err := Decode(b, &e); err != nil {
			if v := (*VersionError)(nil); perr != nil && errors.As(err, &v) != errors.As(perr, &v) {
				t.Errorf("Decode: %v, Peek: %v", err, perr)
			}
			return
		}
		if perr != nil {
			t.Fatalf("Peek of a good record: %v", perr)
		}
		if h.Source != e.Origin.Source || string(h.Device) != e.Origin.ID.Device || string(h.Module) != e.Origin.ID.Module {
			t.Errorf("Peek tells %d %q %q, Decode %+v", h.Source, h.Device, h.Module, e.Origin)
		}
	})
}
