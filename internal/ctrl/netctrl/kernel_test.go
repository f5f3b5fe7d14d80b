package netctrl

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/network"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// own is a Conn to a new network namespace, which has lo and nothing else. It ends with the test's thread.
func own(t *testing.T) *rtnl.Conn {
	t.Helper()
	goruntime.LockOSThread() // and never unlocked: the thread ends with the goroutine
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	c, err := rtnl.OpenAt(fmt.Sprintf("/proc/self/task/%d/ns/net", syscall.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// TestStatusesOfTheKernel holds that what is true in memory is so with a kernel. Time is real here: a wait for the kernel
// does not end in virtual time.
func TestStatusesOfTheKernel(t *testing.T) {
	k := own(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st := memstate.New(memstate.Options{})
	s := controller.New(st, slog.New(slog.NewTextHandler(t.Output(), nil)), controller.Options{})
	for _, c := range Controllers(deps(k, &host{})) {
		if err := s.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	lo, err := k.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.SetUp(lo.Index, true); err != nil {
		t.Fatal(err)
	}
	address := rtnl.Address{Link: lo.Index, Prefix: netip.MustParsePrefix("192.0.2.7/24")}
	if err := k.AddAddress(address); err != nil {
		t.Fatal(err)
	}
	if err := k.AddRule(rtnl.Rule{Priority: 1000, Table: 100}); err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		ref  func() (any, error)
		what string
	}{
		{func() (any, error) {
			return state.WaitFor(ctx, st, state.RefOf[network.LinkStatus]("lo"), state.To("be up", func(s network.LinkStatus) bool {
				return s.Type == network.LinkTypeLoopback && s.LinkState && s.Flags&network.LinkUp != 0 && s.Kind == "" && s.QueueDisc == "noqueue"
			}))
		}, "link"},
		{func() (any, error) {
			return state.WaitFor(ctx, st, state.RefOf[network.AddressStatus]("lo/192.0.2.7/24"), state.To("be permanent", func(s network.AddressStatus) bool {
				return s.Flags&network.AddressPermanent != 0 && s.LinkName == "lo"
			}))
		}, "address"},
		{func() (any, error) {
			return state.WaitFor(ctx, st, state.RefOf[network.RouteStatus]("local/inet4//192.0.2.7/32/0"), state.To("be local", func(s network.RouteStatus) bool {
				return s.Type == network.RouteTypeLocal && s.OutLinkName == "lo" && s.Protocol == network.RouteProtocolKernel
			}))
		}, "route"},
		{func() (any, error) {
			return state.WaitFor(ctx, st, state.RefOf[network.RoutingRuleStatus]("inet4/1000"), state.To("look into table 100", func(s network.RoutingRuleStatus) bool {
				return s.Table == 100 && s.Action == network.RoutingRuleActionUnicast
			}))
		}, "rule"},
		{func() (any, error) {
			return state.WaitFor(ctx, st, state.RefOf[network.NodeAddress](network.NodeAddressDefault), state.To("be the address", func(s network.NodeAddress) bool {
				return len(s.Addresses) == 1 && s.Addresses[0] == address.Prefix
			}))
		}, "node address"},
	} {
		if _, err := w.ref(); err != nil {
			t.Errorf("%s: %v", w.what, err)
		}
	}
	if err := k.RemoveAddress(address); err != nil {
		t.Fatal(err)
	}
	if _, err := state.WaitFor(ctx, st, state.RefOf[network.AddressStatus]("lo/192.0.2.7/24"), state.ToBeGone()); err != nil {
		t.Error(err)
	}
}
