// Package wg configures WireGuard links (wireguard(7)): their keys, ports and peers, over generic netlink.
//
// A link of the kind "wireguard" is made by package rtnl. All calls are about the network namespace that [Open] was called in. Keys are
// in base64, as wg(8) writes them, and are in no error. Linux only; anything may import it that may import internal/sys.
package wg

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Config is how a link should be.
type Config struct {
	PrivateKey   string
	ListenPort   int // 0 lets the kernel choose
	FirewallMark int // on packets that leave the tunnel; 0 is none
	Peers        []Peer
}

// Peer is the other end of a tunnel.
type Peer struct {
	PublicKey    string
	PresharedKey string         // empty if there is none
	Endpoint     netip.AddrPort // not valid until the peer calls
	Keepalive    time.Duration  // 0 sends nothing
	AllowedIPs   []netip.Prefix
}

// Conn speaks to the kernel. Close it at the end. It is safe for concurrent use.
type Conn struct{ c *wgctrl.Client }

// Open returns a Conn. A kernel without WireGuard is found out by the first call that needs it.
func Open() (*Conn, error) {
	c, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("open WireGuard: %w", err)
	}
	return &Conn{c}, nil
}

// Close ends the Conn.
func (c *Conn) Close() error { return c.c.Close() }

// Configure makes the link of a name what cfg says, all of it: other peers are removed. A peer that stays keeps its session. The error
// wraps fs.ErrNotExist if there is no such link.
func (c *Conn) Configure(name string, cfg Config) error {
	out, err := cfg.native()
	if err != nil {
		return fmt.Errorf("configure WireGuard link %s: %w", name, err)
	}
	have, err := c.c.Device(name)
	if err != nil {
		return fmt.Errorf("configure WireGuard link %s: %w", name, err)
	}
	wanted := map[wgtypes.Key]bool{}
	for _, p := range out.Peers {
		wanted[p.PublicKey] = true
	}
	for _, p := range have.Peers {
		if !wanted[p.PublicKey] {
			out.Peers = append(out.Peers, wgtypes.PeerConfig{PublicKey: p.PublicKey, Remove: true})
		}
	}
	if err := c.c.ConfigureDevice(name, out); err != nil {
		return fmt.Errorf("configure WireGuard link %s: %w", name, err)
	}
	return nil
}

// native converts. Zero values are said, so that they replace what was there.
func (cfg Config) native() (wgtypes.Config, error) {
	private, err := wgtypes.ParseKey(cfg.PrivateKey)
	if err != nil {
		return wgtypes.Config{}, fmt.Errorf("the private key is not 32 bytes in base64")
	}
	out := wgtypes.Config{PrivateKey: &private, FirewallMark: &cfg.FirewallMark}
	if cfg.ListenPort != 0 {
		out.ListenPort = &cfg.ListenPort
	}
	for _, p := range cfg.Peers {
		public, err := wgtypes.ParseKey(p.PublicKey)
		if err != nil {
			return wgtypes.Config{}, fmt.Errorf("the public key %q of a peer is not 32 bytes in base64", p.PublicKey)
		}
		var preshared wgtypes.Key
		if p.PresharedKey != "" {
			if preshared, err = wgtypes.ParseKey(p.PresharedKey); err != nil {
				return wgtypes.Config{}, fmt.Errorf("the preshared key of peer %s is not 32 bytes in base64", p.PublicKey)
			}
		}
		peer := wgtypes.PeerConfig{PublicKey: public, PresharedKey: &preshared, PersistentKeepaliveInterval: &p.Keepalive, ReplaceAllowedIPs: true}
		if p.Endpoint.IsValid() {
			peer.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
		}
		for _, n := range p.AllowedIPs {
			n = n.Masked()
			peer.AllowedIPs = append(peer.AllowedIPs, net.IPNet{IP: n.Addr().AsSlice(), Mask: net.CIDRMask(n.Bits(), n.Addr().BitLen())})
		}
		out.Peers = append(out.Peers, peer)
	}
	return out, nil
}
