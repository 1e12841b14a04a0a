// Package upload owns the upload of files by devices: a device asks for the
// address of a blob of its own, uploads there, and says how it went; what was
// uploaded is told to applications through a queue of notifications.
package upload
