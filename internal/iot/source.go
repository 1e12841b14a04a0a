package iot

// AuthScope says whose credential opened a connection.
type AuthScope uint8

// The scopes of a credential; the numbers are stored in records.
const (
	ScopeDevice AuthScope = 0 // key or certificate of the device
	ScopeModule AuthScope = 1 // key or certificate of the module
	ScopeHub    AuthScope = 2 // a shared access policy of the hub
)

// AuthType says how a connection proved itself.
type AuthType uint8

// The kinds of proof; the numbers are stored in records.
const (
	AuthSAS           AuthType = 0 // token signed with a symmetric key
	AuthX509          AuthType = 1 // certificate known by its thumbprint
	AuthX509Authority AuthType = 2 // certificate signed by a registered authority
)

// AuthMethod is the proof behind a message, kept in each record.
type AuthMethod struct {
	Scope AuthScope
	Type  AuthType
}

// String gives the JSON text of the system property
// iothub-connection-auth-method.
func (a AuthMethod) String() string {
	scope := [...]string{"device", "module", "hub"}[min(a.Scope, ScopeHub)]
	typ := [...]string{"sas", "x509", "x509"}[min(a.Type, AuthX509Authority)]
	issuer := "iothub"
	if a.Type != AuthSAS {
		issuer = "external"
	}
	return `{"scope":"` + scope + `","type":"` + typ + `","issuer":"` + issuer + `","acceptingIpFilterRule":null}`
}

// EventSource says what made a record of the log.
type EventSource uint8

// The sources of records; the numbers are stored in records.
const (
	SourceTelemetry       EventSource = 0
	SourceTwinChange      EventSource = 1
	SourceDeviceLifecycle EventSource = 2
	SourceConnectionState EventSource = 3
	SourceJobLifecycle    EventSource = 4
	SourceDigitalTwin     EventSource = 5
)

// String gives the value of the system property iothub-message-source.
func (s EventSource) String() string {
	names := [...]string{
		"Telemetry", "twinChangeEvents", "deviceLifecycleEvents",
		"deviceConnectionStateEvents", "deviceJobLifecycleEvents", "digitalTwinChangeEvents",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Origin is what the platform itself knows of a message's sender and stamps
// on every record; a sender cannot set any of it.
type Origin struct {
	ID         ID
	Generation uint64 // generation id of the device, decimal text at the doors
	Auth       AuthMethod
	Source     EventSource
	Model      string // DTDL model id of the connection (dt-dataschema), may be empty
}
