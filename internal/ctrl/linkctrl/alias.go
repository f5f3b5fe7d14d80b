package linkctrl

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"talos.internal/config/expr"
	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/netconf"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource"
	"talos.internal/resource/network"
	"talos.internal/state"
)

func linkAliasConfig() controller.Controller {
	var said string
	return controller.Pass{
		ControllerName: "network.LinkAliasConfigController",
		From:           []controller.Input{effective.Input(), controller.Weak[network.LinkStatus]()},
		To:             []controller.Output{controller.Exclusive[network.LinkAliasSpec]()},
		Once: func(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
			c, err := effective.Get(ctx, rt)
			if err != nil || c == nil {
				return err
			}
			list, err := controller.Running[network.LinkStatus](ctx, rt)
			if err != nil {
				return err
			}
			var candidates []expr.Link
			for _, r := range list {
				if s := r.Spec(); netconf.Physical(s) {
					candidates = append(candidates, selectable(r.Metadata().ID(), s))
				}
			}
			aliases, problems := aliases(schema.All[*netdoc.LinkAliasConfig](c.Set), candidates)
			if text := strings.Join(problems, "; "); text != said {
				if said = text; text != "" {
					log.Warn("links have no alias", "why", text)
				}
			}
			for name, alias := range aliases {
				if err := controller.Put(ctx, rt, name, network.LinkAliasSpec{Alias: alias}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// selectable is a link as a selector sees it.
func selectable(name string, s network.LinkStatus) expr.Link {
	return expr.Link{
		Name: name, Index: s.Index, Type: s.Type.String(), Kind: s.Kind, HardwareAddr: s.HardwareAddr, PermanentAddr: s.PermanentAddr,
		BroadcastAddr: s.BroadcastAddr, MTU: s.MTU, BusPath: s.BusPath, PCIID: s.PCIID, Driver: s.Driver, DriverVersion: s.DriverVersion,
		FirmwareVersion: s.FirmwareVersion, ProductID: s.ProductID, Product: s.Product, VendorID: s.VendorID, Vendor: s.Vendor,
		LinkState: s.LinkState, SpeedMegabits: s.SpeedMegabits, Alias: s.Alias, AltNames: s.AltNames,
	}
}

// aliases returns the alias of each link that has one. A link has that of the first document that selects it. An alias that is not a
// pattern is one link's: if several are selected, none has it.
func aliases(docs []*netdoc.LinkAliasConfig, links []expr.Link) (byLink map[string]string, problems []string) {
	byLink = map[string]string{}
	slices.SortFunc(links, func(a, b expr.Link) int { return cmp.Compare(a.Index, b.Index) })
	for _, d := range docs {
		var selected []string
		var failed error
		for _, l := range links {
			ok, err := d.Selector.Match.Match(l)
			if err != nil {
				failed = err
				continue
			}
			if ok && byLink[l.Name] == "" {
				selected = append(selected, l.Name)
			}
		}
		switch {
		case failed != nil && len(selected) == 0:
			problems = append(problems, fmt.Sprintf("LinkAliasConfig %s: %v", d.Name, failed))
		case !d.Pattern() && len(selected) > 1:
			problems = append(problems, fmt.Sprintf("LinkAliasConfig %s: the selector matches %s; make it match one, or put %%d into the name", d.Name, strings.Join(selected, ", ")))
			continue
		}
		for i, name := range selected {
			byLink[name] = strings.Replace(d.Name, "%d", fmt.Sprint(i), 1)
		}
	}
	return byLink, problems
}

// aliasController tells the kernel, so that who looks at its links sees their aliases.
type aliasController struct{ kernel Kernel }

// Name implements [controller.Controller].
func (aliasController) Name() string { return "network.LinkAliasSpecController" }

// Inputs implements [controller.Controller].
func (aliasController) Inputs() []controller.Input {
	return []controller.Input{controller.Strong[network.LinkAliasSpec]()}
}

// Outputs implements [controller.Controller].
func (aliasController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c aliasController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Watched(ctx, rt, watching(c.kernel, rtnl.Links), func(ctx context.Context) error {
		list, err := state.List[network.LinkAliasSpec](ctx, rt)
		if err != nil || len(list) == 0 {
			return err
		}
		links, err := c.kernel.Links()
		if err != nil {
			return err
		}
		have := map[string]rtnl.Link{}
		for _, l := range links {
			have[l.Name] = l
		}
		for _, r := range list {
			name, want, gone := r.Metadata().ID(), r.Spec().Alias, r.Metadata().Phase() == resource.TearingDown
			if gone {
				want = ""
			} else if err := state.AddFinalizer(ctx, rt, r.Metadata().Ref(), c.Name()); err != nil {
				return err
			}
			if l, ok := have[name]; ok && l.Alias != want {
				if err := c.kernel.SetAlias(l.Index, want); err != nil {
					return err
				}
				log.Info("the alias of a link is set", "link", name, "alias", want)
			}
			if gone {
				if err := state.RemoveFinalizer(ctx, rt, r.Metadata().Ref(), c.Name()); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
