// Package cli is the command line: it reads arguments, environment and
// configuration files, runs instances through package app and administers
// running ones over their HTTP surfaces. Everything it says goes to the
// streams it is given; results to Out, all else to Err.
package cli
