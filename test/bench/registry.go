//go:build linux

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dunlin/internal/wire/sas"
)

// registry loads a million devices and compares what the registry does with
// that many to what it does with ten thousand.
func (b *bench) registry() error {
	small, large := 10_000, 1_000_000
	if b.quick {
		small, large = 1000, 10_000
	}
	h, err := b.devices(small)
	if err != nil {
		return err
	}
	s, err := h.serve()
	if err != nil {
		return err
	}
	defer s.stop()
	few, err := b.registryAt(s, h)
	if err != nil {
		return fmt.Errorf("with %d devices: %w", small, err)
	}
	m := measure(s.process)
	if err := h.create(large-small, "l-"); err != nil {
		return err
	}
	c := m.end(b.cores)
	many, err := b.registryAt(s, h)
	if err != nil {
		return fmt.Errorf("with %d devices: %w", large, err)
	}
	rss, _ := s.memory()
	add := func(fig, unit string, v, target float64, atMost bool) {
		b.report.add(figure{Case: "registry", Name: fig, Unit: unit, Value: v, Target: target, AtMost: atMost, Noise: c.noise})
	}
	// "As fast" leaves room for what two short windows differ by.
	const slack = 1.25
	add("bulk load", "devices per second", float64(large-small)/c.seconds, 0, false)
	add("bulk load", "devices per CPU-second of the server", float64(large-small)/max(c.total(), 1e-9), 0, false)
	add(fmt.Sprintf("point read p50 with %d", small), "ms", few.read.quantile(0.5), 0, false)
	add(fmt.Sprintf("point read p50 with %d", large), "ms", many.read.quantile(0.5), slack*few.read.quantile(0.5), true)
	add(fmt.Sprintf("point read p99 with %d", large), "ms", many.read.quantile(0.99), 0, false)
	add(fmt.Sprintf("page of 1,000 p50 with %d", small), "ms", few.list.quantile(0.5), 0, false)
	add(fmt.Sprintf("page of 1,000 p50 with %d", large), "ms", many.list.quantile(0.5), slack*few.list.quantile(0.5), true)
	add(fmt.Sprintf("authentications with %d", small), perCPU, few.auth, 0, false)
	add(fmt.Sprintf("authentications with %d", large), perCPU, many.auth, few.auth/slack, false)
	add("resident afterwards", "MiB", float64(rss)/(1<<20), 0, false)
	return nil
}

type registryFigures struct {
	read, list histogram
	auth       float64 // per CPU-second
}

// registryAt measures with the devices that are there now, picked at random.
func (b *bench) registryAt(s *server, h *hub) (f registryFigures, err error) {
	reads, lists, auths := 4000, 40, 4000
	if b.quick {
		reads, lists, auths = 200, 5, 200
	}
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func() deviceKey { return h.keys[rng.IntN(len(h.keys))] }

	_, policy, _ := strings.Cut(h.info.Hub.ConnectionStrings["iothubowner"], "SharedAccessKey=")
	key, err := sas.ParseKey(policy)
	if err != nil {
		return f, fmt.Errorf("policy iothubowner: %w", err)
	}
	token := sas.Sign(h.info.HostName, key, time.Now().Add(time.Hour), "iothubowner")
	conf := s.conf.Clone()
	conf.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	get := func(path string, h2 *histogram) error {
		req, err := http.NewRequest(http.MethodGet, "https://"+loopback(h.ports[2]).String()+path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", token)
		began := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, resp.Body)
		h2.add(time.Since(began))
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || n == 0 {
			return fmt.Errorf("GET %s: %s", path, resp.Status)
		}
		return nil
	}
	var warm histogram
	for range reads / 10 {
		if err := get("/devices/"+pick().id+"?api-version=2021-04-12", &warm); err != nil {
			return f, err
		}
	}
	for range reads {
		if err := get("/devices/"+pick().id+"?api-version=2021-04-12", &f.read); err != nil {
			return f, err
		}
	}
	for range lists {
		if err := get("/devices?top=1000&api-version=2021-04-12", &f.list); err != nil {
			return f, err
		}
	}

	packets := make([][]byte, auths)
	for i := range packets {
		packets[i] = connectPacket(h.login(pick()))
	}
	errs := make([]error, auths)
	m := measure(s.process)
	parallel(auths, 8, func(i int) {
		fd, err := dialRaw(s.plain, netip.Addr{}, packets[i])
		if errs[i] = err; err == nil {
			_ = unix.Close(fd)
		}
	})
	time.Sleep(afterwork)
	c := m.end(b.cores)
	f.auth = float64(auths) / max(c.total(), 1e-9)
	return f, errors.Join(firstFew(errs)...)
}
