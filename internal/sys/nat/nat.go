// Package nat lets networks that only this machine knows reach others behind the machine's own address.
//
// A table of nftables(8), family ip, belongs to each such network; its name is the caller's. The table is all there is of it:
// removing it undoes everything. Forwarding itself is the sysctl net.ipv4.ip_forward, which is not set here. All calls are about
// the network namespace of the calling thread.
//
// Linux only; anything may import the package that may import internal/sys.
package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// multicast are groups, which do not leave a network.
var multicast = netip.MustParsePrefix("224.0.0.0/4")

// Masquerade makes a table whose one rule gives what comes from subnet, and goes to anywhere else, the address of the machine
// on the way out. A table of that name that is there is replaced in the same transaction. The subnet is one of IPv4.
func Masquerade(table string, subnet netip.Prefix) error {
	if !subnet.Addr().Is4() {
		return fmt.Errorf("masquerade %s: not an IPv4 network: %w", subnet, syscall.EINVAL)
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("masquerade %s: %w", subnet, err)
	}
	t := &nftables.Table{Name: table, Family: nftables.TableFamilyIPv4}
	c.AddTable(t) // a delete of what is not there fails; with this it is always there
	c.DelTable(t)
	c.AddTable(t)
	chain := c.AddChain(&nftables.Chain{
		Name: "postrouting", Table: t, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	const source, destination = 12, 16 // offsets of the addresses in the header (RFC 791, 3.1)
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: slices.Concat(
		match(source, subnet, expr.CmpOpEq), match(destination, subnet, expr.CmpOpNeq), match(destination, multicast, expr.CmpOpNeq), []expr.Any{&expr.Masq{}},
	)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("masquerade %s by table %s: %w", subnet, table, err)
	}
	return nil
}

// match compares the address at an offset of the header with a network.
func match(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	mask := binaryutil.BigEndian.PutUint32(^uint32(0) << (32 - p.Bits()))
	if p.Bits() == 0 {
		mask = make([]byte, 4)
	}
	network := p.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: network[:]},
	}
}

// Remove removes a table with all that is in it. It is no error if there is none.
func Remove(table string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	c.DelTable(&nftables.Table{Name: table, Family: nftables.TableFamilyIPv4})
	if err := c.Flush(); err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("remove table %s: %w", table, err)
	}
	return nil
}

// Tables returns the names of all tables of nftables, of any family and any owner, sorted.
func Tables() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	tables, err := c.ListTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names, nil
}
