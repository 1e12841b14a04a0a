//go:build linux

package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// profiler fetches CPU profiles of the server while cases run. It costs the
// server a few percent, so figures of such a run are for comparing parts, not
// for keeping. Without a directory it does nothing.
type profiler struct {
	dir string
	wg  sync.WaitGroup

	mu  sync.Mutex
	err error
}

// begin profiles the server for d from now on, into the file name.pprof.
func (p *profiler) begin(name string, s *server, d time.Duration) {
	if p.dir == "" || !s.metrics.IsValid() {
		return
	}
	p.wg.Go(func() {
		if err := p.fetch(name, s, d); err != nil {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.err = fmt.Errorf("profile %s: %w", name, err)
		}
	})
}

func (p *profiler) fetch(name string, s *server, d time.Duration) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.metrics, max(int(d/time.Second), 1)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(filepath.Join(p.dir, name+".pprof"))
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, resp.Body); err != nil {
		return err
	}
	return f.Close()
}

// end waits for what has begun.
func (p *profiler) end() error {
	p.wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.err
	p.err = nil
	return err
}
