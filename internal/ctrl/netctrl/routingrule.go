package netctrl

import (
	"context"

	"talos.internal/config/netdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource/network"
)

func routingRuleConfig() controller.Controller {
	return effective.Pass("network.RoutingRuleConfigController", []controller.Output{wishes[network.RoutingRuleSpec]()},
		func(ctx context.Context, rt controller.Runtime, c *effective.Config) error {
			if c == nil {
				return nil
			}
			for _, doc := range schema.All[*netdoc.RoutingRuleConfig](c.Set) {
				for _, s := range routingRuleWishes(doc) {
					if err := wish(ctx, rt, s.Layer, network.RoutingRuleID(s.Family, s.Priority), s); err != nil {
						return err
					}
				}
			}
			return nil
		})
}

// routingRuleWishes returns a rule for each family that the document may mean: that of its networks, or both.
func routingRuleWishes(doc *netdoc.RoutingRuleConfig) []network.RoutingRuleSpec {
	families := []network.Family{network.FamilyInet4, network.FamilyInet6}
	switch {
	case doc.Src.IsValid():
		families = []network.Family{familyOf(doc.Src.Addr())}
	case doc.Dst.IsValid():
		families = []network.Family{familyOf(doc.Dst.Addr())}
	}
	var out []network.RoutingRuleSpec
	for _, f := range families {
		s := network.RoutingRuleSpec{
			Family: f, Src: doc.Src.Prefix, Dst: doc.Dst.Prefix, Table: network.RoutingTable(doc.Table.ID()), Priority: doc.Priority(),
			Action: network.RoutingRuleAction(doc.Action.Code()), IifName: doc.IIFName, OifName: doc.OIFName,
			FwMark: doc.FWMark, FwMask: doc.FWMask, Layer: network.LayerMachineConfiguration,
		}
		if s.FwMark != 0 && s.FwMask == 0 {
			s.FwMask = ^uint32(0)
		}
		out = append(out, s)
	}
	return out
}
