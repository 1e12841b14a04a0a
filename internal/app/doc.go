// Package app wires the rooms of the house into one running platform. New
// opens the data directory, the engines, the rooms and the listeners; Run
// serves until its context ends and then drains. The serve command, the demo
// and the end-to-end tests start the same code. Only this package (and tests)
// names concrete engines.
package app
