package apptest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// window is how many messages a sender has on the way.
const window = 64

// flood sends numbered messages until the connection ends and gives how many
// were acknowledged, in order and without a gap.
func flood(c *device.Conn, id string) (acked int, err error) {
	free := make(chan struct{}, window)
	ended := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case free <- struct{}{}:
			case <-ended:
				return
			}
			body := fmt.Appendf(nil, `{"n":%d}`, n)
			bag := "%24.ct=application%2Fjson&%24.ce=utf-8"
			if c.Send(device.Message(device.EventsTopic(id)+bag, body, 1, uint16(n%60000)+1)) != nil {
				return
			}
		}
	}()
	defer close(ended)
	for {
		p, err := c.Receive(30 * time.Second)
		if err != nil {
			return acked, nil // the end that the test waits for
		}
		got, err := device.Ack(p)
		if err != nil {
			return acked, err
		}
		if want := uint16(acked%60000) + 1; got != want {
			return acked, fmt.Errorf("PUBACK %d, want %d", got, want)
		}
		acked++
		<-free
	}
}

// TestSIGTERMWhileDevicesSend: the instance ends in time and in order. What it
// has read is stored and acknowledged before the connections close, so each
// device has heard of exactly what is in the log.
func TestSIGTERMWhileDevicesSend(t *testing.T) {
	s := harness.Start(t, harness.Options{Plain: true})
	const devices = 12
	acked := make([]int, devices)
	errs := make([]error, devices)
	var senders sync.WaitGroup
	for n := range devices {
		id := fmt.Sprintf("d%d", n)
		key := s.Device(id)
		addr, config := s.MQTTAddr(), s.TLS()
		if n%2 == 1 {
			addr, config = s.PlainAddr(), nil
		}
		c, err := device.Dial(t.Context(), addr, config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Hello(device.HelloFor(s.Info.HostName, id, key)); err != nil {
			t.Fatal(err)
		}
		senders.Go(func() { acked[n], errs[n] = flood(c, id) })
	}
	time.Sleep(time.Second) // under load
	began := time.Now()
	if err := s.Stop(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	t.Logf("ended %s after SIGTERM", time.Since(began).Round(time.Millisecond))
	senders.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	stored := map[string]int{}
	for _, e := range s.Tail() {
		want := fmt.Sprintf(`{"n":%d}`, stored[e.DeviceID])
		if string(e.Payload()) != want {
			t.Fatalf("%s: %s, want %s", e.DeviceID, e.Payload(), want)
		}
		stored[e.DeviceID]++
	}
	total := 0
	for n := range devices {
		id := fmt.Sprintf("d%d", n)
		if acked[n] == 0 || stored[id] != acked[n] {
			t.Errorf("%s: %d acknowledged, %d stored", id, acked[n], stored[id])
		}
		total += acked[n]
	}
	t.Logf("%d messages acknowledged", total)
}
