package capture

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strings"
	"testing"
)

func packet(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

const macs = "ffffffffffff 020000000001 "

func TestDescribe(t *testing.T) {
	const (
		v4  = "0800 45000028 00010000 40060000 0a050002 0a050003 "
		tcp = "c350 18eb 00000001 00000002 5012 ffff 0000 0000"
		v6  = "86dd 60000000 0008 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002 "
	)
	for _, tt := range []struct{ name, data, want string }{
		{"TCP", macs + v4 + tcp, "IPv4 TCP 10.5.0.2:50000 > 10.5.0.3:6379 [SYN ACK] seq 1 ack 2"},
		{"TCP in a VLAN", macs + "8100 0005" + v4 + tcp, "VLAN 5, IPv4 TCP 10.5.0.2:50000 > 10.5.0.3:6379 [SYN ACK] seq 1 ack 2"},
		{"TCP, cut", macs + v4 + "c350", "IPv4 10.5.0.2 > 10.5.0.3, protocol 6, cut off"},
		{"UDP of IPv6", macs + v6 + "0035 d431 0008 0000", "IPv6 UDP [fd00::1]:53 > [fd00::2]:54321"},
		{"ICMP", macs + "0800 45000028 00010000 40010000 0a050002 0a050003 0800", "IPv4 ICMP 10.5.0.2 > 10.5.0.3, type 8 code 0"},
		{"fragment", macs + "0800 45000028 00010010 40110000 0a050002 0a050003", "IPv4 10.5.0.2 > 10.5.0.3, a later fragment"},
		{"a header that is too small", macs + "0800 41000028 00010010 40110000 0a050002 0a050003", "IPv4, cut off"},
		{"options of IPv6", macs + "86dd 60000000 0008 00 40 fd000000000000000000000000000001 fd000000000000000000000000000002 1100000000000000 0035 d431 0008 0000", "IPv6 UDP [fd00::1]:53 > [fd00::2]:54321"},
		{"ARP reply", macs + "0806 0001 0800 06 04 0002 020000000001 0a050002 020000000002 0a050003", "ARP 10.5.0.2 is at 02:00:00:00:00:01"},
		{"something else", macs + "88cc", "Ethernet 02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff, type 0x88cc"},
		{"next to nothing", "ff", "Ethernet, cut off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := describe(linkEthernet, packet(t, tt.data)); got != tt.want {
				t.Errorf("describe = %q; want %q", got, tt.want)
			}
		})
	}
}

// capture returns a file with one packet.
func capture(order binary.ByteOrder, magic uint32, link linkType, size uint32, data []byte) []byte {
	var b bytes.Buffer
	for _, v := range []any{magic, uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), uint32(link), uint32(1), uint32(500), size, uint32(len(data))} {
		_ = binary.Write(&b, order, v) // to memory
	}
	b.Write(data)
	return b.Bytes()
}

func TestPrintPackets(t *testing.T) {
	arp := packet(t, macs+"0806 0001 0800 06 04 0001 020000000001 0a050002 000000000000 0a050003")
	for _, tt := range []struct {
		name, want, err string
		data            []byte
	}{
		{"little-endian", "00:00:01.000500 ARP who has 10.5.0.3, tell 10.5.0.2, 42 bytes\n", "", capture(binary.LittleEndian, magicMicro, linkEthernet, 42, arp)},
		{"big-endian, nanoseconds", "00:00:01.000000 ARP who has 10.5.0.3, tell 10.5.0.2, 42 bytes\n", "", capture(binary.BigEndian, magicNano, linkEthernet, 42, arp)},
		{"another link", "00:00:01.000500 link type 113, 42 bytes\n", "", capture(binary.LittleEndian, magicMicro, 113, 42, arp)},
		{"no capture", "", "this is no capture", bytes.Repeat([]byte("x"), 100)},
		{"nothing", "", "the machine sent nothing", nil},
		{"cut off", "", "unexpected EOF", capture(binary.LittleEndian, magicMicro, linkEthernet, 43, arp)},
		{"a packet that cannot be", "", "the capture is damaged", capture(binary.LittleEndian, magicMicro, linkEthernet, 1<<31, arp)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b bytes.Buffer
			err := printPackets(&b, bytes.NewReader(tt.data))
			if b.String() != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("printed %q, %v; want %q, %q", &b, err, tt.want, tt.err)
			}
		})
	}
}

// FuzzPrintPackets: packets come from anywhere.
func FuzzPrintPackets(f *testing.F) {
	f.Add(capture(binary.LittleEndian, magicMicro, linkEthernet, 42, make([]byte, 42)))
	f.Add(capture(binary.BigEndian, magicNano, linkRaw, 40, bytes.Repeat([]byte{0x60}, 40)))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = printPackets(io.Discard, bytes.NewReader(data)) // any error is as good as none: it must only return
	})
}

func FuzzParseFilter(f *testing.F) {
	f.Add("{ 0x28, 0, 0, 0x0000000c },\n{ 0x6, 0, 0, 0x00040000 },\n")
	f.Fuzz(func(t *testing.T, text string) {
		if program, err := parseFilter(text); err != nil && program != nil {
			t.Errorf("parseFilter(%q) returns a program and %v", text, err)
		}
	})
}
