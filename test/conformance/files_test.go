package conformance

import "testing"

// TestNodeFiles uploads files with the device SDK. It asks for them over HTTPS
// whatever the transport is, at the host of its connection string, where a port
// of MQTT is in the way.
func TestNodeFiles(t *testing.T) { table(t, "files.js", "127.43.11.", "mqtt-ws", "http") }
