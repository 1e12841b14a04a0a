// Package blobsas reads and writes service shared access signatures of the
// public blob interface: the part of an address behind the question mark that
// lets whoever has it do some things to one blob or one container, for a time.
// It holds no keys and decides nothing.
package blobsas
