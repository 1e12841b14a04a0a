//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// login is what one connection shows of itself.
type login struct {
	id, user, password string
	topic              string
}

func mqttString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func remaining(dst []byte, n int) []byte {
	for n >= 0x80 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

// connectPacket asks for a clean session and a keep alive that no case
// outlives.
func connectPacket(l login) []byte {
	body := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0x02, 0x04, 0x00}
	if l.user != "" {
		body[7] |= 0x80
	}
	if l.password != "" {
		body[7] |= 0x40
	}
	body = mqttString(body, l.id)
	if l.user != "" {
		body = mqttString(body, l.user)
	}
	if l.password != "" {
		body = mqttString(body, l.password)
	}
	return append(remaining([]byte{0x10}, len(body)), body...)
}

var errConnack = errors.New("no CONNACK")

func checkConnack(b []byte) error {
	if len(b) < 4 || b[0] != 0x20 || b[1] != 2 {
		return fmt.Errorf("%w: got % x", errConnack, b)
	}
	if b[3] != 0 {
		return fmt.Errorf("CONNACK %d: the server refused the connection", b[3])
	}
	return nil
}

// frame is one QoS 1 PUBLISH with a JSON payload, and where in it the packet
// identifier and the stamp stand.
type frame struct {
	bytes []byte
	idAt  int
	msAt  int
}

const (
	payloadBytes = 150
	stampDigits  = 19 // Unix nanoseconds
)

// publishFrame makes a payload of 150 bytes that begins with a stamp.
func publishFrame(topic string, device int) frame {
	payload := append([]byte(`{"t":`), make([]byte, stampDigits)...)
	payload = append(payload, `,"device":`...)
	payload = strconv.AppendInt(payload, int64(device), 10)
	payload = append(payload, `,"temperature":21.57,"humidity":44.21,"pressure":1013.25,"text":"`...)
	for len(payload) < payloadBytes-2 {
		payload = append(payload, 'x')
	}
	payload = append(payload, `"}`...)
	b := remaining([]byte{0x32}, 2+len(topic)+2+len(payload))
	b = mqttString(b, topic)
	f := frame{idAt: len(b)}
	b = append(b, 0, 0)
	f.msAt = len(b) + len(`{"t":`)
	f.bytes = append(b, payload...)
	f.stamp(1)
	return f
}

func (f *frame) setID(id uint16) { binary.BigEndian.PutUint16(f.bytes[f.idAt:], id) }

// stamp writes Unix nanoseconds as a JSON number of fixed width.
func (f *frame) stamp(ns int64) {
	for i := f.msAt + stampDigits - 1; i >= f.msAt; i-- {
		f.bytes[i] = byte('0' + ns%10)
		ns /= 10
	}
	if f.bytes[f.msAt] == '0' {
		f.bytes[f.msAt] = '1' // a JSON number has no leading zero; only closed loops come here, where nobody reads it
	}
}
