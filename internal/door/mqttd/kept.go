package mqttd

import (
	"sync"
	"time"

	"dunlin/internal/iot"
)

// kept are the sessions that outlive their connections [MQTT-3.1.2-4]: those of
// identities that connected with clean session 0. Of the subscriptions only
// that to cloud-to-device messages is worth keeping, as nothing else waits for
// an absent device. They are in memory: after a restart a CONNACK says that
// there was none, and clients subscribe anew.
type kept struct {
	mu       sync.Mutex
	sessions map[iot.ID]keptSession
}

type keptSession struct {
	generation uint64 // of the identity: a later one has not had this session
	messages   byte   // QoS of the subscription to messages, or none
}

// maxKept bounds the sessions, about 100 bytes each. Above it one is forgotten
// for each that comes, which its client is told as after a restart.
const maxKept = 1 << 20

// resumeAfter is how long a connection has to subscribe to messages by itself
// before those that wait are sent on the strength of its old subscription. SDKs
// acknowledge what comes before their application listens, and it is lost then.
const resumeAfter = 5 * time.Second

// open takes up the session of an identity, or begins one. Clean ends it.
func (k *kept) open(id iot.ID, generation uint64, clean bool) (s keptSession, present bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, present = k.sessions[id]
	switch {
	case clean:
		delete(k.sessions, id)
		return keptSession{messages: none}, false
	case present && s.generation == generation:
		return s, true
	}
	if !present && len(k.sessions) >= maxKept {
		for other := range k.sessions {
			delete(k.sessions, other)
			break
		}
	}
	s = keptSession{generation: generation, messages: none}
	k.sessions[id] = s
	return s, false
}

// subscribed notes the subscription to messages, none when it was ended.
func (k *kept) subscribed(id iot.ID, generation uint64, qos byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s, ok := k.sessions[id]; ok && s.generation == generation {
		s.messages = qos
		k.sessions[id] = s
	}
}
