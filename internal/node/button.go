package node

import (
	"context"
	"errors"
	"io/fs"

	"talos.internal/internal/server"
	"talos.internal/internal/sys/acpi"
)

// buttonActor is who is named in events as the one that shut the machine down.
const buttonActor = "power-button"

// powerButton shuts the machine down when its power button is pressed, as the API does, until ctx ends. Without ACPI there is no button.
func (n *node) powerButton(ctx context.Context) {
	l, err := acpi.Listen()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer l.Close()
		err = n.pressed(ctx, l.Next)
	}
	if err != nil && ctx.Err() == nil {
		n.log.Warn("the power button is not heard", "error", err)
	}
}

// pressed orders the shutdown with the first press that next tells of. While the machine ends for another reason already, one is no
// news: people press again when nothing seems to happen.
func (n *node) pressed(ctx context.Context, next func(context.Context) (acpi.Event, error)) error {
	for {
		e, err := next(ctx)
		if err != nil {
			return err
		}
		if !e.PowerButton() {
			continue
		}
		if err := n.lifecycle.Request(ctx, server.Cause{Action: server.Shutdown, Actor: buttonActor}); err != nil {
			n.log.Info("the power button was pressed", "but", err)
			continue
		}
		n.log.Info("the power button was pressed: the machine shuts down", "button", e.Device)
	}
}
