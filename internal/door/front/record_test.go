package front

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"testing"
)

// A rawClient speaks the record layer of TLS 1.3 (RFC 8446 section 5) by
// itself after Go's handshake, so that it can do what Go's client does not:
// key updates, padding, empty records, records in pieces.
type rawClient struct {
	tb      testing.TB
	nc      net.Conn
	out, in halfDuplex
	piece   int // bytes per write
}

type halfDuplex struct {
	secret []byte
	seq    uint64
	aead   cipher.AEAD
	iv     []byte
}

func (h *halfDuplex) setSecret(tb testing.TB, secret []byte) {
	tb.Helper()
	h.secret, h.seq = secret, 0
	size := 16
	if len(secret) > sha256.Size {
		tb.Fatal("the test expects a suite with SHA-256")
	}
	block, err := aes.NewCipher(expand(tb, secret, "key", size))
	if err != nil {
		tb.Fatal(err)
	}
	if h.aead, err = cipher.NewGCM(block); err != nil {
		tb.Fatal(err)
	}
	h.iv = expand(tb, secret, "iv", 12)
}

// update is the next generation of keys, RFC 8446 section 7.2.
func (h *halfDuplex) update(tb testing.TB) {
	tb.Helper()
	h.setSecret(tb, expand(tb, h.secret, "traffic upd", sha256.Size))
}

func (h *halfDuplex) nonce() []byte {
	nonce := bytes.Clone(h.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, h.seq) {
		nonce[4+i] ^= b
	}
	h.seq++
	return nonce
}

// expand is HKDF-Expand-Label with an empty context.
func expand(tb testing.TB, secret []byte, label string, size int) []byte {
	tb.Helper()
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(size)), byte(len(label)))
	info = append(append(info, label...), 0)
	key, err := hkdf.Expand(sha256.New, secret, string(info), size)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func dialRaw(tb testing.TB, ts *testServer, piece int) *rawClient {
	tb.Helper()
	c := &rawClient{tb: tb, nc: ts.dialTCP(tb), piece: piece}
	config := clientTLS(tls.VersionTLS13)
	var keys bytes.Buffer
	config.KeyLogWriter = &keys
	tc := tls.Client(c.nc, config)
	if err := tc.Handshake(); err != nil {
		tb.Fatal(err)
	}
	if suite := tc.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		tb.Fatalf("cipher suite %x", suite)
	}
	for line := range strings.Lines(keys.String()) {
		fields := strings.Fields(line)
		secret, err := hex.DecodeString(fields[2])
		if err != nil {
			tb.Fatal(err)
		}
		switch fields[0] {
		case "CLIENT_TRAFFIC_SECRET_0":
			c.out.setSecret(tb, secret)
		case "SERVER_TRAFFIC_SECRET_0":
			c.in.setSecret(tb, secret)
		}
	}
	return c
}

const (
	typeHandshake   = 22
	typeApplication = 23
)

// record encrypts p as one record with so many bytes of padding.
func (c *rawClient) record(p []byte, typ byte, padding int) []byte {
	inner := append(append(bytes.Clone(p), typ), make([]byte, padding)...)
	head := binary.BigEndian.AppendUint16([]byte{typeApplication, 3, 3}, uint16(len(inner)+16))
	return c.out.aead.Seal(head, c.out.nonce(), inner, head[:5])
}

func (c *rawClient) send(p []byte) {
	for len(p) > 0 {
		n := min(len(p), c.piece)
		if _, err := c.nc.Write(p[:n]); err != nil {
			c.tb.Fatal(err)
		}
		p = p[n:]
	}
}

// read returns the bytes of the next application record, and follows the
// server's key updates.
func (c *rawClient) read() []byte {
	for {
		head := make([]byte, 5)
		if _, err := io.ReadFull(c.nc, head); err != nil {
			c.tb.Fatal(err)
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(c.nc, body); err != nil {
			c.tb.Fatal(err)
		}
		inner, err := c.in.aead.Open(nil, c.in.nonce(), body, head)
		if err != nil {
			c.tb.Fatal(err)
		}
		inner = bytes.TrimRight(inner, "\x00")
		typ := inner[len(inner)-1]
		inner = inner[:len(inner)-1]
		switch {
		case typ == typeApplication:
			return inner
		case typ == typeHandshake && inner[0] == 24: // key_update
			c.in.update(c.tb)
		}
	}
}

func (c *rawClient) readFull(size int) (got []byte) {
	for len(got) < size {
		got = append(got, c.read()...)
	}
	return got
}

// Key updates, half of which ask for an answer, padded and empty records and
// handshake messages in pieces do not disturb the stream, however it is cut.
func TestRecordLayer(t *testing.T) {
	for _, plain := range []bool{false, true} {
		for _, piece := range []int{1, 9, 1 << 20} {
			v := variant{plain: plain, version: tls.VersionTLS13}
			ts := start(t, v, Config{Open: newSessions(echo).open})
			c := dialRaw(t, ts, piece)
			for i := range 40 {
				want := frame(bytes.Repeat([]byte{byte(i)}, 50*i))
				half := len(want) / 2
				c.send(c.record(want[:half], typeApplication, i%7*10))
				if i%4 == 0 {
					c.send(c.record(nil, typeApplication, 3))
				}
				if i%2 == 0 {
					// KeyUpdate, answered (1) or not (0). The message may not
					// be split over records: keys change on a record boundary.
					c.send(c.record([]byte{24, 0, 0, 1, byte(i / 2 % 2)}, typeHandshake, 0))
					c.out.update(t)
				}
				c.send(c.record(want[half:], typeApplication, 0))
				if got := c.readFull(len(want)); !bytes.Equal(got, want) {
					t.Fatalf("%v in pieces of %d: echo %d differs", v, piece, i)
				}
			}
			c.nc.Close()
		}
	}
}
