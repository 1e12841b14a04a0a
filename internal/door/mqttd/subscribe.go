package mqttd

import (
	"dunlin/internal/wire/mqtt"
)

// subscribe answers SUBSCRIBE. The one filter that can be granted today is
// the device's own inbox: nothing can be sent to it yet, but device SDKs and
// plain clients subscribe to it as a matter of course. Filters of features
// that are not there are refused one by one and the connection stays.
func (s *session) subscribe(body []byte) error {
	var p mqtt.Subscribe
	if err := p.Decode(body, mqtt.V311); err != nil {
		return err
	}
	codes := make([]byte, len(p.Subscriptions))
	for i, sub := range p.Subscriptions {
		codes[i] = mqtt.SubackFailure
		if s.filters < maxFilters && s.isInbox(sub.Filter) {
			codes[i] = min(sub.QoS, 1)
			s.filters++
		}
	}
	s.conn.Write(mqtt.AppendSuback(nil, p.PacketID, codes))
	return nil
}

func (s *session) unsubscribe(body []byte) error {
	var p mqtt.Unsubscribe
	if err := p.Decode(body, mqtt.V311); err != nil {
		return err
	}
	for _, filter := range p.Filters {
		if s.filters > 0 && s.isInbox(filter) {
			s.filters--
		}
	}
	s.conn.Write(mqtt.AppendUnsuback(nil, p.PacketID))
	return nil
}

// isInbox reports whether filter is the identity's own cloud-to-device topic.
func (s *session) isInbox(filter []byte) bool {
	id := s.dev.ID()
	return !id.IsModule() && string(filter) == "devices/"+id.Device+"/messages/devicebound/#"
}
