//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a started program and what the kernel accounts to it.
type process struct {
	name   string
	cmd    *exec.Cmd
	pid    int
	log    *tailBuffer
	exited chan struct{}
}

// start runs a program that ends with this one. Its output is kept for error
// messages.
func start(name string, argv ...string) (*process, error) { return startAs(name, nil, argv...) }

// startAs is start with the rights of another user, nil for none.
func startAs(name string, who *syscall.Credential, argv ...string) (*process, error) {
	p := &process{name: name, log: &tailBuffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = cleanEnv(), p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: who}
	p.cmd.WaitDelay = 2 * time.Second // a child that lives on must not hold up the end
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.pid = p.cmd.Process.Pid
	go func() {
		_ = p.cmd.Wait() // how it ended is in the log; who waits for it knows what it expects
		close(p.exited)
	}()
	return p, nil
}

// stop asks the process to end and kills it when it does not.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(15 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func (p *process) alive() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%s has ended: %s", p.name, p.log)
	default:
		return nil
	}
}

// The kernel counts CPU time in ticks of 10 ms on every Linux.
const ticksPerSecond = 100

// cpu gives the CPU seconds that the process and its children have used, in
// user and kernel mode.
func (p *process) cpu() float64 {
	sum := 0.0
	for _, f := range statOf(p.pid)[statUser:] {
		v, _ := strconv.ParseFloat(f, 64) // ended children are in the last two
		sum += v
	}
	for _, pid := range children(p.pid) {
		for _, f := range statOf(pid)[statUser:] {
			v, _ := strconv.ParseFloat(f, 64)
			sum += v
		}
	}
	return sum / ticksPerSecond
}

// Fields of /proc/PID/stat after the name.
const (
	statParent = 1
	statUser   = 11
	statFields = statUser + 4 // user and system, of the process and of children that were waited for
)

func statOf(pid int) []string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	// The name in brackets may hold blanks; the fields after it are fixed.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if err != nil || len(f) < statFields {
		return make([]string, statFields)
	}
	return f[:statFields]
}

// children gives the processes that a process has started and that still run.
func children(pid int) (pids []int) {
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, d := range dirs {
		child, err := strconv.Atoi(d.Name())
		if err == nil && statOf(child)[statParent] == strconv.Itoa(pid) {
			pids = append(pids, child)
		}
	}
	return pids
}

// memory gives the resident bytes, now and at most so far.
func (p *process) memory() (now, peak int64) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "status"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return now, peak
}

// anonymous gives the resident bytes that belong to the process alone: not the
// pages of its program file, which the kernel reads in as they are used and
// can drop again.
func (p *process) anonymous() int64 {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "RssAnon:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// peakOf looks at a value until the function that it gives is called, which
// gives the highest.
func peakOf(value func() int64) (stop func() int64) {
	done, result := make(chan struct{}), make(chan int64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		peak := value()
		for {
			select {
			case <-tick.C:
				peak = max(peak, value())
			case <-done:
				result <- max(peak, value())
				return
			}
		}
	}()
	return func() int64 {
		close(done)
		return <-result
	}
}

// machineCPU gives the CPU seconds that all processes of the machine have used.
func machineCPU() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy float64
	for i, f := range strings.Fields(line)[1:] {
		v, _ := strconv.ParseFloat(f, 64)
		if i != 3 && i != 4 && i < 8 { // idle and waiting for disks; guests are counted in user
			busy += v
		}
	}
	return busy / ticksPerSecond
}

func selfCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// meter measures what a window of time cost.
type meter struct {
	procs         []*process
	began         time.Time
	cpu           []float64
	machine, self float64
}

// cost is the result of a meter.
type cost struct {
	seconds float64
	cpu     []float64 // CPU seconds of each process
	noise   float64   // part of the machine that others used, 0 to 1
}

func (c cost) total() (sum float64) {
	for _, v := range c.cpu {
		sum += v
	}
	return sum
}

func measure(procs ...*process) *meter {
	m := &meter{procs: procs, began: time.Now(), machine: machineCPU(), self: selfCPU()}
	for _, p := range procs {
		m.cpu = append(m.cpu, p.cpu())
	}
	return m
}

func (m *meter) end(cores int) cost {
	c := cost{seconds: time.Since(m.began).Seconds()}
	ours := selfCPU() - m.self
	for i, p := range m.procs {
		c.cpu = append(c.cpu, p.cpu()-m.cpu[i])
		ours += c.cpu[i]
	}
	c.noise = max(0, (machineCPU()-m.machine-ours)/(c.seconds*float64(cores)))
	return c
}

// tailBuffer keeps the last few kilobytes written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 4<<10; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}

// run executes a command to its end and gives its standard output.
func run(limit time.Duration, argv ...string) ([]byte, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = cleanEnv(), &out, &errs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, errs.String())
	}
	return out.Bytes(), nil
}

// cleanEnv is the environment without settings of Dunlin's own.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "DUNLIN_") })
}

var errUnavailable = errors.New("not available on this machine")
