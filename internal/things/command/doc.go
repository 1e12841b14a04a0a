// Package command owns what applications tell devices to do: direct methods,
// which live as long as their caller waits, and the queues of cloud-to-device
// messages with the feedback on them, which are durable. It decides what is
// delivered when; it writes to no connection itself (see Deps.Deliver).
package command
