// Package mqtt is a codec for MQTT 3.1.1 and 5.0, both for the server's and
// for the client's side. It turns bytes into packets and back; connections,
// sessions and policy are for its callers.
//
// Framing and decoding:
//
//	h, body, n, err := mqtt.Next(b, maxPacket) // n == 0 and err == nil: needs more bytes
//	switch h.Type {
//	case mqtt.PUBLISH:
//		var p mqtt.Publish
//		err = p.Decode(h, body, v)
//
// Every packet that has content has a struct with Decode and Append; what is
// sent most has functions of its own: SplitPublish, AppendPuback,
// AppendConnack, AppendSuback, AppendPingresp and so on.
//
// Decoded byte slices are views of the input: copy what outlives it. A struct
// may be decoded into again and again; its lists keep their memory, so the
// steady state does not allocate. Append methods add one whole packet to dst
// and fail only for what the wire cannot hold (a *ProtocolError); dst is then
// returned as it was.
//
// What the standard forbids is refused with a *ProtocolError that cites the
// clause. Clauses are numbered as in MQTT 3.1.1; those that only MQTT 5.0 has
// carry the prefix MQTT5. Left to the caller, because it needs state or is a
// choice: which packets may come when and from which side, an empty client id,
// wildcards in a will topic, subscription identifiers in a client's PUBLISH
// ([MQTT5-3.3.4-6], see Properties.SubscriptionIDs), topic aliases, QoS above
// what is offered, and whether a payload marked as text is UTF-8.
package mqtt
