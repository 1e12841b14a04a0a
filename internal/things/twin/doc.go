// Package twin owns the twins of devices and modules: tags and desired
// properties that back-end applications write, and reported properties that
// the device writes. It checks documents against the documented rules, merges
// changes, counts versions, keeps the time of each value, and hands changes of
// desired properties to the live connection in the order of their versions.
//
// Every change of one twin goes through one queue: that gives its changes an
// order, and lets all that wait together be merged in memory and written as
// one row. A change is answered when it is durable and not before.
//
// A twin has no row until it is changed for the first time. The room does not
// know the registry: callers say which identity they mean by id and
// generation, and a twin of another generation is never shown. Queries alone
// read the tables of the registry, joined with those of twins, and never write
// them.
package twin
