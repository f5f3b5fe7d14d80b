package dhcpctrl

import (
	"context"
	"slices"
	"strings"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/netconf"
	"talos.internal/resource/network"
	"talos.internal/state"
)

// facts are what operators are decided by.
type facts struct {
	netconf.Names
	cmdline    netconf.Cmdline
	set        schema.Set      // the documents of the machine config; empty as long as there is none
	configured map[string]bool // links that somebody says something of
}

func gather(ctx context.Context, rt controller.Runtime, c *effective.Config, cmdline string) (facts, error) {
	f := facts{Names: netconf.Names{Links: map[string]network.LinkStatus{}, Aliases: map[string]string{}}, configured: map[string]bool{}}
	list, err := controller.Running[network.LinkStatus](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, r := range list {
		f.Links[r.Metadata().ID()] = r.Spec()
	}
	aliases, err := controller.Running[network.LinkAliasSpec](ctx, rt)
	if err != nil {
		return f, err
	}
	for _, r := range aliases {
		f.Aliases[r.Spec().Alias] = r.Metadata().ID()
	}
	wishes, err := controller.Running[network.LinkSpec](ctx, rt, state.In(network.ConfigNamespace))
	if err != nil {
		return f, err
	}
	for _, r := range wishes {
		// What operators say comes of their running: it is no reason not to run.
		if s := r.Spec(); s.Layer != network.LayerDefault && s.Layer != network.LayerOperator {
			f.configured[s.Name] = true
		}
	}
	f.cmdline, _ = netconf.ReadCmdline(cmdline, f.Hardware())
	if c != nil {
		f.set = c.Set
	}
	return f, nil
}

func inputs() []controller.Input {
	return []controller.Input{
		controller.Weak[network.LinkStatus](), controller.Weak[network.LinkAliasSpec](), controller.Weak[network.LinkSpec]().In(network.ConfigNamespace),
	}
}

func operatorController(name, cmdline string, decide func(facts) []network.OperatorSpec) controller.Controller {
	return effective.Pass(name, []controller.Output{controller.Shared[network.OperatorSpec]().In(network.ConfigNamespace)},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			f, err := gather(ctx, rt, c, cmdline)
			if err != nil {
				return err
			}
			for _, s := range decide(f) {
				if err := controller.Put(ctx, rt, network.LayeredID(s.Layer, s.ID()), s, state.In(network.ConfigNamespace)); err != nil {
					return err
				}
			}
			return nil
		}, inputs()...)
}

func operatorConfig(cmdline string) controller.Controller {
	return operatorController("network.OperatorConfigController", cmdline, dhcpWishes)
}

func operatorVIPConfig() controller.Controller {
	return operatorController("network.OperatorVIPConfigController", "", vipWishes)
}

// dhcpWishes are DHCP as the command line and the config want it, and DHCPv4 on links of the hardware that nobody says anything of.
func dhcpWishes(f facts) []network.OperatorSpec {
	out := slices.Clone(f.cmdline.Operators)
	named := map[string]bool{}
	for _, d := range schema.All[*netdoc.DHCPv4Config](f.set) {
		name := f.Find(d.Name)
		named[name] = true
		out = append(out, network.OperatorSpec{
			Operator: network.OperatorDHCP4, LinkName: name, RequireUp: true, Layer: network.LayerMachineConfiguration,
			Dhcp4: &network.DHCP4Operator{
				RouteMetric: d.RouteMetricOrDefault(), SkipHostnameRequest: d.IgnoreHostname, SkipRoutes: d.IgnoreRoutes, ClientIdentifier: identifier(&d.CommonDHCP),
			},
		})
	}
	for _, d := range schema.All[*netdoc.DHCPv6Config](f.set) {
		name := f.Find(d.Name)
		named[name] = true
		out = append(out, network.OperatorSpec{
			Operator: network.OperatorDHCP6, LinkName: name, RequireUp: true, Layer: network.LayerMachineConfiguration,
			Dhcp6: &network.DHCP6Operator{RouteMetric: d.RouteMetricOrDefault(), SkipHostnameRequest: d.IgnoreHostname, ClientIdentifier: identifier(&d.CommonDHCP)},
		})
	}
	for _, l := range f.Hardware() {
		if !named[l.Name] && !f.configured[l.Name] && !slices.Contains(f.cmdline.Ignored, l.Name) && f.Links[l.Name].MasterIndex == 0 {
			out = append(out, netconf.DHCP4(network.LayerDefault, l.Name, 0))
		}
	}
	return out
}

func identifier(c *netdoc.CommonDHCP) network.ClientIdentifier {
	out := network.ClientIdentifier{DUIDRawHex: strings.ReplaceAll(string(c.DUIDRaw), ":", "")}
	switch c.ClientIdentifierOrDefault() {
	case "none":
		out.Kind = network.ClientIdentifierNone
	case "duid":
		out.Kind = network.ClientIdentifierDUID
	default:
		out.Kind = network.ClientIdentifierMAC
	}
	return out
}

// vipWishes are the shared addresses of the config.
func vipWishes(f facts) []network.OperatorSpec {
	var out []network.OperatorSpec
	add := func(v *netdoc.VIP, cloud *network.VIPHCloud) {
		if !v.Addr().IsValid() || v.Link == "" {
			return
		}
		out = append(out, network.OperatorSpec{
			Operator: network.OperatorVIP, LinkName: f.Find(v.Link), RequireUp: true, Layer: network.LayerMachineConfiguration,
			VIP: &network.VIPOperator{IP: v.Addr(), GratuitousARP: cloud == nil, HCloud: cloud},
		})
	}
	for _, d := range schema.All[*netdoc.Layer2VIPConfig](f.set) {
		add(&d.VIP, nil)
	}
	for _, d := range schema.All[*netdoc.HCloudVIPConfig](f.set) {
		add(&d.VIP, &network.VIPHCloud{APIToken: d.APIToken})
	}
	return out
}
