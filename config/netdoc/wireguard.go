package netdoc

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// WireguardKey is a public key of WireGuard: 32 bytes in base64.
type WireguardKey string

// Expects implements [schema.Text].
func (WireguardKey) Expects() string { return "a WireGuard key: 32 bytes in base64" }

// UnmarshalText checks text. The error does not show it.
func (k *WireguardKey) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	switch {
	case err != nil:
		return errors.New("it is not base64")
	case len(b) != 32:
		return fmt.Errorf("it has %d bytes", len(b))
	case string(b) == strings.Repeat("\x00", 32):
		return errors.New("all its bytes are zero")
	}
	*k = WireguardKey(base64.StdEncoding.EncodeToString(b))
	return nil
}

// MarshalText prints k.
func (k WireguardKey) MarshalText() ([]byte, error) { return []byte(k), nil }

// WireguardSecret is a private or preshared key of WireGuard. Format verbs print it redacted; take the WireguardKey in it
// to get at the key.
type WireguardSecret struct{ WireguardKey }

// Format implements [fmt.Formatter]: no verb shows the key.
func (k WireguardSecret) Format(f fmt.State, _ rune) {
	if k.WireguardKey != "" {
		_, _ = f.Write([]byte("[redacted]"))
	}
}

// Public returns the public key of private key k (RFC 7748 §6.1), or "" if k is not set.
func (k WireguardSecret) Public() WireguardKey {
	b, err := base64.StdEncoding.DecodeString(string(k.WireguardKey))
	if err != nil {
		return ""
	}
	private, err := ecdh.X25519().NewPrivateKey(b)
	if err != nil {
		return ""
	}
	return WireguardKey(base64.StdEncoding.EncodeToString(private.PublicKey().Bytes()))
}

// WireguardConfig makes a WireGuard link: an encrypted tunnel to each of its peers.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: WireguardConfig
//	name: wg0
//	privateKey: aKrsoaIyJFl3HhmcUXRkAE7XgVfHcNgo0LTLJ2EvF2o=
//	listenPort: 51821
//	peers:
//	    - publicKey: 5RBVvAGW0JM8Nx3hk8cVJuwIFVjZaS2XN1mBdGSyjk4=
//	      endpoint: 192.0.2.10:51821
//	      persistentKeepaliveInterval: 25s
//	      allowedIPs:
//	        - 10.8.0.0/24
//	addresses:
//	    - address: 10.8.0.2/24
type WireguardConfig struct {
	// Name is the name of the new link, 1 to 15 bytes.
	Name string `yaml:"name" required:"true"`
	// PrivateKey is this machine's key: 32 bytes in base64, as "wg genkey" prints it.
	PrivateKey WireguardSecret `yaml:"privateKey" required:"true" secret:"true"`
	// ListenPort is the UDP port. Left out, the kernel chooses one.
	ListenPort uint16 `yaml:"listenPort"`
	// FirewallMark is put on the packets that the link sends, for routing rules and the firewall. Left out or 0, none is.
	FirewallMark uint32 `yaml:"firewallMark"`
	// Peers are the other ends of the tunnel.
	//
	// Example:
	//
	//	peers:
	//	    - publicKey: 5RBVvAGW0JM8Nx3hk8cVJuwIFVjZaS2XN1mBdGSyjk4=
	//	      endpoint: 192.0.2.10:51821
	//	      allowedIPs:
	//	        - 10.8.0.0/24
	Peers      []WireguardPeer `yaml:"peers"`
	CommonLink `yaml:",inline"`
}

// WireguardPeer is another end of a tunnel.
type WireguardPeer struct {
	// PublicKey is the peer's public key: 32 bytes in base64.
	PublicKey WireguardKey `yaml:"publicKey" required:"true"`
	// PresharedKey is a secret that both ends have, 32 bytes in base64, mixed into the encryption. Left out, none is.
	PresharedKey WireguardSecret `yaml:"presharedKey" secret:"true"`
	// Endpoint is the peer's address and UDP port. Left out, the peer must be the one that begins.
	Endpoint scalar.AddrPort `yaml:"endpoint"`
	// PersistentKeepaliveInterval is the time, in whole seconds up to 65535s, after which an idle tunnel sends a packet, to
	// keep a NAT or firewall on the way open. Left out or 0s, it sends none; 25s is usual.
	PersistentKeepaliveInterval scalar.Duration `yaml:"persistentKeepaliveInterval"`
	// AllowedIPs are the networks behind the peer: packets to them go to it, packets from it are taken only if they are from
	// them. Routes to them are not made.
	AllowedIPs []scalar.Prefix `yaml:"allowedIPs"`
}

func (c *WireguardPeer) Validate(r *schema.Reporter) {
	if c.Endpoint != (scalar.AddrPort{}) {
		checkUnicast(r.At("endpoint"), c.Endpoint.Addr())
		if c.Endpoint.Port() == 0 {
			r.At("endpoint").Errorf("expected a port from 1 to 65535, got 0")
		}
	}
	checkWholeSeconds(r.At("persistentKeepaliveInterval"), c.PersistentKeepaliveInterval.Duration, 0*time.Second)
	for i, p := range c.AllowedIPs {
		checkNetwork(r.At("allowedIPs").Item(i), p.Prefix)
	}
}

func (*WireguardConfig) DocumentKind() string   { return "WireguardConfig" }
func (c *WireguardConfig) DocumentName() string { return c.Name }

func (c *WireguardConfig) Validate(r *schema.Reporter) {
	checkNewLink(r.At("name"), c.Name)
	own := c.PrivateKey.Public()
	keys := firsts[WireguardKey, int]{}
	networks := firsts[netip.Prefix, int]{}
	for i, peer := range c.Peers {
		at := r.At("peers").Item(i)
		if peer.PublicKey == own {
			at.At("publicKey").Errorf("the key is this machine's own")
		}
		if j, twice := keys.seen(peer.PublicKey, i); twice {
			at.At("publicKey").Errorf("the peer is there twice; it is also peers[%d]", j)
		}
		for n, p := range peer.AllowedIPs {
			if j, twice := networks.seen(p.Masked(), i); twice {
				at.At("allowedIPs").Item(n).Errorf("the network %s is there twice; it is also behind peers[%d]", p.Masked(), j)
			}
		}
	}
	c.CommonLink.Validate(r)
}
