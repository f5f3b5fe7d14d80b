package announce

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"talos.internal/internal/sys/rtnl"
)

func TestFrames(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	for _, tc := range []struct {
		addr string
		want []string
	}{
		{"10.5.0.100", []string{
			"ffffffffffff 020000000009 0806 0001 0800 06 04 0001 020000000009 0a050064 000000000000 0a050064",
			"ffffffffffff 020000000009 0806 0001 0800 06 04 0002 020000000009 0a050064 ffffffffffff 0a050064",
		}},
		{"2001:db8::64", []string{
			"333300000001 020000000009 86dd 60000000 0020 3a ff 20010db8000000000000000000000064 ff020000000000000000000000000001" +
				"88 00 f85c 20000000 20010db8000000000000000000000064 02 01 020000000009",
		}},
	} {
		got := frames(mac, netip.MustParseAddr(tc.addr))
		for i, text := range tc.want {
			want, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if i >= len(got) || !bytes.Equal(got[i], want) {
				t.Errorf("frames(%s)[%d] = %x\nwant %x", tc.addr, i, got[i], want)
			}
		}
		if len(got) != len(tc.want) {
			t.Errorf("frames(%s) are %d", tc.addr, len(got))
		}
	}
}

// TestChecksum holds that a message with its checksum in place sums up to nothing.
func TestChecksum(t *testing.T) {
	f := frames(net.HardwareAddr{2, 0, 0, 0, 0, 9}, netip.MustParseAddr("fe80::1"))[0][14:]
	pseudo := append(append([]byte{}, f[8:40]...), 0, 0, 0, 32, 0, 0, 0, 58)
	if got := checksum(append(pseudo, f[40:]...)); got != 0 {
		t.Errorf("checksum of the whole = %#x; want 0", got)
	}
}

// TestSend holds that what is sent into one end of a pair comes out of the other.
func TestSend(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: the namespace ends with the thread
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	k, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if err := k.AddVeth(rtnl.Veth{Name: "eth0", Peer: "peer0"}); err != nil {
		t.Fatal(err)
	}
	peer, err := k.LinkByName("peer0")
	if err != nil {
		t.Fatal(err)
	}
	eth0, err := k.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.SetUp(peer.Index, true), k.SetUp(eth0.Index, true)); err != nil {
		t.Fatal(err)
	}
	const arpInNetworkOrder = unix.ETH_P_ARP>>8 | unix.ETH_P_ARP&0xff<<8
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, arpInNetworkOrder)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	timeout := unix.NsecToTimeval(int64(5 * time.Second))
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: arpInNetworkOrder, Ifindex: peer.Index}), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)); err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("10.5.0.100")
	if err := Send("eth0", a); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 2048)
	n, _, err := unix.Recvfrom(fd, b, 0)
	if want := frames(eth0.HardwareAddr, a)[0]; err != nil || !bytes.Equal(b[:n], want) {
		t.Errorf("received %x, %v; want %x", b[:n], err, want)
	}
	for link, want := range map[string]string{"lo": "no Ethernet address", "none": "announce 10.5.0.100 on none"} {
		if err := Send(link, a); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Send(%s) = %v; want %q in it", link, err, want)
		}
	}
}
