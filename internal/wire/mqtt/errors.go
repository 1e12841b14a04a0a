package mqtt

// ProtocolError is a breach of the standard. The values are fixed: making one
// costs nothing, and == compares them.
type ProtocolError struct {
	Clause string     // such as "MQTT-2.2.2-2"; "section 2.2.3" where the standard gives no number
	Detail string     // what was wrong
	Reason ReasonCode // for CONNACK or DISCONNECT of MQTT 5.0
}

func (e *ProtocolError) Error() string { return "mqtt: " + e.Detail + " [" + e.Clause + "]" }

// Errors that callers treat apart from others.
var (
	// ErrUnsupportedVersion asks for CONNACK with ConnackVersion, or for
	// UnsupportedVersion of MQTT 5.0 when Connect.Version is above V5.
	ErrUnsupportedVersion = &ProtocolError{"MQTT-3.1.2-2", "protocol version is neither 3.1.1 nor 5.0", UnsupportedVersion}
	// ErrPacketTooLarge is Next's answer to a packet above the caller's bound.
	ErrPacketTooLarge = &ProtocolError{"MQTT5-3.2.2-15", "packet is larger than allowed", PacketTooLarge}
)

// The fixed header.
var (
	errReservedType     = &ProtocolError{"section 2.2.1", "packet type 0 is reserved", MalformedPacket}
	errFlags            = &ProtocolError{"MQTT-2.2.2-2", "reserved flags set", MalformedPacket}
	errFlagsPubrel      = &ProtocolError{"MQTT-3.6.1-1", "flags of PUBREL are not 0010", MalformedPacket}
	errFlagsSubscribe   = &ProtocolError{"MQTT-3.8.1-1", "flags of SUBSCRIBE are not 0010", MalformedPacket}
	errFlagsUnsubscribe = &ProtocolError{"MQTT-3.10.1-1", "flags of UNSUBSCRIBE are not 0010", MalformedPacket}
	errFlagsDisconnect  = &ProtocolError{"MQTT-3.14.1-1", "reserved flags of DISCONNECT set", MalformedPacket}
	errFlagsAuth        = &ProtocolError{"MQTT5-3.15.1-1", "reserved flags of AUTH set", MalformedPacket}
	errRemainingLength  = &ProtocolError{"section 2.2.3", "remaining length has more than four bytes", MalformedPacket}
	errPingBody         = &ProtocolError{"section 3.12.1", "ping packet has a body", MalformedPacket}
	errTooLong          = &ProtocolError{"section 2.2.3", "packet is too long for its length field", PacketTooLarge}
)

// Fields of any packet.
var (
	errShort       = &ProtocolError{"MQTT-4.8.0-1", "packet ends inside a field", MalformedPacket}
	errTrailing    = &ProtocolError{"MQTT-4.8.0-1", "packet goes on after its last field", MalformedPacket}
	errUTF8        = &ProtocolError{"MQTT-1.5.3-1", "string is not well-formed UTF-8", MalformedPacket}
	errNull        = &ProtocolError{"MQTT-1.5.3-2", "string holds the character U+0000", MalformedPacket}
	errStringLen   = &ProtocolError{"section 1.5.3", "string or data is longer than 65535 bytes", MalformedPacket}
	errPacketID    = &ProtocolError{"MQTT-2.3.1-1", "packet identifier is 0", MalformedPacket}
	errVarint      = &ProtocolError{"MQTT5-1.5.5-1", "variable byte integer is not in its shortest form or longer than four bytes", MalformedPacket}
	errReason      = &ProtocolError{"section 2.4 of 5.0", "reason code is not one of this packet", MalformedPacket}
	errOnlyVersion = &ProtocolError{"section 2.2.1", "packet type 15 (AUTH) exists in MQTT 5.0 only", MalformedPacket}
	errAckType     = &ProtocolError{"section 2.2.1", "packet is not PUBACK, PUBREC, PUBREL or PUBCOMP", ProtocolViolation}
)

// Topics.
var (
	errTopicUTF8   = &ProtocolError{"MQTT-3.3.2-1", "topic name is not well-formed UTF-8", MalformedPacket}
	errTopicWild   = &ProtocolError{"MQTT-3.3.2-2", "topic name holds a wildcard", TopicNameInvalid}
	errTopicEmpty  = &ProtocolError{"MQTT-4.7.3-1", "topic name or filter is empty", TopicNameInvalid}
	errFilterHash  = &ProtocolError{"MQTT-4.7.1-2", "# is not the last level of the topic filter", TopicFilterInvalid}
	errFilterPlus  = &ProtocolError{"MQTT-4.7.1-3", "+ is not a whole level of the topic filter", TopicFilterInvalid}
	errShareName   = &ProtocolError{"MQTT5-4.8.2-1", "shared subscription has no share name", TopicFilterInvalid}
	errShareWild   = &ProtocolError{"MQTT5-4.8.2-2", "share name holds a wildcard or no topic filter follows it", TopicFilterInvalid}
	errShareNoSelf = &ProtocolError{"MQTT5-3.8.3-4", "No Local is set on a shared subscription", ProtocolViolation}
)

// CONNECT.
var (
	errProtocolName     = &ProtocolError{"MQTT-3.1.2-1", `protocol name is not "MQTT"`, UnsupportedVersion}
	errConnectFlag      = &ProtocolError{"MQTT-3.1.2-3", "reserved flag of CONNECT set", MalformedPacket}
	errWillQoSNoWill    = &ProtocolError{"MQTT-3.1.2-13", "will QoS without will flag", MalformedPacket}
	errWillQoS3         = &ProtocolError{"MQTT-3.1.2-14", "will QoS is 3", MalformedPacket}
	errWillRetainNoWill = &ProtocolError{"MQTT-3.1.2-15", "will retain without will flag", MalformedPacket}
	errPasswordNoUser   = &ProtocolError{"MQTT-3.1.2-22", "password without user name", MalformedPacket}
	errClientIDMissing  = &ProtocolError{"MQTT-3.1.3-3", "client identifier is missing", MalformedPacket}
	errClientIDUTF8     = &ProtocolError{"MQTT-3.1.3-4", "client identifier is not well-formed UTF-8", MalformedPacket}
	errWillMissing      = &ProtocolError{"MQTT-3.1.2-9", "will topic or will message is missing", MalformedPacket}
	errWillTopicUTF8    = &ProtocolError{"MQTT-3.1.3-10", "will topic is not well-formed UTF-8", MalformedPacket}
	errUserMissing      = &ProtocolError{"MQTT-3.1.2-19", "user name is missing", MalformedPacket}
	errUserUTF8         = &ProtocolError{"MQTT-3.1.3-11", "user name is not well-formed UTF-8", MalformedPacket}
	errPasswordMissing  = &ProtocolError{"MQTT-3.1.2-21", "password is missing", MalformedPacket}
	errPayloadOrder     = &ProtocolError{"MQTT-3.1.3-1", "CONNECT goes on after the fields that its flags announce", MalformedPacket}
)

// CONNACK.
var (
	errConnackFlags   = &ProtocolError{"section 3.2.2.1", "reserved flags of CONNACK set", MalformedPacket}
	errConnackSession = &ProtocolError{"MQTT-3.2.2-4", "session present in a refusing CONNACK", ProtocolViolation}
	errConnackCode    = &ProtocolError{"section 3.2.2.3", "return code of CONNACK is reserved", MalformedPacket}
)

// PUBLISH.
var (
	errPublishQoS3   = &ProtocolError{"MQTT-3.3.1-4", "PUBLISH has QoS 3", MalformedPacket}
	errDupQoS0       = &ProtocolError{"MQTT-3.3.1-2", "PUBLISH has DUP with QoS 0", MalformedPacket}
	errTopicNoAlias  = &ProtocolError{"section 3.3.2.1 of 5.0", "topic name is empty and there is no topic alias", ProtocolViolation}
	errResponseTopic = &ProtocolError{"MQTT5-3.3.2-14", "response topic is empty or holds a wildcard", TopicNameInvalid}
)

// SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.
var (
	errSubscribeUTF8    = &ProtocolError{"MQTT-3.8.3-1", "topic filter is not well-formed UTF-8", MalformedPacket}
	errSubscribeEmpty   = &ProtocolError{"MQTT-3.8.3-3", "SUBSCRIBE has no topic filter", ProtocolViolation}
	errSubscribeQoS     = &ProtocolError{"MQTT-3.8.3-4", "requested QoS is 3 or its reserved bits are set", MalformedPacket}
	errSubscribeOptions = &ProtocolError{"MQTT5-3.8.3-5", "reserved bits of the subscription options are set", MalformedPacket}
	errRetainHandling   = &ProtocolError{"section 3.8.3.1 of 5.0", "retain handling is 3", ProtocolViolation}
	errSubackCode       = &ProtocolError{"MQTT-3.9.3-2", "return code of SUBACK is reserved", MalformedPacket}
	errSubackEmpty      = &ProtocolError{"MQTT-3.8.4-5", "SUBACK has no return code", ProtocolViolation}
	errUnsubscribeUTF8  = &ProtocolError{"MQTT-3.10.3-1", "topic filter is not well-formed UTF-8", MalformedPacket}
	errUnsubscribeEmpty = &ProtocolError{"MQTT-3.10.3-2", "UNSUBSCRIBE has no topic filter", ProtocolViolation}
	errUnsubackEmpty    = &ProtocolError{"MQTT5-3.11.3-1", "UNSUBACK has no reason code", ProtocolViolation}
)

// Properties of MQTT 5.0.
var (
	errPropUnknown   = &ProtocolError{"section 2.2.2.2 of 5.0", "unknown property", MalformedPacket}
	errPropPlace     = &ProtocolError{"section 2.2.2.2 of 5.0", "property does not belong to this packet", MalformedPacket}
	errPropTwice     = &ProtocolError{"section 2.2.2.2 of 5.0", "property is given twice", ProtocolViolation}
	errPropBool      = &ProtocolError{"section 2.2.2.2 of 5.0", "property is neither 0 nor 1", ProtocolViolation}
	errPropZero      = &ProtocolError{"section 2.2.2.2 of 5.0", "property must not be 0", ProtocolViolation}
	errPropRange     = &ProtocolError{"section 2.2.2.2 of 5.0", "number is too large for the property", ProtocolViolation}
	errTopicAlias    = &ProtocolError{"MQTT5-3.3.2-8", "topic alias is 0", TopicAliasInvalid}
	errAuthData      = &ProtocolError{"section 3.1.2.11.10 of 5.0", "authentication data without authentication method", ProtocolViolation}
	errPropVersion   = &ProtocolError{"section 2.2.2 of 5.0", "properties exist in MQTT 5.0 only", MalformedPacket}
	errPairUTF8      = &ProtocolError{"MQTT5-1.5.7-1", "user property is not well-formed UTF-8", MalformedPacket}
	errReasonVersion = &ProtocolError{"section 2.4 of 5.0", "reason codes exist in MQTT 5.0 only", MalformedPacket}
)
