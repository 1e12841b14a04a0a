package mqttd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/wire/mqtt"
)

// Requests of the connection that wait for their answer: reading stops at the
// first number and goes on at the second.
const (
	mostRequests = 64
	lessRequests = 32
)

var prefixRequest = []byte("$iothub/")

// request takes a PUBLISH to a topic under $iothub.
func (s *session) request(topic, payload []byte, packetID uint16) error {
	t := string(topic)
	head, query, ok := strings.Cut(t, "?")
	if !ok {
		return foreignTopic(s.telemetry, topic)
	}
	args, err := parseArgs(query)
	if err != nil {
		return err
	}
	op, tail := requestOf(head)
	if op == nil {
		return foreignTopic(s.telemetry, topic)
	}
	if err := op.request(s, requested{args: args, tail: tail, payload: payload}); err != nil {
		return err
	}
	if packetID != 0 {
		s.acknowledgeRequest(packetID)
	}
	return nil
}

// requested is one request.
type requested struct {
	args
	tail    string // of the topic, before the question mark
	payload []byte // a view of the read buffer
}

func (s *session) getTwin(r requested) error {
	s.await()
	rid := r.rid
	s.dev.Twin(func(doc []byte, err error) { s.answerTwin(rid, 200, 0, doc, err) })
	return nil
}

func (s *session) reportTwin(r requested) error {
	s.await()
	rid := r.rid
	s.dev.Report(r.payload, r.version, func(version int64, err error) { s.answerTwin(rid, 204, version, nil, err) })
	return nil
}

func (s *session) replyMethod(r requested) error {
	text := strings.TrimSuffix(r.tail, "/")
	status, err := strconv.Atoi(text)
	if err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "the status %q of a method answer is no integer", text[:min(len(text), 32)])
	}
	s.dev.Reply([]byte(r.rid), status, r.payload)
	return nil
}

// args are what follows the question mark of a request topic. The request id
// is the device's own and goes back as it came.
type args struct {
	rid     string
	version int64 // 0 when absent
}

func parseArgs(query string) (a args, err error) {
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		switch name {
		case "$rid":
			a.rid = value
		case "$version":
			if a.version, err = strconv.ParseInt(value, 10, 64); err != nil || a.version < 1 {
				return a, iot.Errorf(iot.ArgumentInvalid, "$version=%.32s in the topic is not a version", value)
			}
		}
	}
	if a.rid == "" {
		return a, iot.Errorf(iot.ArgumentInvalid, "the topic of a request must name it: ?$rid=1")
	}
	return a, nil
}

// await counts a request that will be answered later.
func (s *session) await() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests++; s.requests >= mostRequests {
		s.hold(heldByRequests)
	}
}

// answerTwin sends the answer to a twin request, on any goroutine.
func (s *session) answerTwin(rid string, status int, version int64, doc []byte, err error) {
	if err != nil {
		status, version = iot.CodeOf(err).Status(), 0
		doc = errorBody(err)
	}
	topic := strconv.AppendInt([]byte(topicAnswer), int64(status), 10)
	topic = append(append(topic, "/?$rid="...), rid...)
	if version > 0 {
		topic = strconv.AppendInt(append(topic, "&$version="...), version, 10)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests--; s.requests < lessRequests {
		s.release(heldByRequests)
	}
	if s.ended || s.out == nil || s.out.qos[subTwin] == none {
		return // who does not listen does not hear
	}
	qos := s.out.qos[subTwin]
	s.write(&mqtt.Publish{Topic: topic, Payload: doc, QoS: qos, PacketID: s.out.nextID(qos)})
}

// errorBody is the body that clients decode an error from; Node's looks at
// nothing else.
func errorBody(err error) []byte {
	message := "the server could not do it; try again"
	if e, ok := errors.AsType[*iot.Error](err); ok {
		message = e.Message
	}
	var id [8]byte
	rand.Read(id[:])
	b, jerr := json.Marshal(struct {
		ErrorCode  int    `json:"errorCode"`
		TrackingID string `json:"trackingId"`
		Message    string `json:"message"`
		Timestamp  string `json:"timestampUtc"`
	}{int(iot.CodeOf(err)), hex.EncodeToString(id[:]), message, time.Now().UTC().Format(time.RFC3339)})
	if jerr != nil {
		return []byte(`{"errorCode":500001,"message":"server error"}`)
	}
	return b
}

// acknowledgeRequest sends the PUBACK of a request. Acknowledgements leave in
// the order of their messages [MQTT-4.6.0-2], so that of a request waits for
// the telemetry before it.
func (s *session) acknowledgeRequest(id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unsettled) == 0 {
		s.conn.Write(mqtt.AppendPuback(nil, id))
		return
	}
	s.behind = append(s.behind, behind{after: s.sent, id: id})
}

// behind is a PUBACK that waits until the first after messages are settled.
type behind struct {
	after uint64
	id    uint16
}

// isRequest reports whether a topic is one of requests.
func isRequest(topic []byte) bool { return bytes.HasPrefix(topic, prefixRequest) }
