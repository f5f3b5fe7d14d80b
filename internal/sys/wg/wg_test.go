package wg

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"talos.internal/internal/sys/rtnl"
)

const (
	private = "aKrsoaIyJFl3HhmcUXRkAE7XgVfHcNgo0LTLJ2EvF2o="
	public  = "5RBVvAGW0JM8Nx3hk8cVJuwIFVjZaS2XN1mBdGSyjk4="
)

func TestConfigIsConverted(t *testing.T) {
	c := Config{PrivateKey: private, ListenPort: 51821, Peers: []Peer{{
		PublicKey: public, PresharedKey: private, Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Keepalive: 25 * time.Second,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.3/24"), netip.MustParsePrefix("fd00::/8")},
	}}}
	got, err := c.native()
	if err != nil {
		t.Fatal(err)
	}
	p := got.Peers[0]
	if got.PrivateKey.String() != private || *got.ListenPort != 51821 || *got.FirewallMark != 0 || p.PublicKey.String() != public ||
		p.Endpoint.String() != "192.0.2.1:51820" || *p.PersistentKeepaliveInterval != 25*time.Second || !p.ReplaceAllowedIPs ||
		p.AllowedIPs[0].String() != "10.8.0.0/24" || p.AllowedIPs[1].String() != "fd00::/8" {
		t.Errorf("native() = %+v", got)
	}
}

func TestErrorsShowNoSecret(t *testing.T) {
	for _, c := range []Config{{PrivateKey: "secret"}, {PrivateKey: private, Peers: []Peer{{PublicKey: public, PresharedKey: "secret"}}}, {PrivateKey: private, Peers: []Peer{{PublicKey: "x"}}}} {
		if _, err := c.native(); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("native(%+v) = %v; want an error without the key", c, err)
		}
	}
}

// TestKernel configures a link where the kernel has WireGuard, and is told so where it does not.
func TestKernel(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	links, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer links.Close()
	err = links.AddLink(rtnl.NewLink{Name: "wg0", Kind: "wireguard"})
	known := err == nil
	if !known && !errors.Is(err, syscall.EOPNOTSUPP) {
		t.Fatal(err)
	}
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cfg := Config{PrivateKey: private, ListenPort: 51821, Peers: []Peer{{PublicKey: public, AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24")}}}}
	err = c.Configure("wg0", cfg)
	if !known {
		if err == nil {
			t.Error("a link that is not there was configured")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg.Peers = nil
	if err := c.Configure("wg0", cfg); err != nil {
		t.Fatal(err)
	}
	d, err := c.c.Device("wg0")
	if err != nil || len(d.Peers) != 0 || d.ListenPort != 51821 || d.PrivateKey.String() != private {
		t.Errorf("device = %+v, %v; want no peers", d, err)
	}
}
