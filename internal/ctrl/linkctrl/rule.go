package linkctrl

import (
	"fmt"
	"net/netip"
	"slices"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
)

func rules(k Kernel) controller.Controller {
	last := map[string]rtnl.Rule{} // what was done for each wish: one may change and keep its id
	made := map[string]rtnl.Rule{}
	return &applier[network.RoutingRuleSpec]{
		name: "network.RoutingRuleSpecController", kernel: k, watch: rtnl.Rules,
		plan: func(w kept[network.RoutingRuleSpec]) ([]step, error) {
			have, err := k.Rules()
			if err != nil {
				return nil, err
			}
			for _, s := range w.want {
				made[s.ID()] = ruleOf(s)
			}
			return planRules(have, last, w), nil
		},
		done: func(s step) { last[s.id] = made[s.id] },
	}
}

// ruleOf converts, into the form in which the kernel gives it back.
func ruleOf(s network.RoutingRuleSpec) rtnl.Rule {
	masked := func(p netip.Prefix) netip.Prefix {
		if !p.IsValid() || p.Bits() == 0 {
			return netip.Prefix{}
		}
		return p.Masked()
	}
	return rtnl.Rule{
		IPv6: s.Family == network.FamilyInet6, Source: masked(s.Src), Destination: masked(s.Dst), Input: s.IifName, Output: s.OifName,
		Mark: s.FwMark, Mask: s.FwMask, Priority: s.Priority, Table: int(s.Table), Action: uint8(max(s.Action, 1)),
	}
}

func planRules(have []rtnl.Rule, last map[string]rtnl.Rule, w kept[network.RoutingRuleSpec]) []step {
	var steps []step
	remove := func(id string, r rtnl.Rule) {
		if slices.Contains(have, r) {
			steps = append(steps, step{id, fmt.Sprintf("remove routing rule %s", id), func(k Kernel) error { return k.RemoveRule(r) }})
		}
	}
	for _, s := range w.gone {
		remove(s.ID(), ruleOf(s))
	}
	for _, s := range w.want {
		next := ruleOf(s)
		if old, ok := last[s.ID()]; ok && old != next {
			remove(s.ID(), old)
		}
		if !slices.Contains(have, next) {
			steps = append(steps, step{s.ID(), fmt.Sprintf("add routing rule %s", s.ID()), func(k Kernel) error { return k.AddRule(next) }})
		}
	}
	return steps
}
