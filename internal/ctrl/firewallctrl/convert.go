package firewallctrl

import (
	"errors"

	"talos.internal/internal/sys/nft"
	"talos.internal/resource/network"
)

// chain converts.
func chain(name string, s network.NfTablesChain) (nft.Chain, error) {
	out := nft.Chain{Name: name, Type: s.Type, Hook: uint32(s.Hook), Priority: int32(s.Priority), Policy: verdict(s.Policy)}
	for _, r := range s.Rules {
		next, err := rule(r)
		if err != nil {
			return out, err
		}
		out.Rules = append(out.Rules, next)
	}
	return out, nil
}

func verdict(v network.NfTablesVerdict) nft.Verdict {
	if v == network.VerdictDrop {
		return nft.Drop
	}
	return nft.Accept
}

func rule(r network.NfTablesRule) (nft.Rule, error) {
	if r.ClampMSS != nil {
		return nft.Rule{}, errors.New("a rule lowers segment sizes, which this version cannot do")
	}
	out := nft.Rule{
		Input: names(r.MatchIIfName), Output: names(r.MatchOIfName), Mark: mark(r.MatchMark), SetMark: mark(r.SetMark),
		Source: addresses(r.MatchSourceAddress), Destination: addresses(r.MatchDestinationAddress), Counter: r.AnonCounter,
	}
	if r.Verdict != nil {
		out.Verdict = verdict(*r.Verdict)
	}
	if r.MatchConntrackState != nil {
		for _, s := range r.MatchConntrackState.States {
			out.States |= uint32(s)
		}
	}
	if r.MatchLimit != nil {
		out.PerSecond = r.MatchLimit.PacketRatePerSecond
	}
	if l := r.MatchLayer4; l != nil {
		out.Protocol, out.SourcePorts, out.DestinationPorts = uint8(l.Protocol), ports(l.MatchSourcePort), ports(l.MatchDestinationPort)
		if l.MatchICMPType != nil {
			for _, t := range l.MatchICMPType.Types {
				out.ICMPTypes = append(out.ICMPTypes, uint8(t))
			}
		}
	}
	return out, nil
}

func names(m *network.NfTablesIfNameMatch) nft.Names {
	if m == nil {
		return nft.Names{}
	}
	return nft.Names{Names: m.InterfaceNames, Not: m.Operator == network.MatchNotEqual}
}

func mark(m *network.NfTablesMark) *nft.Mark {
	if m == nil {
		return nil
	}
	return &nft.Mark{Mask: m.Mask, XOR: m.XOR, Value: m.Value}
}

func addresses(m *network.NfTablesAddressMatch) *nft.Addresses {
	if m == nil {
		return nil
	}
	return &nft.Addresses{Include: m.IncludeSubnets, Exclude: m.ExcludeSubnets, Not: m.Invert}
}

func ports(m *network.NfTablesPortMatch) []nft.Ports {
	if m == nil {
		return nil
	}
	var out []nft.Ports
	for _, r := range m.Ranges {
		out = append(out, nft.Ports{Low: r.Lo, High: r.Hi})
	}
	return out
}
