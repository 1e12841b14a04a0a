package twin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"dunlin/internal/iot"
)

// place is where the next page of a query begins. It names what was given
// last, so that it stays right whatever is written meanwhile.
type place struct {
	after iot.ID   // identity that was seen last
	group groupSum // of grouped results the group that was given last
	given int      // rows so far, for TOP
	begun bool     // not the first page
}

// groupSum puts groups into an order.
type groupSum [16]byte

const tokenVersion = 1

// queryTag ties a token to its query.
func queryTag(text string) [8]byte {
	sum := sha256.Sum256([]byte(text))
	return [8]byte(sum[:8])
}

func (p *place) token(text string) string {
	tag := queryTag(text)
	b := append([]byte{tokenVersion}, tag[:]...)
	b = append(b, p.group[:]...)
	b = binary.AppendUvarint(b, uint64(p.given))
	b = append(binary.AppendUvarint(b, uint64(len(p.after.Device))), p.after.Device...)
	b = append(b, p.after.Module...)
	return base64.RawURLEncoding.EncodeToString(b)
}

// maxToken bounds what is read of a token: far more than the longest one.
const maxToken = 4096

func readToken(token, text string) (p place, err error) {
	if token == "" {
		return p, nil
	}
	bad := iot.Errorf(iot.ArgumentInvalid, "the continuation token is not valid: give it back as it came, with the same query")
	if len(token) > maxToken {
		return p, bad
	}
	b, derr := base64.RawURLEncoding.DecodeString(token)
	if derr != nil || len(b) < 1+8+len(p.group)+2 || b[0] != tokenVersion {
		return p, bad
	}
	if [8]byte(b[1:9]) != queryTag(text) {
		return p, iot.Errorf(iot.ArgumentInvalid, "the continuation token belongs to another query: the text of the query must stay the same from page to page")
	}
	b = b[9:]
	b = b[copy(p.group[:], b):]
	given, n := binary.Uvarint(b)
	if n <= 0 || given > 1<<40 {
		return p, bad
	}
	b = b[n:]
	device, n := binary.Uvarint(b)
	if n <= 0 || device > uint64(len(b)-n) {
		return p, bad
	}
	b = b[n:]
	p.after = iot.ID{Device: string(b[:device]), Module: string(b[device:])}
	if len(p.after.Device) > iot.MaxIDLen || len(p.after.Module) > iot.MaxIDLen {
		return p, bad
	}
	p.given, p.begun = int(given), true
	return p, nil
}
