package conformance

import "testing"

// TestNodeJobs schedules jobs with the service SDK.
func TestNodeJobs(t *testing.T) { table(t, "jobs.js", "127.43.9.", "mqtt") }
