package front

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"unsafe"
)

// crypto/tls never gives back the buffers of a connection: each device would
// keep the size of its ClientHello, or of the largest record that it ever
// sent, for life. They are trimmed from here, between reads and by the
// goroutine that reads, when they are empty. Should a release of Go lay out
// tls.Conn differently, nothing is trimmed (and TestTrim fails).

const (
	trimMin = 4 << 10 // a buffer up to here may stay
	noField = ^uintptr(0)
)

// Where tls.Conn keeps records before, and handshake messages after,
// decryption.
var (
	rawInputOffset = bufferOffset("rawInput")
	handOffset     = bufferOffset("hand")
)

func bufferOffset(name string) uintptr {
	f, ok := reflect.TypeFor[tls.Conn]().FieldByName(name)
	if !ok || f.Type != reflect.TypeFor[bytes.Buffer]() {
		return noField
	}
	return f.Offset
}

// trim drops the empty buffers of tc that are longer than limit. All
// plaintext must have been read: it is in the same memory.
func trim(tc *tls.Conn, limit int) {
	for _, offset := range [...]uintptr{rawInputOffset, handOffset} {
		if offset == noField {
			continue
		}
		b := (*bytes.Buffer)(unsafe.Add(unsafe.Pointer(tc), offset))
		if b.Len() == 0 && b.Cap() > limit {
			*b = bytes.Buffer{}
		}
	}
}
