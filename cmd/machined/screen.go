package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"talos.internal/client"
	"talos.internal/internal/cli/dashboard"
	"talos.internal/internal/node"
	"talos.internal/secret"
)

// screen is the dashboard of this machine, on the terminal that is named, or else on that which it was started with.
func screen(ctx context.Context, _ *slog.Logger) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	c, err := client.NewLocal(node.MachineSocket, secret.RoleReader)
	if err != nil {
		return err
	}
	defer c.Close()
	in, out := os.Stdin, os.Stdout
	if terminal := os.Getenv(node.TerminalVariable); terminal != "" {
		f, err := os.OpenFile(terminal, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		in, out = f, f
	}
	return dashboard.Run(ctx, dashboard.Local(c, name), 3*time.Second, in, out)
}
