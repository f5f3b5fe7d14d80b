// Package netfault makes the network of a namespace worse: packets get lost, machines do not reach each other, all takes longer.
//
// It is for laboratories, which have to live through what real networks do. Faults are of one network namespace, that of a process.
// Loss and cuts are one table of nftables(8), which [Net.Mend] removes; a delay is the queueing discipline netem of a link. They end
// with the namespace, too.
//
// Linux only; anything may import it that may import internal/sys.
package netfault

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tableName is that of the table with all faults of a namespace.
const tableName = "talos_faults"

// Net is the network of a namespace. It is not safe for concurrent use. Close it at the end; the faults stay.
type Net struct{ file *os.File }

// OpenProcess returns the network that a process has. It needs CAP_SYS_ADMIN.
func OpenProcess(pid int) (*Net, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return nil, fmt.Errorf("open the network of process %d: %w", pid, err)
	}
	return &Net{f}, nil
}

// Close closes the handle.
func (n *Net) Close() error { return n.file.Close() }

// Faults are what is wrong with a network. The zero value is nothing.
type Faults struct {
	// Loss is how many of a thousand packets that come in on Link get lost, by chance.
	Loss uint32
	Link string
	// Cut are addresses of IPv4 from which nothing comes and to which nothing gets.
	Cut []netip.Addr
}

// Set makes the faults of the network those of f, in place of all that there were, in one transaction.
func (n *Net) Set(f Faults) error {
	fail := func(err error) error { return fmt.Errorf("set faults of a network: %w", err) }
	if f.Loss > 1000 || f.Loss > 0 && (f.Link == "" || len(f.Link) >= unix.IFNAMSIZ) {
		return fail(fmt.Errorf("%d of a thousand packets on link %q: %w", f.Loss, f.Link, syscall.EINVAL))
	}
	c, err := n.conn()
	if err != nil {
		return fail(err)
	}
	t := table()
	c.AddTable(t) // a delete of what is not there fails; with this it is always there
	c.DelTable(t)
	c.AddTable(t)
	in := c.AddChain(&nftables.Chain{
		Name: "in", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityRaw,
	})
	out := c.AddChain(&nftables.Chain{
		Name: "out", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityRaw,
	})
	const source, destination = 12, 16 // offsets of the addresses in the header (RFC 791, 3.1)
	for _, a := range f.Cut {
		if !a.Is4() {
			return fail(fmt.Errorf("cut off %s: not an IPv4 address: %w", a, syscall.EINVAL))
		}
		c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: from(source, a)})
		c.AddRule(&nftables.Rule{Table: t, Chain: out, Exprs: from(destination, a)})
	}
	if f.Loss > 0 {
		c.AddRule(&nftables.Rule{Table: t, Chain: in, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(f.Link), make([]byte, unix.IFNAMSIZ-len(f.Link))...)},
			&expr.Numgen{Register: 1, Modulus: 1000, Type: unix.NFT_NG_RANDOM},
			// Registers are compared byte by byte: the number has to begin with its highest.
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(f.Loss)},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := c.Flush(); err != nil {
		return fail(err)
	}
	return nil
}

// from drops what has an address at an offset of its header.
func from(offset uint32, a netip.Addr) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: a.AsSlice()},
		&expr.Counter{},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}
}

// Dropped returns how many packets the faults have cost since they were set.
func (n *Net) Dropped() (uint64, error) {
	c, err := n.conn()
	if err != nil {
		return 0, fmt.Errorf("count the packets that were lost: %w", err)
	}
	var sum uint64
	for _, chain := range []string{"in", "out"} {
		rules, err := c.GetRules(table(), &nftables.Chain{Name: chain, Table: table()})
		if err != nil {
			return 0, fmt.Errorf("count the packets that were lost: %w", err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					sum += counter.Packets
				}
			}
		}
	}
	return sum, nil
}

// Mend takes all faults of Set away. It is no error if there are none.
func (n *Net) Mend() error {
	c, err := n.conn()
	if err != nil {
		return fmt.Errorf("mend a network: %w", err)
	}
	c.DelTable(table())
	if err := c.Flush(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("mend a network: %w", err)
	}
	return nil
}

// Delay has what goes out by a link wait for so long; zero takes a delay away. The error wraps errors.ErrUnsupported if the kernel has no
// netem.
func (n *Net) Delay(link string, d time.Duration) error {
	fail := func(err error) error { return fmt.Errorf("delay what goes out by %s: %w", link, err) }
	h, err := netlink.NewHandleAt(netns.NsHandle(n.file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return fail(err)
	}
	defer h.Close()
	l, err := h.LinkByName(link)
	if err != nil {
		return fail(err)
	}
	q := netlink.NewNetem(
		netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)},
		netlink.NetemQdiscAttrs{Latency: uint32(d.Microseconds()), Limit: 10000},
	)
	if d <= 0 {
		err = h.QdiscDel(q)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) { // the kernel's own default has no handle
			return nil
		}
	} else {
		err = h.QdiscReplace(q)
		if errors.Is(err, fs.ErrNotExist) { // of the discipline, not of the link
			err = fmt.Errorf("the kernel has no netem: %w", errors.ErrUnsupported)
		}
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func table() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyIPv4}
}

func (n *Net) conn() (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(int(n.file.Fd())))
}
