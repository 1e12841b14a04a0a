package simulate

import "time"

// flight holds the QoS 1 messages of one device that are not acknowledged
// yet, in the order of sending. Packet identifiers are given out in a row, so
// an acknowledgement finds its message by arithmetic.
type flight struct {
	ring []message // length a power of two
	head int
	n    int
	last int // identifier given out last
}

// message is one PUBLISH. Its buffer is reused when it has left the flight.
type message struct {
	packet []byte    // whole packet
	at     time.Time // latest transmission
	acked  bool
}

const identifiers = 65535 // 1 to 65535; 0 is not allowed [MQTT-2.3.1-1]

// push makes room for a message and gives its identifier. The caller fills in
// the packet.
func (f *flight) push() (*message, uint16) {
	if f.n == len(f.ring) {
		bigger := make([]message, max(4, 2*len(f.ring)))
		for i := range f.n {
			bigger[i] = *f.at(i)
		}
		f.ring, f.head = bigger, 0
	}
	m := f.at(f.n)
	f.n++
	f.last = f.last%identifiers + 1
	*m = message{packet: m.packet[:0]}
	return m, uint16(f.last)
}

// pop takes back the message that was pushed last.
func (f *flight) pop() {
	f.n--
	f.last = (f.last+identifiers-2)%identifiers + 1
}

// at gives the i-th oldest message.
func (f *flight) at(i int) *message { return &f.ring[(f.head+i)&(len(f.ring)-1)] }

// ack settles one message and gives the time of its latest transmission; ok
// is false when no such message waits.
func (f *flight) ack(id uint16) (sent time.Time, ok bool) {
	// The newest message, number n-1, has identifier last.
	back := (f.last - int(id) + identifiers) % identifiers
	i := f.n - 1 - back
	if id == 0 || i < 0 || f.at(i).acked {
		return time.Time{}, false
	}
	m := f.at(i)
	m.acked, sent = true, m.at
	for f.n > 0 && f.at(0).acked {
		f.head = (f.head + 1) & (len(f.ring) - 1)
		f.n--
	}
	return sent, true
}
