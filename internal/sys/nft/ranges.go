package nft

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
)

// span are the addresses from first to last, both included.
type span struct{ first, last netip.Addr }

func spanOf(p netip.Prefix) span {
	p = p.Masked()
	b := p.Addr().AsSlice()
	for i := range b {
		if left := p.Bits() - 8*i; left <= 0 {
			b[i] = 0xff
		} else if left < 8 {
			b[i] |= 0xff >> left
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return span{p.Addr(), last}
}

// merged returns the spans in order, without overlaps and without gaps of no address between them.
func merged(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Or(a.first.Compare(b.first), a.last.Compare(b.last)) })
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && (s.first.Compare(out[n-1].last) <= 0 || s.first == out[n-1].last.Next()) {
			if s.last.Compare(out[n-1].last) > 0 {
				out[n-1].last = s.last
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// of returns the addresses of one version of IP that are meant, before Not, and whether they are all.
func (a *Addresses) of(six bool) (spans []span, all bool) {
	pick := func(list []netip.Prefix) (out []span) {
		for _, p := range list {
			if p.IsValid() && p.Addr().Is6() == six {
				out = append(out, spanOf(p))
			}
		}
		return merged(out)
	}
	whole := spanOf(netip.PrefixFrom(netip.IPv4Unspecified(), 0))
	if six {
		whole = spanOf(netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	spans = pick(a.Include)
	if len(a.Include) == 0 {
		spans = []span{whole}
	}
	for _, x := range pick(a.Exclude) {
		spans = without(spans, x)
	}
	return spans, len(spans) == 1 && spans[0] == whole
}

// without returns spans less x.
func without(spans []span, x span) []span {
	var out []span
	for _, s := range spans {
		if x.last.Less(s.first) || s.last.Less(x.first) {
			out = append(out, s)
			continue
		}
		if s.first.Less(x.first) {
			out = append(out, span{s.first, x.first.Prev()})
		}
		if x.last.Less(s.last) {
			out = append(out, span{x.last.Next(), s.last})
		}
	}
	return out
}

// rangeElements are spans as an interval set has them: where each begins, and where the first address after it is, if there is one.
func rangeElements(spans []span) []nftables.SetElement {
	var out []nftables.SetElement
	for _, s := range spans {
		out = append(out, nftables.SetElement{Key: s.first.AsSlice()})
		if next := s.last.Next(); next.IsValid() {
			out = append(out, nftables.SetElement{Key: next.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// portElements are ports as an interval set has them.
func portElements(ports []Ports) []nftables.SetElement {
	sorted := slices.SortedFunc(slices.Values(ports), func(a, b Ports) int { return cmp.Compare(a.Low, b.Low) })
	var joined []Ports
	for _, p := range sorted {
		if n := len(joined); n > 0 && int(p.Low) <= int(joined[n-1].High)+1 {
			joined[n-1].High = max(joined[n-1].High, p.High)
			continue
		}
		joined = append(joined, p)
	}
	var out []nftables.SetElement
	for _, p := range joined {
		out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p.Low)})
		if p.High < 1<<16-1 {
			out = append(out, nftables.SetElement{Key: binary.BigEndian.AppendUint16(nil, p.High+1), IntervalEnd: true})
		}
	}
	return out
}
