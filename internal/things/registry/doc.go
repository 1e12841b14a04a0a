// Package registry owns the identities of the hub: devices and their modules
// with keys, thumbprints, status and scopes, and the device CA certificates.
// It creates, changes, lists and counts them under the rules of ETags, and it
// decides whether what a connecting device shows proves that it is one.
//
// The store is the truth: there is no copy of devices in memory, so several
// nodes may share it. Who is connected is presence's to know; the registry
// only stores what presence tells it, for the time after a restart.
package registry
