//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// bench is one run: what the cases share.
type bench struct {
	bin, dir string
	cores    int
	quick    bool
	warm     time.Duration
	window   time.Duration
	report   report
	profile  profiler
	hubs     int // made so far
}

// benchCase is one thing that can be asked for with -only.
type benchCase struct {
	name, about string
	run         func(b *bench) error
}

var cases = []benchCase{
	{"path", "publish path of one connection, in process", (*bench).path},
	{"closed100", "closed loop, QoS 1, 150 bytes, 100 connections x 16 in flight", func(b *bench) error { return b.closed("closed100", 100, 16, false) }},
	{"closed1000", "the same, 1,000 connections x 4 in flight", func(b *bench) error { return b.closed("closed1000", 1000, 4, false) }},
	{"closed100tls", "closed100 over TLS", func(b *bench) error { return b.closed("closed100tls", 100, 16, true) }},
	{"closed1000tls", "closed1000 over TLS", func(b *bench) error { return b.closed("closed1000tls", 1000, 4, true) }},
	{"paced10k", "10,000 messages per second over 100 connections, one consumer of the log", func(b *bench) error { return b.paced("paced10k", 10_000) }},
	{"paced20k", "20,000 messages per second", func(b *bench) error { return b.paced("paced20k", 20_000) }},
	{"paced40k", "40,000 messages per second", func(b *bench) error { return b.paced("paced40k", 40_000) }},
	{"idle", "19,000 connections that do nothing, plain", func(b *bench) error { return b.idle("idle", false) }},
	{"idletls", "the same over TLS", func(b *bench) error { return b.idle("idletls", true) }},
	{"slowreader", "4 peers that never read, among 100 devices at 10,000 messages per second", (*bench).slowReader},
	{"slowdisk", "a disk that takes 100 ms to sync, under a flood", (*bench).slowDisk},
	{"patches", "reported-property patches over MQTT, 1,000 devices, closed loop with 1 and 8 in flight, SQLite", func(b *bench) error { return b.patches("patches", false, 30_000) }},
	{"patchespg", "the same on PostgreSQL", func(b *bench) error { return b.patches("patchespg", true, 40_000) }},
	{"desired", "1,000 changes of desired properties per second over REST to 1,000 connected devices", (*bench).desired},
	{"methods", "1,000 direct method calls per second over REST to 1,000 connected devices", (*bench).methods},
	{"c2d", "cloud-to-device messages over REST to 1,000 connected devices, closed loop of 128 senders", (*bench).commands},
	{"query", "queries over a million twins", (*bench).query},
	{"registry", "a million devices: bulk load, point read, list page, authentication", (*bench).registry},
}

func main() {
	only := flag.String("only", "", "measure only the cases whose names `begin` so (several with commas)")
	quick := flag.Bool("quick", false, "a smoke test: short windows, few connections")
	file := flag.String("json", "bin/bench.json", "write the figures to this `file`; empty for none")
	before := flag.String("before", "", "show the figures of this `file`, which -json of an earlier run has written, beside the new ones")
	profiles := flag.String("profile", "", "write CPU profiles of the server to this `directory`")
	list := flag.Bool("list", false, "list the cases and stop")
	flag.Parse()
	if *list {
		for _, c := range cases {
			fmt.Printf("%-14s %s\n", c.name, c.about)
		}
		return
	}
	if err := measureAll(*only, *quick, *file, *before, *profiles); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measureAll(only string, quick bool, file, before, profiles string) (err error) {
	// Children are killed with the thread that started them, so one thread
	// starts them all and stays.
	runtime.LockOSThread()
	dir, err := os.MkdirTemp("", "dunlin-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &bench{
		bin: os.Getenv("DUNLIN_BIN"), dir: dir, cores: runtime.NumCPU(), quick: quick,
		warm: 700 * time.Millisecond, window: 3 * time.Second,
	}
	b.profile.dir = profiles
	if quick {
		b.warm, b.window = 300*time.Millisecond, time.Second
	}
	if b.bin == "" {
		b.bin = filepath.Join(dir, "dunlin")
		if out, err := exec.Command("go", "build", "-o", b.bin, "./cmd/dunlin").CombinedOutput(); err != nil {
			return fmt.Errorf("go build ./cmd/dunlin: %w\n%s", err, out)
		}
	}
	b.report = report{Time: time.Now().UTC(), Cores: b.cores, Quick: quick, Failed: map[string]string{}}
	if before != "" {
		if err := b.report.compareWith(before); err != nil {
			return err
		}
	}
	ran := 0
	for _, c := range cases {
		if !wanted(c.name, only) {
			continue
		}
		ran++
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", time.Now().Format("15:04:05"), c.name, c.about)
		if err := errors.Join(c.run(b), b.profile.end()); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", c.name, err)
			b.report.Failed[c.name] = err.Error()
		}
	}
	if ran == 0 {
		return fmt.Errorf("no case begins with %q; -list shows them", only)
	}
	if err := b.report.print(os.Stdout); err != nil {
		return err
	}
	if file != "" {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), b.report.save(file)); err != nil {
			return err
		}
	}
	if len(b.report.Failed) > 0 {
		return fmt.Errorf("%d of %d cases could not be measured", len(b.report.Failed), ran)
	}
	return nil
}

// wanted tells whether a case is among those asked for, by its name or, when
// no case has that name, by the beginning of its name.
func wanted(name, only string) bool {
	for p := range strings.SplitSeq(only, ",") {
		exact := slices.ContainsFunc(cases, func(c benchCase) bool { return c.name == p })
		if name == p || (!exact && strings.HasPrefix(name, p)) {
			return true
		}
	}
	return false
}

// devices makes a hub with n devices, and with nothing in its log, for one
// case. The server is not running; it will start fresh.
func (b *bench) devices(n int, args ...string) (*hub, error) {
	b.hubs++
	dir := filepath.Join(b.dir, "hub-"+strconv.Itoa(b.hubs))
	if err := os.RemoveAll(filepath.Join(b.dir, "hub-"+strconv.Itoa(b.hubs-1))); err != nil {
		return nil, err
	}
	h, err := newHub(b.bin, dir)
	if err != nil {
		return nil, err
	}
	h.args = args
	s, err := h.serve()
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if n == 0 {
		return h, nil
	}
	return h, h.create(n, "b-")
}
