package runtimectrl

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"talos.internal/controller"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
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

// MaintenanceServiceInformController tells the person at the console how to give the machine a config: where it is reached, and the
// fingerprint of its certificate, by which the person knows that it is this machine that answers. It tells anew when one of both changes.
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
		controller.Weak[secrets.API]().Named(secrets.APIID),
	}
}

// Outputs implements [controller.Controller].
func (MaintenanceServiceInformController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (MaintenanceServiceInformController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	var told []string
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		request, err := state.Lookup[runtime.MaintenanceServiceRequest](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil || request == nil {
			told = nil
			return err
		}
		config, err := state.Lookup[runtime.MaintenanceServiceConfig](ctx, rt, runtime.MaintenanceServiceID)
		if err != nil {
			return err
		}
		api, err := state.Lookup[secrets.API](ctx, rt, secrets.APIID)
		if err != nil {
			return err
		}
		lines, err := invitation(config, api)
		if err != nil || slices.Equal(told, lines) {
			return err
		}
		told = lines
		for _, l := range lines {
			log.Info(l)
		}
		return nil
	})
}

// invitation is what a person needs to give the machine a config, line by line. It is empty as long as the API has no certificate
// of maintenance and there are addresses to wait for it at.
func invitation(config *runtime.MaintenanceServiceConfig, api *secrets.API) ([]string, error) {
	if config == nil {
		return nil, nil
	}
	var lines []string
	if len(config.ReachableAddresses) == 0 {
		lines = append(lines, "this machine is in maintenance mode and has no address yet: is a cable plugged in, and is there a DHCP server? an address can be given by the kernel argument ip=")
	}
	if api == nil || !api.SkipVerifyingClientCert {
		return lines, nil
	}
	cert, err := secret.ParseCertificate(api.Server.Crt)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the API: %w", err)
	}
	fingerprint := secret.CertificateFingerprint(cert).String()
	if len(config.ReachableAddresses) == 0 {
		return append(lines, "its certificate has the fingerprint "+fingerprint), nil
	}
	return []string{
		"this machine is in maintenance mode and can be reached at " + list(config.ReachableAddresses),
		"its certificate has the fingerprint " + fingerprint,
		"give it a config: talosctl apply-config --insecure --nodes " + config.ReachableAddresses[0].String() + " --cert-fingerprint " + fingerprint + " --file FILE",
	}, nil
}

func list(addresses []netip.Addr) string {
	var text []string
	for _, a := range addresses {
		text = append(text, a.String())
	}
	return strings.Join(text, ", ")
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
