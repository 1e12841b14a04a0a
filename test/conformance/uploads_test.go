package conformance

import "testing"

// TestNodeUploads uploads files with the device SDK and hears of them as an
// application. The SDK asks for uploads over HTTPS whatever the transport is, at
// the host of its connection string, where a port of MQTT is in the way.
func TestNodeUploads(t *testing.T) { table(t, "uploads.js", "127.43.15.", "mqtt-ws", "http") }
