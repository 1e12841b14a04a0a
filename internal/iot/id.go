package iot

import "strings"

// MaxIDLen is the largest number of characters of a device or module id.
const MaxIDLen = 128

// ID names a device or, when Module is set, one of its modules. Ids are
// case-sensitive and compared byte for byte.
type ID struct {
	Device string
	Module string
}

// IsModule reports whether the identity is a module of a device.
func (id ID) IsModule() bool { return id.Module != "" }

// String gives "device" or "device/module", the form of an MQTT client id.
func (id ID) String() string {
	if id.Module == "" {
		return id.Device
	}
	return id.Device + "/" + id.Module
}

// ValidID reports whether s may name a device or module: 1 to 128 of
// A-Z a-z 0-9 and - . + % _ # * ? ! ( ) , : = @ $ '.
func ValidID(s string) bool {
	if s == "" || len(s) > MaxIDLen {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-.+%_#*?!(),:=@$'", c) >= 0:
		default:
			return false
		}
	}
	return true
}
