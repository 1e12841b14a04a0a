package command

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/record"
)

// ack says on which outcomes of a message its sender wants feedback.
type ack uint8

const (
	ackPositive ack = 1
	ackNegative ack = 2
)

// AckProperty is the application property that asks for feedback.
const AckProperty = "iothub-ack"

// maxMessageID is the largest number of characters of a message id.
const maxMessageID = 128

// message is one row of the queues.
type message struct {
	seq        int64
	id         iot.ID
	generation uint64
	enqueued   int64 // Unix nanoseconds, as expires
	expires    int64
	abandoned  int
	ack        ack
	messageID  string
	content    []byte
}

func (m *message) sum() int64 {
	return int64(crc32.Checksum(m.content, crc32.MakeTable(crc32.Castagnoli)))
}

// newMessage checks a message and makes the row that keeps it.
func newMessage(id iot.ID, generation uint64, in *iot.Message, l *Limits, now time.Time) (*message, error) {
	if n := in.Size(); n > l.MessageBytes {
		return nil, iot.Errorf(iot.MessageTooLarge, "the message has %d bytes with its properties, the limit for cloud-to-device messages is %d (hub.limits.c2d-message)", n, l.MessageBytes)
	}
	m := &message{id: id, generation: generation, enqueued: now.UnixNano(), expires: now.Add(l.TTL).UnixNano()}
	// The message as the device gets it: with its destination first, which is
	// not for the sender to choose.
	out := iot.Message{Properties: in.Properties, Body: in.Body}
	out.System = append(make([]iot.SystemProperty, 0, len(in.System)+2), iot.SystemProperty{Key: iot.To, Value: []byte(destination(id))})
	for _, p := range in.System {
		switch p.Key { //nolint:exhaustive // the others are passed on as they are
		case iot.To:
			continue
		case iot.MessageID:
			m.messageID = string(p.Value)
		case iot.Expiry:
			at, err := parseExpiry(string(p.Value))
			if err != nil {
				return nil, err
			}
			if !at.After(now) {
				return nil, iot.Errorf(iot.InvalidMessageExpiry, "the message has expired at %s, the clock of the server says %s",
					at.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
			}
			if most := now.Add(l.MaxTTL); at.After(most) {
				at = most
			}
			m.expires = at.UnixNano()
		}
		out.System = append(out.System, p)
	}
	if err := checkMessageID(m.messageID); err != nil {
		return nil, err
	}
	for _, p := range in.Properties {
		if string(p.Name) != AckProperty {
			continue
		}
		var ok bool
		if m.ack, ok = parseAck(string(p.Value)); !ok {
			return nil, iot.Errorf(iot.ArgumentInvalid, "%s is '%.40s', it must be none, positive, negative or full", AckProperty, p.Value)
		}
	}
	if m.ack != 0 && m.messageID == "" {
		// Feedback names the message by its id.
		m.messageID = newMessageID()
		out.System = append(out.System, iot.SystemProperty{Key: iot.MessageID, Value: []byte(m.messageID)})
	}
	m.content = record.AppendEvent(nil, record.AppendOrigin(nil, iot.Origin{ID: id, Generation: generation}), &out)
	return m, nil
}

func destination(id iot.ID) string {
	if id.IsModule() {
		return "/devices/" + id.Device + "/modules/" + id.Module + "/messages/devicebound"
	}
	return "/devices/" + id.Device + "/messages/devicebound"
}

func newMessageID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func parseAck(s string) (ack, bool) {
	switch strings.ToLower(s) {
	case "", "none":
		return 0, true
	case "positive":
		return ackPositive, true
	case "negative":
		return ackNegative, true
	case "full":
		return ackPositive | ackNegative, true
	}
	return 0, false
}

func checkMessageID(s string) error {
	if len(s) > maxMessageID {
		return iot.Errorf(iot.ArgumentInvalid, "the message id has %d characters, the limit is %d", len(s), maxMessageID)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return iot.Errorf(iot.ArgumentInvalid, "the message id holds a character that is not printable ASCII")
		}
	}
	return nil
}

// parseExpiry takes the spellings of clients: ISO 8601 with or without a zone
// (then UTC), HTTP dates, and milliseconds since 1970.
func parseExpiry(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, form := range [...]string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04:05Z07:00", time.RFC1123, "01/02/2006 15:04:05"} {
		if t, err := time.Parse(form, s); err == nil {
			return clampTime(t), nil
		}
	}
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms > 0 {
		return clampTime(time.UnixMilli(min(ms, 1<<52))), nil
	}
	return time.Time{}, iot.Errorf(iot.InvalidMessageExpiry, "the expiry '%.40s' is not a time such as 2026-01-31T12:00:00Z", strings.ToValidUTF8(s, "?"))
}

// clampTime keeps a time within what nanoseconds can count.
func clampTime(t time.Time) time.Time {
	if t.Year() > 2200 {
		return time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if t.Year() < 1970 {
		return time.Unix(0, 0)
	}
	return t
}

// inbound is the message as it is handed to a device.
func (m *message) inbound(token iot.LockToken, again bool) (*iot.Inbound, error) {
	var e record.Event
	if err := record.Decode(m.content, &e); err != nil {
		return nil, err
	}
	if e.Origin.ID != m.id || e.Origin.Generation != m.generation {
		return nil, fmt.Errorf("the message is for %s, its row for %s", e.Origin.ID, m.id)
	}
	return &iot.Inbound{
		Kind: iot.KindMessage, Message: iot.Message{System: slices.Clip(e.System), Properties: slices.Clip(e.Properties), Body: e.Body},
		Token: token, Sequence: m.seq, DeliveryCount: m.abandoned, Redelivered: again, Enqueued: time.Unix(0, m.enqueued).UTC(),
	}, nil
}
