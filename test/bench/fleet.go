//go:build linux

package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fleet is devices that answer what they are sent, all driven by one thread.
// Its methods are for that thread, but for serve and end.
type fleet struct {
	// packet takes what a device receives; body is valid until it returns.
	packet func(p *peer, first byte, body []byte) error

	peers  []*peer
	epfd   int
	events [512]unix.EpollEvent
	buf    [128 << 10]byte
	now    int64 // monotonic nanoseconds of the newest wake-up

	ended   atomic.Bool
	running sync.WaitGroup
	err     error // after running
}

// peer is one device of a fleet.
type peer struct {
	index int
	fd    int
	in    []byte // the beginning of a packet
	out   []byte // what is to be sent
	armed bool   // the socket was full
}

// newFleet connects a device for each login and subscribes it to the filters,
// with QoS 1 for cloud-to-device messages and QoS 0 for the rest, as the
// public SDKs do.
func newFleet(to netip.AddrPort, logins []login, filters func(l login) []string) (f *fleet, err error) {
	f = &fleet{}
	if f.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	for i, l := range logins {
		fd, err := dialRaw(to, netip.Addr{}, connectPacket(l))
		if err != nil {
			return nil, fmt.Errorf("device %d of %d: %w", i+1, len(logins), err)
		}
		p := &peer{index: i, fd: fd}
		f.peers = append(f.peers, p)
		if err := subscribe(fd, filters(l)); err != nil {
			return nil, err
		}
		if err := errors.Join(
			unix.SetNonblock(fd, true),
			unix.EpollCtl(f.epfd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}),
		); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *fleet) close() {
	for _, p := range f.peers {
		_ = unix.Close(p.fd)
	}
	_ = unix.Close(f.epfd)
}

// serve lets the devices work on a thread of their own until end.
func (f *fleet) serve() {
	f.running.Go(func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for !f.ended.Load() && f.err == nil {
			f.err = f.step(50)
		}
	})
}

// end waits for the devices to stop and disconnects them.
func (f *fleet) end() error {
	f.ended.Store(true)
	f.running.Wait()
	f.close()
	return f.err
}

// step serves the devices that have something, waiting up to timeout
// milliseconds.
func (f *fleet) step(timeout int) error {
	n, err := unix.EpollWait(f.epfd, f.events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("epoll: %w", err)
	}
	f.now = monotonic()
	for i := range max(n, 0) {
		e := &f.events[i]
		p := f.peers[e.Fd]
		if e.Events&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			if err := f.read(p); err != nil {
				return err
			}
		}
		if err := f.flush(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) read(p *peer) error {
	n, err := unix.Read(p.fd, f.buf[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("device %d: read: %w", p.index, err)
	}
	if n == 0 {
		return fmt.Errorf("device %d: the server closed the connection", p.index)
	}
	b := f.buf[:n]
	if len(p.in) > 0 {
		p.in = append(p.in, b...)
		b = p.in
	}
	for len(b) > 0 {
		first, body, size := nextPacket(b)
		if size == 0 {
			break
		}
		if err := f.packet(p, first, body); err != nil {
			return fmt.Errorf("device %d: %w", p.index, err)
		}
		b = b[size:]
	}
	p.in = append(p.in[:0], b...)
	return nil
}

// flush sends what there is to send.
func (f *fleet) flush(p *peer) error {
	if len(p.out) == 0 {
		return nil
	}
	n, err := unix.Write(p.fd, p.out)
	if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("device %d: write: %w", p.index, err)
	}
	p.out = p.out[:copy(p.out, p.out[max(n, 0):])]
	if full := len(p.out) > 0; full != p.armed {
		p.armed = full
		events := uint32(unix.EPOLLIN)
		if full {
			events |= unix.EPOLLOUT
		}
		return unix.EpollCtl(f.epfd, unix.EPOLL_CTL_MOD, p.fd, &unix.EpollEvent{Events: events, Fd: int32(p.index)})
	}
	return nil
}

// nextPacket takes the first packet of b; size is 0 when it is not whole yet.
func nextPacket(b []byte) (first byte, body []byte, size int) {
	n, shift := 0, 0
	for i := 1; i < len(b) && i < 5; i++ {
		n |= int(b[i]&0x7f) << shift
		shift += 7
		if b[i] < 0x80 {
			if len(b) < i+1+n {
				return 0, nil, 0
			}
			return b[0], b[i+1 : i+1+n], i + 1 + n
		}
	}
	return 0, nil, 0
}

// published takes a PUBLISH apart; id is 0 with QoS 0.
func published(first byte, body []byte) (topic, payload []byte, id uint16, err error) {
	if first>>4 != 3 || len(body) < 2 {
		return nil, nil, 0, fmt.Errorf("want PUBLISH, got packet type %d", first>>4)
	}
	n := 2 + int(body[0])<<8 + int(body[1])
	if len(body) < n {
		return nil, nil, 0, errors.New("a PUBLISH that ends in its topic")
	}
	topic, payload = body[2:n], body[n:]
	if first&6 != 0 {
		if len(payload) < 2 {
			return nil, nil, 0, errors.New("a PUBLISH without its packet identifier")
		}
		id, payload = uint16(payload[0])<<8|uint16(payload[1]), payload[2:]
	}
	return topic, payload, id, nil
}

// appendPublish writes a PUBLISH of QoS 0.
func appendPublish(dst []byte, topic string, payload []byte) []byte {
	dst = remaining(append(dst, 0x30), 2+len(topic)+len(payload))
	return append(mqttString(dst, topic), payload...)
}

// subscribe asks for the filters on a blocking socket and waits for the SUBACK.
func subscribe(fd int, filters []string) error {
	body := []byte{0, 1}
	for _, filter := range filters {
		body = mqttString(body, filter)
		qos := byte(0)
		if filter[0] != '$' {
			qos = 1
		}
		body = append(body, qos)
	}
	if _, err := unix.Write(fd, append(remaining([]byte{0x82}, len(body)), body...)); err != nil {
		return fmt.Errorf("send SUBSCRIBE: %w", err)
	}
	ack := make([]byte, 4+len(filters))
	for have := 0; have < len(ack); {
		n, err := retry(func() (int, error) { return unix.Read(fd, ack[have:]) })
		if err != nil || n == 0 {
			return fmt.Errorf("no SUBACK: %w", errors.Join(err, errConnack))
		}
		have += n
	}
	for _, code := range ack[4:] {
		if ack[0] != 0x90 || code > 1 {
			return fmt.Errorf("want SUBACK, got % x", ack)
		}
	}
	return nil
}
