// Package firewallctrl filters what comes into the machine.
//
// The machine config says what may (NetworkDefaultActionConfig, NetworkRuleConfig); chains are made of it, and others may add chains of
// their own; all of them are one table of nftables, "talos", which is replaced as a whole when one changes. Two chains are made of the
// config: ingress sees what is for the machine, prerouting what is for one of its addresses before a Service's rules send it elsewhere,
// so that node ports are filtered as other ports are. Without one of the documents there are no chains and nothing is filtered.
//
// It is for machines: in a container the filter is not the node's. Whoever composes a node imports the package.
package firewallctrl

import (
	"context"
	"fmt"
	"log/slog"

	"talos.internal/controller"
	"talos.internal/internal/sys/nft"
	"talos.internal/resource/network"
)

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Filter is the packet filter; nil means [Kernel].
	Filter Filter
}

// Filter is a packet filter.
type Filter interface {
	// Apply makes the node's table what chains say, all of it.
	Apply(chains []nft.Chain) error
	// Remove removes it. It is no error if there is none.
	Remove() error
}

// Kernel is the [Filter] of the network namespace of the calling thread.
type Kernel struct{}

// table is the node's (contract.md, section 6.8).
const table = "talos"

// Apply implements [Filter].
func (Kernel) Apply(chains []nft.Chain) error { return nft.Apply(table, chains) }

// Remove implements [Filter].
func (Kernel) Remove() error { return nft.Remove(table) }

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	if d.Filter == nil {
		d.Filter = Kernel{}
	}
	return []controller.Controller{chainConfig(), &chains{filter: d.Filter}}
}

// chains is the controller that puts chains in place.
type chains struct {
	filter Filter
	filled bool // there is a table
}

// Name implements [controller.Controller].
func (*chains) Name() string { return "network.NfTablesChainController" }

// Inputs implements [controller.Controller].
func (*chains) Inputs() []controller.Input {
	return []controller.Input{controller.Weak[network.NfTablesChain]()}
}

// Outputs implements [controller.Controller].
func (*chains) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c *chains) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		list, err := controller.Running[network.NfTablesChain](ctx, rt)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			if !c.filled {
				return nil
			}
			if err := c.filter.Remove(); err != nil {
				return err
			}
			c.filled = false
			log.Info("packets are not filtered any more")
			return nil
		}
		var all []nft.Chain
		rules := 0
		for _, r := range list {
			next, err := chain(r.Metadata().ID(), r.Spec())
			if err != nil {
				return fmt.Errorf("chain %s: %w", r.Metadata().ID(), err)
			}
			all, rules = append(all, next), rules+len(next.Rules)
		}
		if err := c.filter.Apply(all); err != nil {
			return err
		}
		c.filled = true
		log.Info("packets are filtered", "chains", len(all), "rules", rules)
		return nil
	})
}
