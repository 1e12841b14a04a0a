// Command bench measures the built binary as its users meet it: through its
// ports, with connection strings of its own making, in messages per second of
// the server's CPU. Each figure stands beside its target and beside a peer:
// Mosquitto, run with the same loader in the same minutes, or a figure that
// was measured earlier on the same kind of machine (marked "earlier").
//
//	go run ./test/bench [-only NAME] [-quick] [-json FILE] [-before FILE] [-profile DIR] [-list]
//
// The loader shares the machine with the server, so rates and latencies of
// fast servers are bounded by it; CPU per message is the figure to compare,
// and only between lines of one run. The noise column tells how much of the
// machine other processes took meanwhile: above 15 % a line is worth little.
// The exit code is 1 when a case could not be measured, not when a target is
// missed.
package main
