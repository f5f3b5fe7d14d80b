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

// screen is the dashboard of this machine, on the terminal that it was started with.
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
	return dashboard.Run(ctx, dashboard.Local(c, name), 3*time.Second, os.Stdin, os.Stdout)
}
