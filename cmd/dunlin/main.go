// Command dunlin runs and administers a Dunlin instance.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"dunlin/internal/cli"
)

// version is set when a release is built (-ldflags -X main.version=...).
var version = "0.1.0-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	code := cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, version)
	stop()
	os.Exit(code)
}
