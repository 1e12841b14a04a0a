package outbox

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"dunlin/internal/iot"
)

var update = flag.Bool("update", false, "write the golden row anew")

const golden = "testdata/v1.hex"

// example is a row of two events with a salt of zeros.
func example() []byte {
	var b Batch
	b.Add(Event{
		ID: iot.ID{Device: "machine-1"}, Generation: 638371234567890123, Source: iot.SourceTwinChange, OpType: "updateTwin",
		Time: time.Unix(1767225600, 123456700), Body: []byte(`{"version":3}`), Model: "dtmi:a:b;1",
	})
	b.Add(Event{
		ID: iot.ID{Device: "machine-1", Module: "m"}, Source: iot.SourceDeviceLifecycle, OpType: "createDeviceIdentity",
		Time: time.Unix(1767225601, 0), Body: []byte(`{}`),
	})
	row := b.seal()
	clear(row[saltAt : saltAt+saltSize])
	return reseal(row)
}

func reseal(row []byte) []byte {
	binary.LittleEndian.PutUint32(row[sumAt:], crc32.Checksum(row[saltAt:], castagnoli))
	return row
}

// TestGolden: rows that an earlier build has written stay readable, and this
// build writes the same.
func TestGolden(t *testing.T) {
	row := example()
	if *update {
		if err := os.WriteFile(golden, []byte(hex.EncodeToString(row)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(row, want) {
		t.Errorf("the row is\n%x, want\n%x", row, want)
	}
	var ops []string
	if err := unpack(want, func(s *stored) {
		ops = append(ops, string(s.op)+" "+string(s.head.Device)+"/"+string(s.head.Module)+" "+s.time.Format(timeForm)+" "+string(s.body))
	}); err != nil {
		t.Fatal(err)
	}
	if have, want := strings.Join(ops, "\n"), "updateTwin machine-1/ 2026-01-01T00:00:00.1234567Z {\"version\":3}\n"+
		"createDeviceIdentity machine-1/m 2026-01-01T00:00:01.0000000Z {}"; have != want {
		t.Errorf("events\n%s, want\n%s", have, want)
	}
}

// TestDamage: whatever byte of a row is altered, the row is not relayed.
func TestDamage(t *testing.T) {
	row := example()
	for i := range row {
		bad := bytes.Clone(row)
		bad[i] ^= 1
		if unpack(bad, func(*stored) {}) == nil {
			t.Errorf("a row with another byte %d is read", i)
		}
		if unpack(row[:i], func(*stored) {}) == nil {
			t.Errorf("the first %d bytes of a row are read", i)
		}
	}
}

// FuzzUnpack reads rows whose checksum is right and whose content need not be.
func FuzzUnpack(f *testing.F) {
	f.Add(example())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, row []byte) {
		if len(row) >= headerSize {
			row = reseal(bytes.Clone(row))
			row[0] = bodyVersion
		}
		w := newWriter("hub")
		var buf []byte
		if err := unpack(row, func(s *stored) { buf = w.append(buf[:0], s) }); err == nil && len(row) < headerSize {
			t.Error("a row without a header is read")
		}
	})
}

// BenchmarkRelay packs the events of a group of twins, and makes records of
// them: what the outbox costs besides the store and the log.
func BenchmarkRelay(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 350)
	e := Event{ID: iot.ID{Device: "device-123"}, Generation: 638371234567890123, Source: iot.SourceTwinChange, OpType: "updateTwin", Time: time.Now(), Body: body}
	var batch Batch
	w := newWriter("hub")
	var buf []byte
	b.ReportAllocs()
	for n := 0; n < b.N; n += 256 {
		batch.Reset()
		for range 256 {
			batch.Add(e)
		}
		buf = buf[:0]
		if err := unpack(batch.seal(), func(s *stored) { buf = w.append(buf, s) }); err != nil {
			b.Fatal(err)
		}
	}
}
