// Package conformance lets unmodified public SDKs loose on the built binary,
// each in a folder of its own (node/). Only ports, files and connection
// strings are used, as an application would.
package conformance
