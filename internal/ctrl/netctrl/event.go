package netctrl

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/proto"

	"talos.internal/api/machinepb"
	"talos.internal/controller"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// Events is the stream of runtime events.
type Events interface {
	// Publish adds an event, which belongs to the actor's call if actor is not empty, and returns its id.
	Publish(payload proto.Message, actor string) (id string, err error)
}

// addressEvent tells the stream of each new name and set of addresses of the node. Before it has one of each there is nothing
// to tell.
func addressEvent(e Events) controller.Controller {
	var last *machinepb.AddressEvent
	return controller.Pass{
		ControllerName: "network.AddressEventController",
		From: []controller.Input{
			controller.Weak[network.HostnameStatus]().Named(network.HostnameStatusID), controller.Weak[network.NodeAddress]().Named(network.NodeAddressCurrent),
		},
		Once: func(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
			host, named, err := state.Find[network.HostnameStatus](ctx, rt, network.HostnameStatusID)
			if err != nil {
				return err
			}
			node, _, err := state.Find[network.NodeAddress](ctx, rt, network.NodeAddressCurrent)
			if err != nil {
				return err
			}
			next := &machinepb.AddressEvent{Hostname: host.Hostname}
			for _, p := range node.Addresses {
				next.Addresses = append(next.Addresses, p.Addr().String())
			}
			if !named || len(next.Addresses) == 0 || proto.Equal(last, next) {
				return nil
			}
			if _, err := e.Publish(next, ""); err != nil {
				return fmt.Errorf("publish the node's addresses: %w", err)
			}
			last = next
			return nil
		},
	}
}
