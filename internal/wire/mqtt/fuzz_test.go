package mqtt

import (
	"bytes"
	"errors"
	"testing"
)

// Each decoder has its fuzz test: no panic, nothing allocated beyond a
// multiple of the input, and what decodes encodes and decodes to the same.

func seed(f *testing.F, t Type) {
	f.Helper()
	for _, s := range samples {
		h, body, _, err := Next([]byte(s.bytes), 0)
		if err != nil {
			f.Fatal(err)
		}
		if h.Type == t {
			f.Add(h.Flags, body, s.v == V5)
		}
	}
	for _, b := range breaches {
		if h, body, n, err := Next([]byte(b.packet), 0); err == nil && n > 0 && h.Type == t {
			f.Add(h.Flags, body, b.v == V5)
		}
	}
}

func fuzzBody(f *testing.F, t Type) {
	f.Helper()
	seed(f, t)
	f.Fuzz(func(t2 *testing.T, flags byte, body []byte, five bool) {
		h := Header{Type: t, Flags: flags & 15}
		if h.check() != nil {
			return
		}
		v := V311
		if five {
			v = V5
		}
		roundTrip(t2, h, body, v)
		if p, err := decode(h, body, v); p != nil {
			bounded(t2, p, err, len(body))
		}
	})
}

// bounded checks the lists of a packet, whether it was refused or not. An
// entry takes at least two bytes of the body, and append at most doubles.
func bounded(t *testing.T, p packet, err error, n int) {
	t.Helper()
	var total int
	count := func(p *Properties) { total += cap(p.User) + cap(p.SubscriptionIDs) }
	switch p := p.(type) {
	case *connect:
		count(&p.Properties)
		count(&p.Will.Properties)
	case *Publish:
		count(&p.Properties)
	case *Subscribe:
		count(&p.Properties)
		total += cap(p.Subscriptions)
	case *Unsubscribe:
		count(&p.Properties)
		total += cap(p.Filters)
	case *Suback:
		count(&p.Properties)
	}
	if total > n+8 {
		t.Errorf("%T of %d bytes holds %d entries (error %v)", p, n, total, err)
	}
}

func FuzzConnect(f *testing.F)     { fuzzBody(f, CONNECT) }
func FuzzConnack(f *testing.F)     { fuzzBody(f, CONNACK) }
func FuzzPublish(f *testing.F)     { fuzzBody(f, PUBLISH) }
func FuzzPuback(f *testing.F)      { fuzzBody(f, PUBACK) }
func FuzzPubrec(f *testing.F)      { fuzzBody(f, PUBREC) }
func FuzzPubrel(f *testing.F)      { fuzzBody(f, PUBREL) }
func FuzzPubcomp(f *testing.F)     { fuzzBody(f, PUBCOMP) }
func FuzzSubscribe(f *testing.F)   { fuzzBody(f, SUBSCRIBE) }
func FuzzSuback(f *testing.F)      { fuzzBody(f, SUBACK) }
func FuzzUnsubscribe(f *testing.F) { fuzzBody(f, UNSUBSCRIBE) }
func FuzzUnsuback(f *testing.F)    { fuzzBody(f, UNSUBACK) }
func FuzzDisconnect(f *testing.F)  { fuzzBody(f, DISCONNECT) }
func FuzzAuth(f *testing.F)        { fuzzBody(f, AUTH) }

// FuzzNext cuts a stream into packets twice, once whole and once byte by byte,
// and expects the same packets and the same end.
func FuzzNext(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s.bytes), 1000)
	}
	f.Add([]byte("\xc0\x00\xc0\x00\x30\x80\x80\x00"), 0)
	f.Add([]byte("\x30\xff\xff\xff\xff\x7f"), 100)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		limit = max(limit, 0)
		for whole := b; ; {
			h, body, n, err := Next(whole, limit)
			// The same decision must fall with as many bytes as it needs.
			for i := range len(whole) {
				h2, body2, n2, err2 := Next(whole[:i], limit)
				if n2 == 0 && err2 == nil {
					continue
				}
				if n2 != n || !errors.Is(err2, err) || h2 != h || !bytes.Equal(body2, body) {
					t.Fatalf("%q: after %d bytes %v %q %d %v, with all %v %q %d %v", whole, i, h2, body2, n2, err2, h, body, n, err)
				}
				break
			}
			var pe *ProtocolError
			if err != nil && (!errors.As(err, &pe) || n != 0 || body != nil) {
				t.Fatalf("%q: %d %q %v", whole, n, body, err)
			}
			if n == 0 {
				return
			}
			if n < 2 || n > len(whole) || limit > 0 && n > limit || len(body) > n-2 || !bytes.HasSuffix(whole[:n], body) {
				t.Fatalf("%q: takes %d, body %q", whole, n, body)
			}
			for _, v := range []Version{V311, V5} {
				roundTrip(t, h, body, v)
			}
			whole = whole[n:]
		}
	})
}

// FuzzText compares the fast checks of texts with the plain ones.
func FuzzText(f *testing.F) {
	for _, s := range []string{"", "a/+/b", "#", "devices/d/messages/events/%24.ct=a", "\xed\xa0\x80", "ä\x00", "12345678+"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkTopic(b, errTopicUTF8); (CheckTopic(b) == nil) != (err == nil) {
			t.Errorf("CheckTopic(%q) = %v, plain %v", b, CheckTopic(b), err)
		}
		if CheckTopic(b) == nil && (CheckFilter(b) != nil || !ValidString(b)) {
			t.Errorf("topic %q is no filter or no string", b)
		}
		if CheckFilter(b) == nil && bytes.IndexByte(b, '#') >= 0 && bytes.IndexByte(b, '#') != len(b)-1 {
			t.Errorf("filter %q", b)
		}
	})
}
