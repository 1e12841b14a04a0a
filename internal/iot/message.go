package iot

// MaxMessage is the largest device-to-cloud message in bytes as Size counts it.
const MaxMessage = 256 << 10

// SystemKey numbers the system properties that a sender may set. The numbers
// are written into stored records: never renumber, only add.
type SystemKey uint8

// The system properties, with the key of the MQTT property bag and the name
// that readers of the log see.
const (
	MessageID         SystemKey = 1  // $.mid      message-id
	CorrelationID     SystemKey = 2  // $.cid      correlation-id
	UserID            SystemKey = 3  // $.uid      user-id
	To                SystemKey = 4  // $.to       to
	Expiry            SystemKey = 5  // $.exp      absolute-expiry-time
	ContentType       SystemKey = 6  // $.ct       content-type
	ContentEncoding   SystemKey = 7  // $.ce       content-encoding
	CreationTime      SystemKey = 8  // $.ctime    iothub-creation-time-utc
	Component         SystemKey = 9  // $.sub      dt-subject
	InterfaceID       SystemKey = 10 // $.ifid     iothub-interface-id
	OutputName        SystemKey = 11 // $.on       iothub-outputname
	MessageSchema     SystemKey = 12 // $.schema   iothub-message-schema
	DiagnosticID      SystemKey = 13 // $.diagid   Diagnostic-Id
	DiagnosticContext SystemKey = 14 // $.diagctx  Correlation-Context
	OriginalDevice    SystemKey = 15 // $.cdid     iothub-connection-device-id of the first sender (edge)
	OriginalModule    SystemKey = 16 // $.cmid     iothub-connection-module-id of the first sender (edge)
	lastSystemKey     SystemKey = 16
)

var systemNames = [lastSystemKey + 1]struct{ bag, name string }{
	MessageID:         {"$.mid", "message-id"},
	CorrelationID:     {"$.cid", "correlation-id"},
	UserID:            {"$.uid", "user-id"},
	To:                {"$.to", "to"},
	Expiry:            {"$.exp", "absolute-expiry-time"},
	ContentType:       {"$.ct", "content-type"},
	ContentEncoding:   {"$.ce", "content-encoding"},
	CreationTime:      {"$.ctime", "iothub-creation-time-utc"},
	Component:         {"$.sub", "dt-subject"},
	InterfaceID:       {"$.ifid", "iothub-interface-id"},
	OutputName:        {"$.on", "iothub-outputname"},
	MessageSchema:     {"$.schema", "iothub-message-schema"},
	DiagnosticID:      {"$.diagid", "Diagnostic-Id"},
	DiagnosticContext: {"$.diagctx", "Correlation-Context"},
	OriginalDevice:    {"$.cdid", "iothub-original-connection-device-id"},
	OriginalModule:    {"$.cmid", "iothub-original-connection-module-id"},
}

// Valid reports whether k is a known system property.
func (k SystemKey) Valid() bool { return k >= 1 && k <= lastSystemKey }

// String gives the name that readers of the log see, such as "content-type".
func (k SystemKey) String() string {
	if !k.Valid() {
		return "invalid"
	}
	return systemNames[k].name
}

// Bag gives the key of the MQTT property bag, such as "$.ct".
func (k SystemKey) Bag() string {
	if !k.Valid() {
		return ""
	}
	return systemNames[k].bag
}

// BagKey finds the system property behind a decoded key of the MQTT property
// bag; 0 when there is none and the key is an application property.
func BagKey(key []byte) SystemKey {
	if len(key) < 4 || key[0] != '$' || key[1] != '.' {
		return 0
	}
	for k := SystemKey(1); k <= lastSystemKey; k++ {
		if systemNames[k].bag == string(key) {
			return k
		}
	}
	return 0
}

// SystemProperty is one system property that the sender set.
type SystemProperty struct {
	Key   SystemKey
	Value []byte
}

// Property is one application property. A nil Value is a property without a
// value, which differs from an empty one.
type Property struct {
	Name  []byte
	Value []byte
}

// Message is what a device sends. Its byte slices usually are views of a
// connection's read buffer: whoever keeps a message past the call that
// brought it must copy it.
type Message struct {
	System     []SystemProperty
	Properties []Property
	Body       []byte
}

// Size counts the message as the size limit does: the body, the values of
// system properties, and the names and values of application properties.
func (m *Message) Size() int {
	n := len(m.Body)
	for i := range m.System {
		n += len(m.System[i].Value)
	}
	for i := range m.Properties {
		n += len(m.Properties[i].Name) + len(m.Properties[i].Value)
	}
	return n
}
