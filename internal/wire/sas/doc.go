// Package sas is the codec of shared access signatures, the text that devices
// and applications prove themselves with:
//
//	SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]
//
// It parses, verifies and makes them. Which key belongs to a token, and
// whether its owner may act, is for the caller to decide:
//
//	t, err := sas.Parse(text)             // err tells a developer what is wrong with the text
//	key := keyOf(t.Policy())              // "" means the key of the device itself
//	ok := t.Verify(key) && !t.Expired(now) && t.Covers("hub.example/devices/d1")
//
// A Token holds strings that share the memory of the text.
package sas
