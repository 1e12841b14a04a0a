// Package pki owns the certificates that Dunlin's own listeners show: a local
// certificate authority and a server certificate, made at the first start and
// kept in a directory, or a pair of files that the operator supplies. It gives
// the one tls.Config that all listeners share. Certificates that devices show
// are asked for but never judged here: the hub decides about them.
package pki
