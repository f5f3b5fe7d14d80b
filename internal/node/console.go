package node

import (
	"context"
	"log/slog"
	"slices"
)

// told are the controllers whose words are for a person in front of the machine.
var told = []string{
	"config.AcquireController", "runtime.MaintenanceServiceInformController", "runtime.EphemeralController",
	"block.VolumeManagerController", "block.MountController", "runtime.UnattendedInstallController", "runtime.UpgradeController",
}

// console passes on to the console of a machine what a person in front of it wants to know: what goes wrong, and what some
// controllers say. The rest is in the logs.
type console struct {
	slog.Handler
	all bool
}

// Enabled implements slog.Handler.
func (c console) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || c.all && c.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler. Whose words they are needs not be shown.
func (c console) WithAttrs(attrs []slog.Attr) slog.Handler {
	var rest []slog.Attr
	for _, a := range attrs {
		if a.Key == "controller" {
			c.all = slices.Contains(told, a.Value.String())
			continue
		}
		rest = append(rest, a)
	}
	c.Handler = c.Handler.WithAttrs(rest)
	return c
}
