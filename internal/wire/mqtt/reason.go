package mqtt

import "strings"

// ReasonCode says how an operation ended (MQTT 5.0, section 2.4). Codes from
// 0x80 are failures.
type ReasonCode byte

// The reason codes.
const (
	Success                     ReasonCode = 0x00 // also normal disconnection and granted QoS 0
	GrantedQoS1                 ReasonCode = 0x01
	GrantedQoS2                 ReasonCode = 0x02
	DisconnectWithWill          ReasonCode = 0x04
	NoMatchingSubscribers       ReasonCode = 0x10
	NoSubscriptionExisted       ReasonCode = 0x11
	ContinueAuthentication      ReasonCode = 0x18
	ReAuthenticate              ReasonCode = 0x19
	UnspecifiedError            ReasonCode = 0x80 // also the failure code of SUBACK in MQTT 3.1.1
	MalformedPacket             ReasonCode = 0x81
	ProtocolViolation           ReasonCode = 0x82 // "Protocol Error" in the standard
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedVersion          ReasonCode = 0x84
	ClientIDNotValid            ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	Banned                      ReasonCode = 0x8A
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIDInUse               ReasonCode = 0x91
	PacketIDNotFound            ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	MessageRateTooHigh          ReasonCode = 0x96
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	RetainNotSupported          ReasonCode = 0x9A
	QoSNotSupported             ReasonCode = 0x9B
	UseAnotherServer            ReasonCode = 0x9C
	ServerMoved                 ReasonCode = 0x9D
	SharedNotSupported          ReasonCode = 0x9E
	ConnectionRateExceeded      ReasonCode = 0x9F
	MaximumConnectTime          ReasonCode = 0xA0
	SubscriptionIDsNotSupported ReasonCode = 0xA1
	WildcardsNotSupported       ReasonCode = 0xA2
)

// reasonsOf lists the codes that each packet may carry.
var reasonsOf = [16]string{
	CONNACK:  "\x00\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8A\x8C\x90\x95\x97\x99\x9A\x9B\x9C\x9D\x9F",
	PUBACK:   "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREC:   "\x00\x10\x80\x83\x87\x90\x91\x97\x99",
	PUBREL:   "\x00\x92",
	PUBCOMP:  "\x00\x92",
	SUBACK:   "\x00\x01\x02\x80\x83\x87\x8F\x91\x97\x9E\xA1\xA2",
	UNSUBACK: "\x00\x11\x80\x83\x87\x8F\x91",
	DISCONNECT: "\x00\x04\x80\x81\x82\x83\x87\x89\x8B\x8D\x8E\x8F\x90\x93\x94\x95\x96\x97\x98\x99" +
		"\x9A\x9B\x9C\x9D\x9E\x9F\xA0\xA1\xA2",
	AUTH: "\x00\x18\x19",
}

func (r ReasonCode) allowedIn(t Type) bool { return strings.IndexByte(reasonsOf[t], byte(r)) >= 0 }

// The return codes of CONNACK in MQTT 3.1.1 (section 3.2.2.3).
const (
	ConnackAccepted      byte = 0
	ConnackVersion       byte = 1 // unacceptable protocol version
	ConnackClientID      byte = 2 // identifier rejected
	ConnackUnavailable   byte = 3 // server unavailable
	ConnackBadLogin      byte = 4 // bad user name or password
	ConnackNotAuthorized byte = 5
)

// Connack gives the return code of MQTT 3.1.1 that comes nearest to a reason
// for refusing CONNECT.
func (r ReasonCode) Connack() byte {
	switch r {
	case Success:
		return ConnackAccepted
	case UnsupportedVersion:
		return ConnackVersion
	case ClientIDNotValid:
		return ConnackClientID
	case BadUserNameOrPassword:
		return ConnackBadLogin
	case NotAuthorized, Banned, BadAuthenticationMethod:
		return ConnackNotAuthorized
	default:
		return ConnackUnavailable
	}
}
