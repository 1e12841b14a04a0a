// Package archtest enforces the floors of the house (docs/architecture.md): who
// may import whom, where third-party modules live, and a few habits that a
// compiler does not check. It parses the import statements of all files of the
// module in process, whatever their build tags, so that `go test` caches the
// result rightly. Only its own tests call it.
package archtest
