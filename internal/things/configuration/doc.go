// Package configuration owns automatic configurations: documents that say
// which desired properties a set of twins must have. The set is a condition
// over tags and reported properties; where two configurations set the same
// path the one with the higher priority wins, and of equal ones the newer.
//
// The room keeps the configurations and, for each twin, which of them it has.
// It follows the event log for changes of twins and identities, evaluates the
// conditions again for the devices that changed, and writes what differs. What
// a configuration does not set it leaves alone, but for what it set before.
//
// Everything it does can be done again: what is to be set is noted before it
// is set, the place in the log and the progress of an evaluation are moved on
// only afterwards, and a twin that is as it must be is not written.
//
// The room does not know twins and identities: it is given functions that read
// and write them.
package configuration
