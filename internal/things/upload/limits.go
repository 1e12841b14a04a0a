package upload

import "time"

// Limits are what a hub allows. Texts of refusals name the limit that was met.
type Limits struct {
	// Open is the number of uploads that a device may have begun and not ended.
	Open int
	// TTL is how long an upload may take, and its address is good.
	TTL time.Duration
	// Notify says whether uploads are told to applications; NotifyTTL how long
	// a notification waits, NotifyLock how long one that was received is
	// hidden from other receivers, NotifyMaxDelivery how often it may be
	// abandoned before it is given up.
	Notify            bool
	NotifyTTL         time.Duration
	NotifyLock        time.Duration
	NotifyMaxDelivery int
}

// StrictLimits are the documented ones.
func StrictLimits() Limits {
	return Limits{
		Open: 10, TTL: time.Hour,
		Notify: true, NotifyTTL: time.Hour, NotifyLock: 60 * time.Second, NotifyMaxDelivery: 10,
	}
}

// maxName is the longest name of a blob that a device may give, in characters.
const maxName = 1024

// answerFor is how long an upload that has expired is remembered, to say so.
const answerFor = 24 * time.Hour
