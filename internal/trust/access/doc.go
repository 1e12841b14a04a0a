// Package access says who may do what at the service side of the hub: shared
// access policies with their keys and permissions, tokens signed with them,
// the names the hub answers to, and the token of the administrator.
//
// A Principal is what remains of a verified token; hub.Service is bound to one
// and asks it before each operation. Identities of devices are not here: they
// are the registry's.
package access
