package registry

import (
	"encoding/binary"
	"hash/crc32"

	"dunlin/internal/iot"
)

// castagnoli is a table of the standard library's, made once and never changed.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum guards what decides who may connect against bits that flip on the disk:
// a damaged key must not look like a wrong one.
func (s *Secrets) sum(id iot.ID, generation uint64, status Status) int64 {
	var buf [512]byte
	b := binary.BigEndian.AppendUint64(buf[:0], generation)
	b = append(b, byte(status), byte(s.Proof))
	for _, text := range [...]string{id.Device, id.Module, s.PrimaryThumbprint, s.SecondaryThumbprint} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	for _, key := range [...][]byte{s.PrimaryKey, s.SecondaryKey} {
		b = append(binary.AppendUvarint(b, uint64(len(key))), key...)
	}
	return int64(crc32.Checksum(b, castagnoli))
}
