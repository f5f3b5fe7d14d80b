// Command imager builds the container images of a cluster, their cache, and what machines boot from, out of what cmd/components has
// built and of Debian packages. It is run from the root of the source tree; package image says what container images are made of,
// package assets what a machine boots from.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := root(os.Stdout, os.Stderr).ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "imager:", err)
		os.Exit(1)
	}
}
