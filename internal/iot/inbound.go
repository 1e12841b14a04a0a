package iot

import (
	"encoding/hex"
	"time"
)

// Kind says what an Inbound is.
type Kind uint8

// The kinds of things that a device can be sent.
const (
	KindMessage Kind = 1 + iota // a cloud-to-device message
	KindMethod                  // a direct method request
	KindDesired                 // a change of the desired properties
)

// LockToken names one delivery of a cloud-to-device message.
type LockToken [16]byte

// String gives the form of a UUID.
func (t LockToken) String() string {
	var b [36]byte
	hex.Encode(b[:8], t[:4])
	b[8] = '-'
	hex.Encode(b[9:13], t[4:6])
	b[13] = '-'
	hex.Encode(b[14:18], t[6:8])
	b[18] = '-'
	hex.Encode(b[19:23], t[8:10])
	b[23] = '-'
	hex.Encode(b[24:], t[10:])
	return string(b[:])
}

// ParseLockToken reads the form of a UUID, with or without hyphens.
func ParseLockToken(s string) (t LockToken, ok bool) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	}
	if len(s) != 32 {
		return t, false
	}
	_, err := hex.Decode(t[:], []byte(s))
	return t, err == nil
}

// Outcome is what a device makes of a cloud-to-device message.
type Outcome uint8

// The outcomes.
const (
	Complete Outcome = iota // done: the message leaves the queue
	Abandon                 // deliver it again; counts as a delivery
	Reject                  // cannot be processed: dead-letter it
	Release                 // the connection ended: deliver it again, uncounted
)

// Inbound is one thing for a device. Which fields count depends on Kind. It is
// read-only for everybody once it was handed over, its bytes included.
type Inbound struct {
	Kind Kind

	// KindMethod
	Request string // names the call in the answer: hexadecimal digits
	Method  string
	Payload []byte // JSON; null when the caller gave none

	// KindDesired
	Version int64
	Patch   []byte // JSON object as documented: the change and "$version"

	// KindMessage
	Message       Message
	Token         LockToken
	Sequence      int64
	DeliveryCount int  // times it was abandoned before
	Redelivered   bool // an earlier connection was sent it and did not settle it
	Enqueued      time.Time
}
