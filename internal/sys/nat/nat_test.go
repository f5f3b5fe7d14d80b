package nat

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// isolated moves the test's goroutine into a network namespace of its own, which ends with the test.
func isolated(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("no network namespace of our own: that needs root")
	}
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

func TestMasqueradeIsOneTable(t *testing.T) {
	isolated(t)
	subnet := netip.MustParsePrefix("10.99.7.0/24")
	for range 2 { // the second time replaces
		if err := Masquerade("lab", subnet); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := Tables(); err != nil || !slices.Equal(names, []string{"lab"}) {
		t.Errorf("Tables = %v, %v; want lab", names, err)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := &nftables.Table{Name: "lab", Family: nftables.TableFamilyIPv4}
	rules, err := c.GetRules(table, &nftables.Chain{Name: "postrouting", Table: table})
	if err != nil || len(rules) != 1 {
		t.Fatalf("rules = %v, %v; want one", rules, err)
	}
	var compared [][]byte
	for _, e := range rules[0].Exprs {
		if cmp, ok := e.(*expr.Cmp); ok {
			compared = append(compared, cmp.Data)
		}
	}
	if diff := cmp.Diff([][]byte{{10, 99, 7, 0}, {10, 99, 7, 0}, {224, 0, 0, 0}}, compared); diff != "" {
		t.Errorf("addresses compared (-want +got):\n%s", diff)
	}
	for range 2 { // the second time there is none
		if err := Remove("lab"); err != nil {
			t.Error(err)
		}
	}
	if names, err := Tables(); err != nil || len(names) != 0 {
		t.Errorf("Tables after Remove = %v, %v; want none", names, err)
	}
}

func TestMasqueradeRefusesIPv6(t *testing.T) {
	if err := Masquerade("lab", netip.MustParsePrefix("fd00::/64")); err == nil {
		t.Error("Masquerade of an IPv6 network = nil; want an error")
	}
}
