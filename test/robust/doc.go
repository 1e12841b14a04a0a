// Package robust does to a running instance what happens in the field: it
// kills it, fills its disk, damages its files, floods it with connections that
// go nowhere and with packets that mean nothing. README.md tells how to run it
// and keeps the table of past defects.
package robust
