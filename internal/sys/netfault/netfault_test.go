package netfault

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/sys/rtnl"
)

// isolated moves the test's goroutine into a network namespace of its own, which ends with the test, and returns its network.
func isolated(t *testing.T) *Net {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("no network namespace of our own: that needs root")
	}
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	c, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	lo, err := c.LinkByName("lo")
	if err == nil {
		err = c.SetUp(lo.Index, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := OpenProcess(syscall.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// arrive sends so many datagrams over the loopback interface and returns how many came.
func arrive(t *testing.T, sent int) int {
	t.Helper()
	in, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := net.Dial("udp4", in.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	came, buf := 0, make([]byte, 8)
	for range sent {
		// A datagram that the rules of this side drop is an error here.
		if _, err := out.Write([]byte("x")); err != nil && !errors.Is(err, syscall.EPERM) {
			t.Fatal(err)
		}
		// What arrives is there when the write has ended.
		if err := in.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.ReadFrom(buf); err == nil {
			came++
		}
	}
	return came
}

func TestPacketsGetLost(t *testing.T) {
	n := isolated(t)
	if got := arrive(t, 100); got != 100 {
		t.Fatalf("%d of 100 packets arrive without faults", got)
	}
	if err := n.Set(Faults{Link: "lo", Loss: 250}); err != nil {
		t.Fatal(err)
	}
	const sent = 2000
	came := arrive(t, sent)
	// With 250 of 1000 lost, 1500 come; the standard deviation is 19.
	if came < 1400 || came > 1600 {
		t.Errorf("%d of %d packets arrive; want about 1500", came, sent)
	}
	if lost, err := n.Dropped(); err != nil || lost != uint64(sent-came) {
		t.Errorf("Dropped = %d, %v; want %d", lost, err, sent-came)
	}
	if err := n.Set(Faults{Link: "eth0", Loss: 1000}); err != nil {
		t.Fatal(err)
	}
	if got := arrive(t, 100); got != 100 {
		t.Errorf("%d of 100 packets arrive with loss on another link", got)
	}
	for range 2 { // the second time there is nothing to mend
		if err := n.Mend(); err != nil {
			t.Error(err)
		}
	}
	if got := arrive(t, 100); got != 100 {
		t.Errorf("%d of 100 packets arrive after Mend", got)
	}
}

func TestAddressesAreCutOff(t *testing.T) {
	n := isolated(t)
	if err := n.Set(Faults{Cut: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}); err != nil {
		t.Fatal(err)
	}
	if got := arrive(t, 10); got != 0 {
		t.Errorf("%d of 10 packets arrive from an address that is cut off", got)
	}
	if err := n.Set(Faults{Cut: []netip.Addr{netip.MustParseAddr("127.0.0.2")}}); err != nil {
		t.Fatal(err)
	}
	if got := arrive(t, 10); got != 10 {
		t.Errorf("%d of 10 packets arrive with another address cut off", got)
	}
}

func TestFaultsThatAreNone(t *testing.T) {
	n := isolated(t)
	for name, f := range map[string]Faults{
		"more than all":   {Link: "lo", Loss: 1001},
		"no link":         {Loss: 1},
		"a long name":     {Link: "abcdefghijklmnopqrst", Loss: 1},
		"an IPv6 address": {Cut: []netip.Addr{netip.MustParseAddr("fd00::1")}},
	} {
		if err := n.Set(f); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: Set = %v; want EINVAL", name, err)
		}
	}
	if _, err := OpenProcess(1 << 30); err == nil {
		t.Error("OpenProcess of nobody = nil; want an error")
	}
}

func TestADelayIsThereOrIsSaidNotToBe(t *testing.T) {
	n := isolated(t)
	const delay = 30 * time.Millisecond
	switch err := n.Delay("lo", delay); {
	case errors.Is(err, errors.ErrUnsupported):
		t.Log(err)
	case err != nil:
		t.Fatal(err)
	default:
		if got := arrive(t, 1); got != 0 {
			t.Errorf("a packet arrives within a millisecond; want it delayed by %v", delay)
		}
	}
	for range 2 {
		if err := n.Delay("lo", 0); err != nil {
			t.Errorf("Delay of nothing = %v", err)
		}
	}
	if got := arrive(t, 10); got != 10 {
		t.Errorf("%d of 10 packets arrive after the delay was taken away", got)
	}
	if err := n.Delay("none0", delay); err == nil {
		t.Error("Delay on a link that is not there = nil; want an error")
	}
}
