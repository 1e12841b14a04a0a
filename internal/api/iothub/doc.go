// Package iothub is the public service-side REST surface of an IoT hub, as the
// service SDKs call it: devices, modules, bulk calls and statistics. The table
// in operations.go lists what is there and what is not yet; each operation has
// a file of its own. The package translates between JSON and hub.Service and
// holds no rules of its own.
package iothub
