package mqtt

import "testing"

// topic and payload of the size that devices send.
var hotPublish = &Publish{
	Topic:    []byte("devices/machine-1/messages/events/%24.ct=application%2Fjson&%24.ce=utf-8&alert=false"),
	Payload:  make([]byte, 150),
	QoS:      1,
	PacketID: 7,
}

func encoded(tb testing.TB, p packet, v Version) []byte {
	tb.Helper()
	b, err := p.Append(nil, v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestAllocations(t *testing.T) {
	publish := encoded(t, hotPublish, V311)
	with := *hotPublish
	with.Properties = props(func(p *Properties) {
		p.SetBytes(ContentType, []byte("application/json"))
		p.AddUser("@a", "b")
		p.AddUser("@c", "d")
	})
	publish5 := encoded(t, &with, V5)
	puback5 := encoded(t, &Ack{Type: PUBACK, PacketID: 7, Reason: QuotaExceeded}, V5)
	subscribe := encoded(t, &Subscribe{PacketID: 1, Subscriptions: []Subscription{{Filter: []byte("a/#")}}}, V311)
	var (
		p   Publish
		a   Ack
		s   Subscribe
		buf = make([]byte, 0, 1024)
	)
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"PUBLISH decode", func() error {
			h, body, _, err := Next(publish, 0)
			if err != nil {
				return err
			}
			return p.Decode(h, body, V311)
		}},
		{"PUBLISH split", func() error {
			h, body, _, err := Next(publish, 0)
			if err != nil {
				return err
			}
			_, _, _, err = SplitPublish(h, body)
			return err
		}},
		{"PUBLISH decode 5.0", func() error {
			h, body, _, err := Next(publish5, 0)
			if err != nil {
				return err
			}
			return p.Decode(h, body, V5)
		}},
		{"PUBLISH encode", func() (err error) {
			buf, err = hotPublish.Append(buf[:0], V311)
			return err
		}},
		{"PUBLISH encode 5.0", func() (err error) {
			buf, err = with.Append(buf[:0], V5)
			return err
		}},
		{"PUBACK encode", func() error {
			buf = AppendPuback(buf[:0], 7)
			return nil
		}},
		{"PUBACK decode", func() error {
			_, err := DecodePuback(buf[2:4])
			return err
		}},
		{"PUBACK decode 5.0", func() error {
			h, body, _, err := Next(puback5, 0)
			if err != nil {
				return err
			}
			return a.Decode(h, body, V5)
		}},
		{"SUBSCRIBE decode", func() error {
			_, body, _, err := Next(subscribe, 0)
			if err != nil {
				return err
			}
			return s.Decode(body, V311)
		}},
		{"malformed packet", func() error {
			if _, _, _, err := Next([]byte{0x36, 0}, 0); err == nil {
				t.Error("accepted")
			}
			return nil
		}},
	} {
		run := func() {
			if err := c.run(); err != nil {
				t.Fatal(c.name, err)
			}
		}
		if n := testing.AllocsPerRun(200, run); n > 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

func BenchmarkPublishDecode(b *testing.B) {
	in := encoded(b, hotPublish, V311)
	var p Publish
	b.ReportAllocs()
	for b.Loop() {
		h, body, _, err := Next(in, 1<<18)
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Decode(h, body, V311); err != nil {
			b.Fatal(err)
		}
	}
}

// The path of a caller that compares the topic with one that it has checked.
func BenchmarkPublishSplit(b *testing.B) {
	in := encoded(b, hotPublish, V311)
	b.ReportAllocs()
	for b.Loop() {
		h, body, _, err := Next(in, 1<<18)
		if err != nil {
			b.Fatal(err)
		}
		topic, _, _, err := SplitPublish(h, body)
		if err != nil || string(topic) != string(hotPublish.Topic) {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublishEncode(b *testing.B) {
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = hotPublish.Append(buf[:0], V311); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPubackEncode(b *testing.B) {
	buf := make([]byte, 0, 16)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendPuback(buf[:0], 7)
	}
}

func BenchmarkPubackDecode(b *testing.B) {
	in := AppendPuback(nil, 7)
	b.ReportAllocs()
	for b.Loop() {
		_, body, _, err := Next(in, 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodePuback(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConnectDecode(b *testing.B) {
	in := encoded(b, &connect{Connect{
		Version: V311, KeepAlive: 180, ClientID: []byte("dev1"),
		UserName: []byte("hub.test.local/dev1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4"),
		Password: []byte("SharedAccessSignature sr=hub.test.local%2Fdevices%2Fdev1&sig=HwcTaN9Q1gbM86KOdbl7%2FyEDk9FTSJoXsQggrH3jP7o%3D&se=1795223469"),
	}}, V311)
	var c Connect
	b.ReportAllocs()
	for b.Loop() {
		_, body, _, err := Next(in, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}
