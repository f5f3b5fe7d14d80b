package nft

import (
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"

	"talos.internal/internal/sys/nat"
)

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func TestAddressesAreRanges(t *testing.T) {
	for _, tc := range []struct {
		name   string
		a      Addresses
		v4, v6 string
	}{
		{"none are all", Addresses{}, "0.0.0.0-255.255.255.255 (all)", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff (all)"},
		{"one network", Addresses{Include: prefixes("10.5.0.9/24")}, "10.5.0.0-10.5.0.255", ""},
		{"neighbours and overlaps are one", Addresses{Include: prefixes("10.5.1.0/24", "10.5.0.0/24", "10.5.0.128/25", "fd00::/8")}, "10.5.0.0-10.5.1.255", "fd00::-fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		{"an exception in the middle", Addresses{Include: prefixes("10.5.0.0/24"), Exclude: prefixes("10.5.0.64/26")}, "10.5.0.0-10.5.0.63 10.5.0.128-10.5.0.255", ""},
		{"exceptions at the ends", Addresses{Include: prefixes("10.5.0.0/24"), Exclude: prefixes("10.5.0.0/26", "10.5.0.255/32")}, "10.5.0.64-10.5.0.254", ""},
		{"all of it excepted", Addresses{Include: prefixes("10.5.0.0/24"), Exclude: prefixes("10.0.0.0/8")}, "", ""},
		{"all but some", Addresses{Exclude: prefixes("0.0.0.0/1")}, "128.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff (all)"},
		{"odd lengths", Addresses{Include: prefixes("10.5.0.13/29", "2001:db8::/33")}, "10.5.0.8-10.5.0.15", "2001:db8::-2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for six, want := range map[bool]string{false: tc.v4, true: tc.v6} {
				spans, all := tc.a.of(six)
				var words []string
				for _, s := range spans {
					words = append(words, s.first.String()+"-"+s.last.String())
				}
				if all {
					words = append(words, "(all)")
				}
				if got := strings.Join(words, " "); got != want {
					t.Errorf("of(IPv6 %t) = %q; want %q", six, got, want)
				}
			}
		})
	}
}

func TestElements(t *testing.T) {
	got := portElements([]Ports{{443, 443}, {50000, 50001}, {444, 450}, {60000, 65535}})
	want := []nftables.SetElement{
		{Key: []byte{0x01, 0xbb}}, {Key: []byte{0x01, 0xc3}, IntervalEnd: true}, {Key: []byte{0xc3, 0x50}}, {Key: []byte{0xc3, 0x52}, IntervalEnd: true}, {Key: []byte{0xea, 0x60}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("portElements (-want +got):\n%s", d)
	}
	if got := rangeElements([]span{spanOf(netip.MustParsePrefix("255.0.0.0/8"))}); len(got) != 1 {
		t.Errorf("rangeElements up to the last address = %+v; want no end", got)
	}
}

// TestKernelTakesAllConditions holds that a table comes, is replaced and goes, with every condition that there is.
func TestKernelTakesAllConditions(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	const icmp, tcp, udp, icmp6 = 1, 6, 17, 58
	both := &Addresses{Include: prefixes("10.0.0.0/8", "fd00::/8"), Exclude: prefixes("10.5.0.0/16")}
	not := &Addresses{Include: prefixes("10.0.0.0/8"), Not: true}
	chains := []Chain{
		{Name: "ingress", Type: "filter", Hook: 1, Priority: -140, Policy: Drop, Rules: []Rule{
			{States: 2 | 4, Verdict: Accept}, {States: 1, Verdict: Drop, Counter: true}, {Input: Names{Names: []string{"lo", "kubespan"}}, Verdict: Accept},
			{Protocol: icmp, ICMPTypes: []uint8{13, 14}, Verdict: Drop}, {Protocol: icmp6, ICMPTypes: []uint8{135}, Verdict: Accept}, {Protocol: icmp, PerSecond: 5, Verdict: Accept},
			{Source: both, Protocol: tcp, DestinationPorts: []Ports{{50000, 50001}, {6443, 6443}}, Verdict: Accept},
			{Source: not, Destination: both, Protocol: udp, SourcePorts: []Ports{{1, 1023}}, Verdict: Drop},
		}},
		{Name: "prerouting", Type: "filter", Hook: 0, Priority: -140, Policy: Accept, Rules: []Rule{
			{Output: Names{}, Input: Names{Names: []string{"lo"}, Not: true}, Mark: &Mark{Mask: 0x60, Value: 0x20}, SetMark: &Mark{Mask: 0xffffff9f, XOR: 0x40}},
		}},
	}
	for range 2 {
		if err := Apply("talos", chains); err != nil {
			t.Fatal(err)
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.ListChains()
	if err != nil || len(list) != 2 {
		t.Fatalf("chains = %+v, %v", list, err)
	}
	for _, x := range list {
		rules, err := c.GetRules(x.Table, x)
		want := 1
		if x.Name == "ingress" {
			want = 10 // two of them are one for each version of IP
		}
		if err != nil || len(rules) != want {
			t.Errorf("chain %s has %d rules, %v; want %d", x.Name, len(rules), err, want)
		}
	}
	if err := Apply("talos", []Chain{{Name: "x", Type: "filter", Hook: 1, Rules: []Rule{{DestinationPorts: []Ports{{1, 2}}}}}}); err == nil {
		t.Error("ports of no protocol were taken")
	}
	for range 2 {
		if err := Remove("talos"); err != nil {
			t.Error(err)
		}
	}
	if tables, err := nat.Tables(); err != nil || slices.Contains(tables, "talos") {
		t.Errorf("tables after Remove = %v, %v", tables, err)
	}
}
