// Package simulate is a fleet of devices in one process: each is a real MQTT
// client with its own connection, credentials, clock and payload, and keeps
// the promise that a device is expected to keep: with QoS 1 nothing is
// forgotten before it is acknowledged, and what was not acknowledged is sent
// again, in order, after a reconnect. It talks to a hub only through its
// ports, so it works against any server that speaks the same protocol.
//
// Run is the entry; Config is shaped like the flags of `dunlin simulate`.
// Payloads come from a Template or from a recorded CSV file.
package simulate
