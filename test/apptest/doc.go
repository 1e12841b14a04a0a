// Package apptest tests the program as a person uses it: scripts of command
// lines (testdata/script), starting under bad conditions, and ending while
// devices send. It uses only the built binary, its files and its ports.
package apptest
