// Package hub is the one desk that every door goes to. A door authenticates
// once and holds a Device, which can act for no other; back-end applications
// hold a Service bound to their principal.
package hub

import (
	"context"
	"crypto/x509"
	"net/netip"

	"dunlin/internal/iot"
)

// Credentials is what a device showed when it connected, as its door read it.
type Credentials struct {
	ID       iot.ID
	HostName string // hub name as the device spells it, port included; may be empty
	Token    string // shared access signature; empty with a certificate
	// Certificates is the chain that the device presented in TLS, leaf first.
	// It is shown but not trusted: the hub decides.
	Certificates []*x509.Certificate
	Model        string         // DTDL model id, may be empty
	Product      string         // DeviceClientType, free text for diagnosis
	Protocol     string         // "MQTT", "MQTT-WS", later "AMQP", "HTTPS"
	Remote       netip.AddrPort // peer address
}

// Conn is what a door shows the hub of one device connection. The hub calls
// it from its own goroutines: the methods must not block.
type Conn interface {
	// Durable settles the oldest n unsettled messages of Send: nil means they
	// are on disk and are to be acknowledged, an error that they are not.
	Durable(n int, err error)
	// Ready follows a Send that answered false, once there is room again.
	Ready()
	// Kick ends the connection: taken over, disabled, deleted, token expired.
	// The reason carries an iot.Code.
	Kick(reason error)
	// Deliver takes something for the device, of a kind that Device.Want has
	// asked for; false when the connection cannot take it any more. A message
	// is to be settled through Device.Settle, a method call to be answered
	// through Device.Reply. What is delivered must not be changed.
	Deliver(in *iot.Inbound) bool
}

// Device is one authenticated device or module. It can act for no other. Its
// methods may not be called concurrently with each other, Settle and Close
// excepted.
type Device interface {
	ID() iot.ID
	// Generation tells identities apart that had the same id one after the
	// other.
	Generation() uint64
	// Send hands messages to the log and returns at once; now is Unix
	// nanoseconds. Each message is settled through Conn.Durable, in order, and
	// a door acknowledges there and nowhere else. Message views need only live
	// during the call. ok is false when the hub holds as much as it should:
	// the messages are taken, but the door must stop reading until Conn.Ready.
	// A message above iot.MaxMessage must not be passed.
	Send(now int64, msgs []iot.Message) (ok bool)
	// Want says whether the device takes a kind of things from now on. It may
	// be called while another method is.
	Want(kind iot.Kind, on bool)
	// Twin reads the device's own twin: JSON with the desired and reported
	// properties and their versions. It returns at once; done is called once,
	// on any goroutine, and must not block.
	Twin(done func(doc []byte, err error))
	// Report merges a patch (JSON, copied) into the reported properties; done,
	// called like that of Twin, hears the new version once it is durable.
	// Patches of one device keep their order. ifVersion, unless it is 0, must
	// be the version of the reported properties.
	Report(patch []byte, ifVersion int64, done func(version int64, err error))
	// Reply answers a method call; request is that of the iot.Inbound. It
	// copies what it keeps. An answer that nobody waits for is dropped.
	Reply(request []byte, status int, payload []byte)
	// Settle says what the device made of a message. It returns at once.
	Settle(token iot.LockToken, o iot.Outcome)
	// Close ends the hub's part of the connection: presence, then nothing more
	// but Durable for what was sent. reason is nil for an orderly end.
	Close(reason error)
}

// Connector is the part of the hub that device doors use.
type Connector interface {
	// Connect authenticates and takes over an earlier connection of the same
	// identity. Errors carry an iot.Code. It may block on the state store.
	Connect(ctx context.Context, c Credentials, conn Conn) (Device, error)
}
