package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"dunlin/internal/iot"
)

// maxOrigins is how many origins an Event remembers; a reader that meets more
// in turn allocates once per record instead of once per origin.
const maxOrigins = 4096

// Event is one decoded record. Reuse one Event for all records that a loop
// reads: it keeps its slices and the origins that it has met (a few hundred
// kilobytes at most). The message's slices are views of the record; the
// origin's strings are copies and may be kept.
type Event struct {
	Origin iot.Origin
	iot.Message

	last  string             // encoded form of Origin
	known map[string]*origin // by encoded form
}

// ErrDamaged is in the chain of every error of Decode but a VersionError.
var ErrDamaged = errors.New("record: damaged event")

// VersionError reports a record that a newer build has written.
type VersionError struct{ Version byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("record: event has version %d, this build reads up to %d; read it with a newer build", e.Version, Version)
}

// The ways a record can be damaged; values, so that skipping damage is cheap.
var (
	errEmpty      = fmt.Errorf("%w: no bytes", ErrDamaged)
	errShort      = fmt.Errorf("%w: cut short", ErrDamaged)
	errNumber     = fmt.Errorf("%w: number is too long or not in its shortest form", ErrDamaged)
	errOrigin     = fmt.Errorf("%w: origin is longer than its fields", ErrDamaged)
	errSystemZero = fmt.Errorf("%w: system property with key 0", ErrDamaged)
)

// Decode reads one record. After an error e holds nothing of use, but may be
// used for the next record.
func Decode(b []byte, e *Event) error {
	e.System, e.Properties, e.Body = e.System[:0], e.Properties[:0], nil
	if len(b) == 0 {
		return errEmpty
	}
	if b[0] != Version {
		return &VersionError{Version: b[0]}
	}
	r := reader{b: b[1:]}
	encoded := r.bytes(r.uvarint())
	if r.err != nil {
		return r.err
	}
	if string(encoded) != e.last || e.last == "" {
		if err := e.setOrigin(encoded); err != nil {
			return err
		}
	}
	// Slices grow as entries are read, never by the count alone: a damaged
	// count must not make a reader allocate.
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		key := iot.SystemKey(r.byte())
		if key == 0 && r.err == nil {
			r.err = errSystemZero
		}
		e.System = append(e.System, iot.SystemProperty{Key: key, Value: r.bytes(r.uvarint())})
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		p := iot.Property{Name: r.bytes(r.uvarint())}
		if n := r.uvarint(); n > 0 {
			p.Value = r.bytes(n - 1)
		}
		e.Properties = append(e.Properties, p)
	}
	if r.err != nil {
		return r.err
	}
	e.Body = slices.Clip(r.b)
	return nil
}

// OriginKey is the encoded form of the origin: equal for equal origins, so that
// what a reader derives from an origin can be kept by it. It is not to be
// parsed, and may be kept.
func (e *Event) OriginKey() string { return e.last }

// origin is an origin that an Event has met.
type origin struct {
	encoded string
	decoded iot.Origin
}

// setOrigin makes b, a view, the origin of e.
func (e *Event) setOrigin(b []byte) error {
	o, ok := e.known[string(b)]
	if !ok {
		o = &origin{encoded: string(b)}
		if err := o.decode(); err != nil {
			return err
		}
		if e.known == nil {
			e.known = make(map[string]*origin)
		}
		if len(e.known) >= maxOrigins {
			clear(e.known)
		}
		e.known[o.encoded] = o
	}
	e.Origin, e.last = o.decoded, o.encoded
	return nil
}

// decode reads the encoded form; the strings of the result share its memory.
func (o *origin) decode() error {
	r := reader{b: []byte(o.encoded)}
	d := &o.decoded
	d.Source = iot.EventSource(r.byte())
	d.Auth.Scope = iot.AuthScope(r.byte())
	d.Auth.Type = iot.AuthType(r.byte())
	d.Generation = r.uvarint()
	for _, s := range []*string{&d.ID.Device, &d.ID.Module, &d.Model} {
		n := len(r.bytes(r.uvarint()))
		end := len(o.encoded) - len(r.b)
		*s = o.encoded[end-n : end]
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errOrigin
	}
	return r.err
}

// reader takes fields off the front of b. After the first error every field is
// zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) byte() byte {
	if r.err != nil || len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// uvarint accepts the shortest form of a number only, so that every record has
// exactly one encoding.
func (r *reader) uvarint() uint64 {
	if r.err == nil && len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	return r.longUvarint()
}

func (r *reader) longUvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	switch {
	case n == 0:
		r.fail(errShort)
		return 0
	case n < 0, n > 1 && r.b[n-1] == 0:
		r.fail(errNumber)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes gives a view of the next n bytes, not nil and without spare capacity.
func (r *reader) bytes(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
