package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"talos.internal/internal/boot"
)

// probeLimit is how long the kernel waits for a module that it asked for.
const probeLimit = 30 * time.Second

// modprobe loads what the kernel asks for; it returns the exit code.
func modprobe(args []string) int {
	ctx, cancel := context.WithTimeout(context.Background(), probeLimit)
	defer cancel()
	if err := boot.Probe(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
