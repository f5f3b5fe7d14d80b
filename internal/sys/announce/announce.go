// Package announce tells the neighbours on an Ethernet link that an address is here now, so that they send to this machine what they
// sent to another one before: by ARP for IPv4 (RFC 5227 section 3) and by neighbour advertisement for IPv6 (RFC 4861 section 7.2.6).
//
// It sends from a packet socket (packet(7), CAP_NET_RAW) of the network namespace of the calling thread. Linux only; anything may import it
// that may import internal/sys.
package announce

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

var (
	everyone = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes = netip.MustParseAddr("ff02::1")
	nodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1} // of allNodes (RFC 2464 section 7)
)

// Send tells the neighbours on a link of an address. Whether anybody hears it is not known.
func Send(link string, a netip.Addr) error {
	if err := send(link, a); err != nil {
		return fmt.Errorf("announce %s on %s: %w", a, link, err)
	}
	return nil
}

func send(link string, a netip.Addr) error {
	l, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	if len(l.HardwareAddr) != len(everyone) {
		return fmt.Errorf("it has no Ethernet address: %w", unix.EOPNOTSUPP)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	for _, frame := range frames(l.HardwareAddr, a) {
		to := unix.SockaddrLinklayer{Ifindex: l.Index, Halen: uint8(len(everyone))}
		copy(to.Addr[:], frame[:len(everyone)])
		if err := unix.Sendto(fd, frame, 0, &to); err != nil {
			return err
		}
	}
	return nil
}

// frames returns what is sent. Some neighbours listen to requests only, some to replies.
func frames(mac net.HardwareAddr, a netip.Addr) [][]byte {
	if a.Is4() {
		const request, reply = 1, 2
		return [][]byte{arp(mac, a, request), arp(mac, a, reply)}
	}
	return [][]byte{advertisement(mac, a)}
}

func ethernet(to, from net.HardwareAddr, kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte{}, to...), from...), kind)
}

// arp is a message that gives and asks for the same address (RFC 826).
func arp(mac net.HardwareAddr, a netip.Addr, operation uint16) []byte {
	b := ethernet(everyone, mac, unix.ETH_P_ARP)
	b = append(b, 0, 1, 8, 0, 6, 4) // Ethernet, IPv4, and the lengths of their addresses
	b = binary.BigEndian.AppendUint16(b, operation)
	b = append(append(b, mac...), a.AsSlice()...)
	target := everyone
	if operation == 1 {
		target = make(net.HardwareAddr, len(everyone))
	}
	return append(append(b, target...), a.AsSlice()...)
}

// advertisement is one that nobody asked for, and that replaces what is known.
func advertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	const neighbourAdvertisement, override, targetLinkLayer, hopLimit, length = 136, 0x20, 2, 255, 32
	body := []byte{neighbourAdvertisement, 0, 0, 0, override, 0, 0, 0}
	body = append(append(body, a.AsSlice()...), targetLinkLayer, 1)
	body = append(body, mac...)
	source, target := a.As16(), allNodes.As16()
	pseudo := append(append([]byte{}, source[:]...), target[:]...)
	pseudo = append(pseudo, 0, 0, 0, length, 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))
	b := ethernet(nodesMAC, mac, unix.ETH_P_IPV6)
	b = append(b, 0x60, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, hopLimit)
	return append(append(append(b, source[:]...), target[:]...), body...)
}

// checksum is that of RFC 1071, over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
