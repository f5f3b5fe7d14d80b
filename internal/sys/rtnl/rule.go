package rtnl

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Rule chooses a routing table for packets (ip-rule(8)).
type Rule struct {
	IPv6        bool
	Source      netip.Prefix // not valid means any
	Destination netip.Prefix // not valid means any
	Input       string       // link that a packet came by; empty means any
	Output      string       // link that its socket is bound to; empty means any
	Mark, Mask  uint32       // the firewall mark in the bits of the mask; 0 and 0 mean any
	Priority    uint32       // rules are tried in this order
	Table       int          // 0 where the action needs none
	Action      uint8        // FR_ACT_…: 1 look into the table, 6 blackhole, 7 unreachable, 8 prohibit; 0 means 1 for a rule to be added
}

// Rules lists the rules, those of IPv4 first, each family in the order in which they are tried.
func (c *Conn) Rules() ([]Rule, error) {
	var out []Rule
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		messages, err := c.dump(unix.RTM_GETRULE, unix.RTM_NEWRULE, family)
		if err != nil {
			return nil, fmt.Errorf("list routing rules: %w", err)
		}
		for _, m := range messages {
			r, err := parseRule(m)
			if err != nil {
				return nil, fmt.Errorf("list routing rules: %w", err)
			}
			out = append(out, r)
		}
	}
	return out, nil
}

// parseRule reads a message of the kernel about a rule (fib_rule_hdr of linux/fib_rules.h and its attributes).
func parseRule(m []byte) (Rule, error) {
	const header = 12
	if len(m) < header {
		return Rule{}, fmt.Errorf("parse routing rule: %d bytes; want at least %d", len(m), header)
	}
	family, dst, src := m[0], int(m[1]), int(m[2])
	out := Rule{IPv6: family == unix.AF_INET6, Table: int(m[4]), Action: m[7]}
	err := eachAttribute(m[header:], func(kind uint16, value []byte) {
		var number uint32
		if len(value) == 4 {
			number = binary.NativeEndian.Uint32(value)
		}
		switch kind {
		case unix.FRA_SRC:
			out.Source = netip.PrefixFrom(addr(value), src)
		case unix.FRA_DST:
			out.Destination = netip.PrefixFrom(addr(value), dst)
		case unix.FRA_IIFNAME:
			out.Input = unix.ByteSliceToString(value)
		case unix.FRA_OIFNAME:
			out.Output = unix.ByteSliceToString(value)
		case unix.FRA_FWMARK:
			out.Mark = number
		case unix.FRA_FWMASK:
			out.Mask = number
		case unix.FRA_PRIORITY:
			out.Priority = number
		case unix.FRA_TABLE:
			out.Table = int(number)
		}
	})
	if err != nil {
		return Rule{}, fmt.Errorf("parse routing rule: %w", err)
	}
	return out, nil
}

// AddRule adds a rule. The error wraps fs.ErrExist if there is one such.
func (c *Conn) AddRule(r Rule) error {
	if err := c.h.RuleAdd(nlRule(r)); err != nil {
		return fmt.Errorf("add routing rule %d: %w", r.Priority, err)
	}
	return nil
}

// RemoveRule removes a rule. The error wraps fs.ErrNotExist if there is none such.
func (c *Conn) RemoveRule(r Rule) error {
	if err := c.h.RuleDel(nlRule(r)); err != nil {
		return fmt.Errorf("remove routing rule %d: %w", r.Priority, err)
	}
	return nil
}

// normal returns the rule as the kernel gives it back.
func (r Rule) normal() Rule {
	if r.Action == 0 {
		r.Action = unix.FR_ACT_TO_TBL
	}
	r.Source, r.Destination = masked(r.Source), masked(r.Destination)
	if r.Mark != 0 && r.Mask == 0 {
		r.Mask = ^uint32(0)
	}
	return r
}

// masked returns the network of p; a network of no bits matches any, as none does.
func masked(p netip.Prefix) netip.Prefix {
	if !p.IsValid() || p.Bits() == 0 {
		return netip.Prefix{}
	}
	return p.Masked()
}

func nlRule(r Rule) *netlink.Rule {
	r = r.normal()
	out := netlink.NewRule()
	out.Family = netlink.FAMILY_V4
	if r.IPv6 {
		out.Family = netlink.FAMILY_V6
	}
	out.Src, out.Dst = ipNet(r.Source), ipNet(r.Destination)
	out.IifName, out.OifName = r.Input, r.Output
	out.Priority, out.Table, out.Type = int(r.Priority), r.Table, r.Action
	out.Mark = r.Mark
	if r.Mask != 0 {
		out.Mask = &r.Mask
	}
	return out
}
