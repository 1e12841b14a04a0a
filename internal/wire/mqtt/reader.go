package mqtt

import "encoding/binary"

// reader takes fields off the front of b, as views. After the first error all
// fields are zero.
type reader struct {
	b   []byte
	err error
}

// fail keeps the first error.
func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// take gives the next n bytes, never nil unless it fails with short.
func (r *reader) take(n int, short error) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(short)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1, errShort); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if v := r.take(2, errShort); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if v := r.take(4, errShort); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// varint reads a variable byte integer in its shortest form [MQTT5-1.5.5-1].
func (r *reader) varint() uint32 {
	var v uint32
	for i := range 4 {
		if i >= len(r.b) {
			r.fail(errShort)
		}
		if r.err != nil {
			return 0
		}
		c := r.b[i]
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				break
			}
			r.b = r.b[i+1:]
			return v
		}
	}
	r.fail(errVarint)
	return 0
}

// binary reads data with a length before it; missing is the error when it is
// not all there.
func (r *reader) binary(missing error) []byte {
	if v := r.take(2, missing); v != nil {
		return r.take(int(binary.BigEndian.Uint16(v)), missing)
	}
	return nil
}

// string reads binary and checks that it is text.
func (r *reader) string(missing, invalid error) []byte {
	v := r.binary(missing)
	if r.err == nil {
		r.err = checkString(v, invalid)
	}
	return v
}

func (r *reader) packetID() uint16 {
	id := r.uint16()
	if id == 0 {
		r.fail(errPacketID)
	}
	return id
}

// end refuses what is left over.
func (r *reader) end(trailing error) error {
	if len(r.b) > 0 {
		r.fail(trailing)
	}
	return r.err
}
