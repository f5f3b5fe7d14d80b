package node

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"talos.internal/internal/server"
	"talos.internal/internal/sys/acpi"
)

func TestThePowerButtonShutsDownOnce(t *testing.T) {
	power := acpi.Event{Class: "button/power", Device: "LNXPWRBN:00"}
	end := errors.New("no more")
	listen := func(n *node, events ...acpi.Event) {
		t.Helper()
		err := n.pressed(t.Context(), func(context.Context) (acpi.Event, error) {
			if len(events) == 0 {
				return acpi.Event{}, end
			}
			e := events[0]
			events = events[1:]
			return e, nil
		})
		if !errors.Is(err, end) {
			t.Errorf("pressed() = %v; want why nothing is heard any more", err)
		}
	}
	n := &node{log: slog.New(slog.DiscardHandler), lifecycle: newLifecycle()}
	listen(n, acpi.Event{Class: "ac_adapter"}, acpi.Event{Class: "button/lid"})
	if len(n.lifecycle.causes) != 0 {
		t.Error("something else than the button shuts the machine down")
	}
	listen(n, power, power)
	if c := <-n.lifecycle.causes; c.Action != server.Shutdown || c.Actor == "" || len(n.lifecycle.causes) != 0 {
		t.Errorf("the cause is %+v, and there are %d more; want one shutdown", c, len(n.lifecycle.causes))
	}

	// A reboot that is under way stays one.
	n.lifecycle = newLifecycle()
	if err := n.lifecycle.Request(t.Context(), server.Cause{Action: server.Reboot, Actor: "x"}); err != nil {
		t.Fatal(err)
	}
	listen(n, power)
	if c := <-n.lifecycle.causes; c.Action != server.Reboot || len(n.lifecycle.causes) != 0 {
		t.Errorf("the cause is %+v; want the reboot alone", c)
	}
}
