// Command talosctl manages machines that run Kubernetes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"talos.internal/internal/cli"
	"talos.internal/internal/cli/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, command.Process(), os.Args[1:])
	stop()
	os.Exit(code)
}
