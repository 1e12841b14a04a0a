// Package harness starts the built binary for black-box tests and talks to it
// as a person or a program would: with its command line, its ports and the
// connection strings that it prints. It never looks inside.
package harness
