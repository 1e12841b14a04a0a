package record

import "dunlin/internal/iot"

// Head is what a record says first of all: enough to pass over records that a
// reader is not interested in, without decoding them. Its slices are views.
type Head struct {
	Source iot.EventSource
	Device []byte
	Module []byte // empty for the device itself
}

// Peek reads the beginning of a record, or of what AppendOrigin made. Its
// errors are those of Decode.
func Peek(b []byte) (h Head, err error) {
	if len(b) == 0 {
		return h, errEmpty
	}
	if b[0] != Version {
		return h, &VersionError{Version: b[0]}
	}
	r := reader{b: b[1:]}
	o := reader{b: r.bytes(r.uvarint()), err: r.err}
	h.Source = iot.EventSource(o.byte())
	o.bytes(2) // kind of proof
	o.uvarint()
	h.Device = o.bytes(o.uvarint())
	h.Module = o.bytes(o.uvarint())
	return h, o.err
}
