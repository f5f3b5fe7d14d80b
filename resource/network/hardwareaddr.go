package network

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
)

// HardwareAddr is the address of a link: 6 bytes for Ethernet, 20 for InfiniBand. As text it is hexadecimal with colons.
type HardwareAddr []byte

// String returns the hexadecimal form, empty for no address.
func (a HardwareAddr) String() string { return net.HardwareAddr(a).String() }

// MarshalText implements [encoding.TextMarshaler].
func (a HardwareAddr) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler]. Addresses of lengths that [net.ParseMAC] does not know are taken too.
func (a *HardwareAddr) UnmarshalText(text []byte) error {
	*a = nil
	if len(text) == 0 {
		return nil
	}
	for part := range bytes.SplitSeq(text, []byte(":")) {
		var b [1]byte
		if n, err := hex.Decode(b[:], part); err != nil || n != 1 {
			return fmt.Errorf("parse hardware address %q: want two hexadecimal digits between colons", text)
		}
		*a = append(*a, b[0])
	}
	return nil
}
