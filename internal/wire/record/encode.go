package record

import (
	"encoding/binary"

	"dunlin/internal/iot"
)

// Version is the first byte of every record that this build writes.
const Version = 1

// AppendOrigin appends the beginning of a record, version and origin, which
// is the same for all events of a connection: encode it once and hand it to
// AppendEvent.
func AppendOrigin(dst []byte, o iot.Origin) []byte {
	n := 3 + uvarintLen(o.Generation) + stringLen(o.ID.Device) + stringLen(o.ID.Module) + stringLen(o.Model)
	dst = append(dst, Version)
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = append(dst, byte(o.Source), byte(o.Auth.Scope), byte(o.Auth.Type))
	dst = binary.AppendUvarint(dst, o.Generation)
	dst = appendString(dst, o.ID.Device)
	dst = appendString(dst, o.ID.Module)
	return appendString(dst, o.Model)
}

// AppendEvent appends a whole record: origin as AppendOrigin made it, then the
// message. It copies what it needs; m's views may be reused afterwards.
func AppendEvent(dst, origin []byte, m *iot.Message) []byte {
	dst = append(dst, origin...)
	dst = binary.AppendUvarint(dst, uint64(len(m.System)))
	for i := range m.System {
		p := &m.System[i]
		dst = append(dst, byte(p.Key))
		dst = binary.AppendUvarint(dst, uint64(len(p.Value)))
		dst = append(dst, p.Value...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Properties)))
	for i := range m.Properties {
		p := &m.Properties[i]
		dst = binary.AppendUvarint(dst, uint64(len(p.Name)))
		dst = append(dst, p.Name...)
		if p.Value == nil {
			dst = append(dst, 0) // no value, which differs from an empty one
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(p.Value))+1)
		dst = append(dst, p.Value...)
	}
	return append(dst, m.Body...)
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func stringLen(s string) int { return uvarintLen(uint64(len(s))) + len(s) }

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
