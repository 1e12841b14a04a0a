//go:build linux

package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var benchLine = regexp.MustCompile(`(?m)^BenchmarkPublishPath/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op.*?\s(\d+) allocs/op`)

// path runs the Go benchmark of the publish path: one connection, in process,
// from the bytes of the socket to the appended record.
func (b *bench) path() error {
	length := "1s"
	if b.quick {
		length = "100ms"
	}
	out, err := run(3*time.Minute, "go", "test", "-run", "^$", "-bench", "^BenchmarkPublishPath$", "-benchtime", length, "-benchmem", "./internal/door/mqttd")
	if err != nil {
		return err
	}
	lines := benchLine.FindAllStringSubmatch(string(out), -1)
	if len(lines) == 0 {
		return fmt.Errorf("no figures in the output of the benchmark:\n%s", out)
	}
	for _, l := range lines {
		ns, err := strconv.ParseFloat(l[2], 64)
		if err != nil {
			return err
		}
		allocs, err := strconv.ParseFloat(l[3], 64)
		if err != nil {
			return err
		}
		name := strings.ReplaceAll(l[1], "_", " ")
		b.report.add(figure{Case: "path", Name: name, Unit: "µs per message", Value: ns / 1000, Target: 1, AtMost: true})
		b.report.add(figure{Case: "path", Name: name, Unit: "allocations per message", Value: allocs, Target: 0, AtMost: true})
	}
	return nil
}
