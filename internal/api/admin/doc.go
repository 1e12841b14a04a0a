// Package admin is Dunlin's own HTTP surface under /api/: what the command
// line and the console need and the public protocols do not offer. Every call
// but those of probes carries the admin token as Authorization: Bearer. One
// file holds one operation or one group of them; routes lists them all.
package admin
