// Package quota keeps a hub within the limits of a tier: how many operations of
// each kind a second or minute, how many messages a day, how many devices, and
// how much one device may send. Nothing is limited unless it is configured; a
// nil *Limiter is the one that limits nothing, and costs nothing.
//
// Whoever is a little too fast waits (traffic shaping); whoever is much too
// fast is refused. The doors and rooms above decide how one waits: a request
// waits in its goroutine, a connection is not read meanwhile.
//
// Rates hold for one node. Messages of the day are counted in the store, for
// all nodes together.
package quota
