//go:build unix

package twin_test

import (
	"syscall"
	"testing"
	"time"
)

// cpu measures what the process used, as other work on the machine bends the
// time on the wall.
func cpu(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := used()
	return func() { b.ReportMetric(float64(used()-begin)/1e3/float64(b.N), "cpu-µs/op") }
}
