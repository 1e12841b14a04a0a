package apptest

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"dunlin/test/device"
	"dunlin/test/harness"
)

// TestMethodInvoke calls a method from the command line of a device that
// answers, with the topics of MQTT written out.
func TestMethodInvoke(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Plain: true})
	key := s.Device("thermo")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := device.Dial(ctx, s.PlainAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello(device.HelloFor("localhost", "thermo", key)); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(device.Filter(1, "$iothub/methods/POST/#", 0)); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Receive(10 * time.Second); err != nil || p.Type != device.Suback {
		t.Fatalf("SUBSCRIBE was answered with %+v, %v", p, err)
	}
	asked := make(chan string, 1)
	go func() {
		for {
			p, err := c.Receive(time.Minute)
			if err != nil || p.Type != device.Publish {
				asked <- ""
				return
			}
			n := int(p.Body[0])<<8 | int(p.Body[1])
			topic, body := string(p.Body[2:2+n]), p.Body[2+n:]
			name, rid, _ := strings.Cut(strings.TrimPrefix(topic, "$iothub/methods/POST/"), "/?$rid=")
			asked <- name + " " + string(body)
			if c.Send(device.Message("$iothub/methods/res/207/?$rid="+rid, []byte(`{"echo":`+string(body)+`}`), 0, 0)) != nil {
				return
			}
		}
	}()
	if out := s.CLI("method", "invoke", "thermo", "reboot", `{"delay":5}`); out != "status   207\npayload  {\"echo\":{\"delay\":5}}\n" {
		t.Errorf("printed %q", out)
	}
	if got := <-asked; got != `reboot {"delay":5}` {
		t.Errorf("the device was asked %q", got)
	}
	var answer struct {
		Status  int
		Payload map[string]any
	}
	out := s.CLI("method", "invoke", "thermo", "bare", "--json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Status != 207 {
		t.Errorf("printed %q: %v", out, err)
	}
	if got := <-asked; got != "bare null" {
		t.Errorf("the device was asked %q", got)
	}
}
