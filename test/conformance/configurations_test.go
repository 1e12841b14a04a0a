package conformance

import "testing"

// TestNodeConfigurations keeps automatic device configurations with the service
// SDK.
func TestNodeConfigurations(t *testing.T) { table(t, "configurations.js", "127.43.14.", "https") }
