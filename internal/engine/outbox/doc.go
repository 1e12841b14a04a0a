// Package outbox brings the events of state changes into the event log. A
// room that changes state writes the events of the change with Put, in the
// same transaction: they exist if and only if the change does. The relay (Run)
// appends them to the log and deletes them, so what was committed is appended
// sooner or later, also after a crash.
//
// Events of one device are appended in the order of their commits, provided
// that Put comes after the statements that change the rows of the device. A
// relay that begins looks for the events of its first rows in the end of the
// log, so that a process that died between the append and the deletion leaves
// no second copy. An event is still appended at least once, not exactly once:
// when the log cannot say what became of a record, it is appended again, with
// the same correlation id.
//
// Several nodes on one database take turns: one relays at a time. The table is
// described in docs/formats/outbox.md.
package outbox
