package iothub

import (
	"strings"
	"testing"

	"dunlin/internal/compattest"
)

// TestCompat holds docs/compat and the tests that rows name to the tables.
func TestCompat(t *testing.T) {
	const dir = "internal/api/iothub"
	compattest.Check(t, dir, &compattest.Page{
		File: "iothub-rest.md", Title: "REST for applications",
		About: "What back-end applications can call on port 443, with a `SharedAccessSignature` of a shared access policy that has the permission named. " +
			"Fixed words of paths are taken in any case and with or without a slash at the end. A path that is known here but called with another method answers 405; " +
			"one that is not part of this version answers 403 `OperationNotAvailableInCurrentTier`.",
		Columns: []string{"method", "path", "permission", "api-version"},
		Rows:    append(compatRows(operations[:], false), compatRows(missing[:], true)...),
	})
	compattest.Check(t, dir, &compattest.Page{
		File: "iothub-device-https.md", Title: "HTTPS for devices",
		About: "What devices and modules can call on port 443, with a `SharedAccessSignature` of their own key, a client certificate, or a token of a policy with the permission " +
			"`DeviceConnect`. A device that calls is not connected: `connectionState` stays, `lastActivityTime` moves.",
		Columns: []string{"method", "path", "permission", "api-version"},
		Rows:    compatRows(deviceOperations[:], false),
	})
}

func compatRows(table []operation, missing bool) []compattest.Row {
	rows := make([]compattest.Row, len(table))
	for i, op := range table {
		versions := op.since + " and later"
		if op.since == versionAny {
			versions = "any"
		}
		rows[i] = compattest.Row{
			Cells:   []string{op.method, "`" + strings.ReplaceAll(op.path, "|", `\|`) + "`", op.need.String(), versions},
			Missing: missing, Tests: op.test,
		}
	}
	return rows
}
