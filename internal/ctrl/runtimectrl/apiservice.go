package runtimectrl

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"talos.internal/controller"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// apiPort is where the API of a machine is (contract.md, section 1.8).
const apiPort = 50000

// listenAddress is the API's on all addresses of the machine, of both families.
var listenAddress = net.JoinHostPort("", strconv.Itoa(apiPort))

// MaintenanceConfigController says where the API of a machine without a config listens, and under which addresses a person reaches it.
type MaintenanceConfigController struct{}

// Name implements [controller.Controller].
func (MaintenanceConfigController) Name() string { return "runtime.MaintenanceConfigController" }

// Inputs implements [controller.Controller].
func (MaintenanceConfigController) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[network.NodeAddress]().Named(network.NodeAddressRouted)}
}

// Outputs implements [controller.Controller].
func (MaintenanceConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.MaintenanceServiceConfig]()}
}

// Run implements [controller.Controller].
func (MaintenanceConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		addresses, err := state.Lookup[network.NodeAddress](ctx, rt, network.NodeAddressRouted)
		if err != nil {
			return err
		}
		out := runtime.MaintenanceServiceConfig{ListenAddress: listenAddress}
		if addresses != nil {
			for _, p := range addresses.Addresses {
				out.ReachableAddresses = append(out.ReachableAddresses, p.Addr())
			}
		}
		return state.Put(ctx, rt, runtime.MaintenanceServiceID, out)
	})
}

// MaintenanceServiceInformController tells the person at the console how to give the machine a config.
type MaintenanceServiceInformController struct{}

// Name implements [controller.Controller].
func (MaintenanceServiceInformController) Name() string {
	return "runtime.MaintenanceServiceInformController"
}

// Inputs implements [controller.Controller].
func (MaintenanceServiceInformController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.MaintenanceServiceConfig]().Named(runtime.MaintenanceServiceID),
		controller.Weak[runtime.MaintenanceServiceRequest]().Named(runtime.MaintenanceServiceID),
	}
}

// Outputs implements [controller.Controller].
func (MaintenanceServiceInformController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (MaintenanceServiceInformController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var told []netip.Addr
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		request, err := state.Lookup[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil || request == nil {
			told = nil
			return err
		}
		config, err := state.Lookup[runtime.MaintenanceServiceConfig](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil || config == nil || len(config.ReachableAddresses) == 0 || slices.Equal(told, config.ReachableAddresses) {
			return err
		}
		told = config.ReachableAddresses
		log.Info("this machine is in maintenance mode and can be reached at " + list(told))
		log.Info("give it a config: talosctl apply-config --insecure --nodes " + told[0].String() + " --file FILE")
		return nil
	})
}

func list(addresses []netip.Addr) string {
	text := ""
	for i, a := range addresses {
		if i > 0 {
			text += ", "
		}
		text += a.String()
	}
	return text
}

// APIServiceConfigController says how the API of the machine is served: where, to whom, and whether it forwards.
type APIServiceConfigController struct{}

// Name implements [controller.Controller].
func (APIServiceConfigController) Name() string { return "runtime.APIServiceConfigController" }

// Inputs implements [controller.Controller].
func (APIServiceConfigController) Inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[runtime.MaintenanceServiceConfig]().Named(runtime.MaintenanceServiceID),
		controller.Weak[runtime.MaintenanceServiceRequest]().Named(runtime.MaintenanceServiceID),
		controller.Weak[secrets.API]().Named(secrets.APIID),
	}
}

// Outputs implements [controller.Controller].
func (APIServiceConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.APIServiceConfig]()}
}

// Run implements [controller.Controller].
func (APIServiceConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		api, err := state.Lookup[secrets.API](ctx, rt, secrets.APIID)
		if err != nil {
			return err
		}
		request, err := state.Lookup[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil {
			return err
		}
		maintenance, err := state.Lookup[runtime.MaintenanceServiceConfig](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil {
			return err
		}
		if request == nil {
			maintenance = nil
		}
		rt.TrackOutputs()
		if api != nil {
			if err := state.Put(ctx, rt, runtime.APIServiceConfigID, apiService(*api, maintenance)); err != nil {
				return err
			}
		}
		return rt.CleanupOutputs(ctx)
	})
}

// apiService decides how the API is served with the certificates api; maintenance is nil for a machine that has its config.
//
// What callers may do follows from the certificates alone: where nobody is asked for one, everybody is a reader, whatever else is
// known of the machine at that moment. A worker has no certificate for calling others, so it does not forward.
func apiService(api secrets.API, maintenance *runtime.MaintenanceServiceConfig) runtime.APIServiceConfig {
	out := runtime.APIServiceConfig{
		ListenAddress:           listenAddress,
		NodeRoutingDisabled:     api.Client == nil || api.SkipVerifyingClientCert,
		ReadonlyRoleMode:        api.SkipVerifyingClientCert,
		SkipVerifyingClientCert: api.SkipVerifyingClientCert,
	}
	if maintenance != nil {
		out.ListenAddress = maintenance.ListenAddress
	}
	return out
}
