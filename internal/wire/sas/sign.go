package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"time"
)

// Sizes of symmetric keys in bytes.
const (
	MinKey = 16
	MaxKey = 64
)

// KeyError says why a text is no symmetric key. It does not quote the text.
type KeyError struct{ Detail string }

func (e *KeyError) Error() string { return "symmetric key: " + e.Detail }

// ParseKey decodes a symmetric key: base64 of 16 to 64 bytes. Errors are
// *KeyError.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, &KeyError{Detail: "it is not base64 text"}
	}
	if len(key) < MinKey || len(key) > MaxKey {
		return nil, &KeyError{Detail: "it has " + strconv.Itoa(len(key)) + " bytes, allowed are 16 to 64"}
	}
	return key, nil
}

// Sign makes a token for a resource such as "hub.example/devices/d1", given
// without encoding. policy names the shared access policy that key belongs to
// and is empty for the key of a device or module.
func Sign(resource string, key []byte, expiry time.Time, policy string) string {
	sr := appendEscaped(nil, resource, upperHex)
	mac := hmac.New(sha256.New, key)
	mac.Write(sr)
	se := strconv.AppendInt([]byte{'\n'}, expiry.Unix(), 10)
	mac.Write(se)
	sig := base64.StdEncoding.EncodeToString(mac.Sum(nil))

	b := append([]byte(scheme+" sr="), sr...)
	b = append(b, "&sig="...)
	b = appendEscaped(b, sig, upperHex)
	b = append(b, "&se="...)
	b = append(b, se[1:]...)
	if policy != "" {
		b = append(b, "&skn="...)
		b = appendEscaped(b, policy, upperHex)
	}
	return string(b)
}
