// Package nft puts a packet filter in place: a table of nftables(8) with its chains and rules, as plain data.
//
// A table is one caller's: [Apply] replaces all that is in it in one transaction, so that no packet sees half of it, and [Remove] removes
// it; other tables are not touched. All calls are about the network namespace of the calling thread. NAT is package nat's.
//
// Linux only; anything may import it that may import internal/sys.
package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Chain is where rules are looked at.
type Chain struct {
	Name     string
	Type     string // "filter", "nat" or "route"
	Hook     uint32 // NF_INET_…: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting
	Priority int32  // chains of one hook are looked at in this order
	Policy   Verdict
	Rules    []Rule
}

// Verdict is what happens to a packet.
type Verdict uint8

// The verdicts.
const (
	Continue Verdict = iota // with the next rule
	Accept
	Drop
)

// Rule matches a packet if all its conditions do; zero ones always do. Then it does what it says.
type Rule struct {
	Input, Output       Names
	Mark                *Mark      // the masked mark is the value
	States              uint32     // bits of the connection's states: 1 invalid, 2 established, 4 related, 8 new
	Source, Destination *Addresses // nil is any
	Protocol            uint8      // above IP; 0 is any
	SourcePorts         []Ports    // of TCP and UDP
	DestinationPorts    []Ports
	ICMPTypes           []uint8 // of ICMP and ICMPv6
	PerSecond           uint64  // only while there are no more packets than this; 0 is no limit
	SetMark             *Mark   // the new mark is the old one masked, and combined with XOR
	Counter             bool
	Verdict             Verdict
}

// Names is a condition on the name of a link: it is one of these, or with Not none of them. Without names it is true.
type Names struct {
	Names []string
	Not   bool
}

// Mark is an operation on the mark of a packet.
type Mark struct{ Mask, XOR, Value uint32 }

// Addresses is a condition on an address: it is in one of the networks and in none of the exceptions; with Not that is turned round.
// No networks are all.
type Addresses struct {
	Include, Exclude []netip.Prefix
	Not              bool
}

// Ports are the ports from Low to High, both included.
type Ports struct{ Low, High uint16 }

// Apply makes the table of a name, family inet, what chains say, all of it.
func Apply(table string, chains []Chain) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("filter packets by table %s: %w", table, err)
	}
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyINet}
	c.AddTable(t) // a delete of what is not there fails; with this it is always there
	c.DelTable(t)
	c.AddTable(t)
	for _, chain := range chains {
		b := builder{c: c, table: t, chain: c.AddChain(&nftables.Chain{
			Name: chain.Name, Table: t, Type: nftables.ChainType(chain.Type), Hooknum: nftables.ChainHookRef(nftables.ChainHook(chain.Hook)),
			Priority: nftables.ChainPriorityRef(nftables.ChainPriority(chain.Priority)), Policy: policy(chain.Policy),
		})}
		for i, r := range chain.Rules {
			if err := b.rule(r); err != nil {
				return fmt.Errorf("filter packets by table %s: rule %d of chain %s: %w", table, i, chain.Name, err)
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("filter packets by table %s: %w", table, err)
	}
	return nil
}

func policy(v Verdict) *nftables.ChainPolicy {
	p := nftables.ChainPolicyAccept
	if v == Drop {
		p = nftables.ChainPolicyDrop
	}
	return &p
}

// Remove removes a table of family inet with all that is in it. It is no error if there is none.
func Remove(table string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	return nil
}

type builder struct {
	c     *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
}

// family is one version of IP: its number in nftables, where its addresses are in the header (RFC 791 section 3.1, RFC 8200 section 3),
// and how long they are.
type family struct {
	number              byte
	source, destination uint32
	size                uint32
	six                 bool
}

var families = []family{
	{number: unix.NFPROTO_IPV4, source: 12, destination: 16, size: 4},
	{number: unix.NFPROTO_IPV6, source: 8, destination: 24, size: 16, six: true},
}

// rule adds a rule, or one for each version of IP if it is about addresses.
func (b builder) rule(r Rule) error {
	if r.Source == nil && r.Destination == nil {
		return b.add(r, nil)
	}
	for _, f := range families {
		var of []expr.Any
		never := false
		for _, side := range []struct {
			a      *Addresses
			offset uint32
		}{{r.Source, f.source}, {r.Destination, f.destination}} {
			if side.a == nil {
				continue
			}
			ranges, all := side.a.of(f.six)
			switch {
			case all && side.a.Not, !all && len(ranges) == 0 && !side.a.Not:
				never = true
			case all, len(ranges) == 0: // always
			default:
				lookup, err := b.set(addressType(f), rangeElements(ranges), side.a.Not)
				if err != nil {
					return err
				}
				of = append(of, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: side.offset, Len: f.size}, lookup)
			}
		}
		if never {
			continue
		}
		version := []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.number}}}
		if err := b.add(r, append(version, of...)); err != nil {
			return err
		}
	}
	return nil
}

func addressType(f family) nftables.SetDatatype {
	if f.six {
		return nftables.TypeIP6Addr
	}
	return nftables.TypeIPAddr
}

// set adds a set for one rule and returns the look-up of register 1 in it.
func (b builder) set(kind nftables.SetDatatype, elements []nftables.SetElement, not bool) (expr.Any, error) {
	s := &nftables.Set{Table: b.table, Anonymous: true, Constant: true, Interval: true, KeyType: kind}
	if err := b.c.AddSet(s, elements); err != nil {
		return nil, err
	}
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, Invert: not}, nil
}

// add adds one rule; addresses are its conditions on them.
func (b builder) add(r Rule, addresses []expr.Any) error {
	var e []expr.Any
	for _, n := range []struct {
		key expr.MetaKey
		Names
	}{{expr.MetaKeyIIFNAME, r.Input}, {expr.MetaKeyOIFNAME, r.Output}} {
		if len(n.Names.Names) == 0 {
			continue
		}
		s := &nftables.Set{Table: b.table, Anonymous: true, Constant: true, KeyType: nftables.TypeIFName}
		var elements []nftables.SetElement
		for _, name := range n.Names.Names {
			key := make([]byte, unix.IFNAMSIZ)
			copy(key, name)
			elements = append(elements, nftables.SetElement{Key: key})
		}
		if err := b.c.AddSet(s, elements); err != nil {
			return err
		}
		e = append(e, &expr.Meta{Key: n.key, Register: 1}, &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID, Invert: n.Not})
	}
	if r.Mark != nil {
		e = append(e, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, masked(r.Mark), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(r.Mark.Value)})
	}
	if r.States != 0 {
		e = append(e, &expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(r.States), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
	}
	e = append(e, addresses...)
	above, err := b.above(r)
	if err != nil {
		return err
	}
	e = append(e, above...)
	if r.PerSecond != 0 {
		e = append(e, &expr.Limit{Type: expr.LimitTypePkts, Rate: r.PerSecond, Unit: expr.LimitTimeSecond, Burst: 5})
	}
	if r.SetMark != nil {
		e = append(e, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, masked(r.SetMark), &expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: 1})
	}
	if r.Counter {
		e = append(e, &expr.Counter{})
	}
	switch r.Verdict {
	case Accept:
		e = append(e, &expr.Verdict{Kind: expr.VerdictAccept})
	case Drop:
		e = append(e, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	b.c.AddRule(&nftables.Rule{Table: b.table, Chain: b.chain, Exprs: e})
	return nil
}

func masked(m *Mark) expr.Any {
	return &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(m.Mask), Xor: binaryutil.NativeEndian.PutUint32(m.XOR)}
}

// above are the conditions on the protocol above IP.
func (b builder) above(r Rule) ([]expr.Any, error) {
	if r.Protocol == 0 {
		if len(r.SourcePorts)+len(r.DestinationPorts)+len(r.ICMPTypes) > 0 {
			return nil, errors.New("ports and types need a protocol")
		}
		return nil, nil
	}
	e := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{r.Protocol}}}
	for _, p := range []struct {
		ports  []Ports
		offset uint32 // in the headers of TCP and UDP
	}{{r.SourcePorts, 0}, {r.DestinationPorts, 2}} {
		if len(p.ports) == 0 {
			continue
		}
		lookup, err := b.set(nftables.TypeInetService, portElements(p.ports), false)
		if err != nil {
			return nil, err
		}
		e = append(e, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: p.offset, Len: 2}, lookup)
	}
	if len(r.ICMPTypes) > 0 {
		s := &nftables.Set{Table: b.table, Anonymous: true, Constant: true, KeyType: nftables.TypeICMPType}
		if r.Protocol == unix.IPPROTO_ICMPV6 {
			s.KeyType = nftables.TypeICMP6Type
		}
		var elements []nftables.SetElement
		for _, t := range r.ICMPTypes {
			elements = append(elements, nftables.SetElement{Key: []byte{t}})
		}
		if err := b.c.AddSet(s, elements); err != nil {
			return nil, err
		}
		e = append(e, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1}, &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID})
	}
	return e, nil
}
