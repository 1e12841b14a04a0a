package command

import "time"

// Limits are what a hub allows. Texts of refusals name the limit that was met.
type Limits struct {
	// MethodPayload is the largest payload of a call or its answer, in bytes.
	MethodPayload int
	// ResponseTimeout is how long a caller may wait for an answer.
	ResponseMin, ResponseMax time.Duration
	// ConnectMax is how long a caller may wait for the device to connect.
	ConnectMax time.Duration
	// CallsPerDevice and Calls bound the calls under way.
	CallsPerDevice, Calls int

	// Depth is the number of messages that may wait for one device.
	Depth int
	// MessageBytes is the largest message, as iot.Message.Size counts.
	MessageBytes int
	// TTL is how long a message lives that names no expiry, MaxTTL how long one
	// can live at most.
	TTL, MaxTTL time.Duration
	// Lock is how long a message that was received over HTTPS is hidden from
	// other receivers.
	Lock time.Duration
	// MaxDelivery is how often a message is delivered before it is given up.
	// Only deliveries that were abandoned count.
	MaxDelivery int

	// The same for feedback.
	FeedbackTTL, FeedbackLock time.Duration
	FeedbackMaxDelivery       int
}

// StrictLimits are the documented ones.
func StrictLimits() Limits {
	return Limits{
		MethodPayload: 128 << 10, ResponseMin: 5 * time.Second, ResponseMax: 300 * time.Second, ConnectMax: 300 * time.Second,
		CallsPerDevice: 100, Calls: 20_000,
		Depth: 50, MessageBytes: 64 << 10, TTL: time.Hour, MaxTTL: 48 * time.Hour, Lock: 60 * time.Second, MaxDelivery: 10,
		FeedbackTTL: time.Hour, FeedbackLock: 60 * time.Second, FeedbackMaxDelivery: 10,
	}
}

// OpenLimits are for hubs that need not refuse what the service would.
func OpenLimits() Limits {
	l := StrictLimits()
	l.MethodPayload, l.ResponseMin, l.ResponseMax, l.ConnectMax = 256<<10, time.Second, time.Hour, time.Hour
	l.CallsPerDevice, l.Calls = 1_000, 100_000
	l.Depth, l.MessageBytes, l.MaxTTL = 10_000, 256<<10, 30*24*time.Hour
	return l
}
