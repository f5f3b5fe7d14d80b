package affiliate

import (
	"bytes"
	"crypto/aes"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"talos.internal/api/affiliatepb"
)

var (
	secret = bytes.Repeat([]byte{7}, SecretSize)
	equal  = cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })}
)

func key(t testing.TB, secret []byte) *Key {
	t.Helper()
	k, err := NewKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func full() Payload {
	return Payload{Version: Version{Incarnation: 1 << 60, Sequence: 3}, Node: Node{ID: "a1",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
		Hostname:  "one", Nodename: "node-one", MachineType: "controlplane", OperatingSystem: "OS (v1)",
		KubeSpan: &KubeSpan{PublicKey: "pk", Address: netip.MustParseAddr("fd01::2"),
			AdditionalAddresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd02::/64")}},
		ControlPlane: &ControlPlane{APIServerPort: 6443},
		Endpoints:    []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("[2001:db8::1]:51820")}}}
}

func TestWhatIsSealedOpensTheSame(t *testing.T) {
	for _, tc := range []struct {
		name string
		p    Payload
	}{
		{"full", full()},
		{"least", Payload{Node: Node{ID: "x"}}},
		{"lease", Payload{Kind: Lease, Version: Version{Incarnation: 9}, Node: Node{ID: "x"}}},
		{"tombstone", Payload{Kind: Tombstone, Version: Version{Incarnation: 9, Sequence: 2}, Node: Node{ID: "x"}}},
		{"kubespan without address", Payload{Node: Node{ID: "x", KubeSpan: &KubeSpan{PublicKey: "p"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := key(t, secret)
			data, err := k.Seal(tc.p)
			if err != nil {
				t.Fatal(err)
			}
			got, err := k.Open(tc.p.Node.ID, data, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.p, got, equal); d != "" {
				t.Errorf("Open(Seal(p)) (-want +got):\n%s", d)
			}
		})
	}
}

func TestOpenNamesTheCause(t *testing.T) {
	k := key(t, secret)
	good, err := k.Seal(full())
	if err != nil {
		t.Fatal(err)
	}
	raw := func(plain []byte) []byte { return k.aead.Seal(nil, nil, plain, nil) }
	message := func(m *affiliatepb.Affiliate) []byte {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return raw(b)
	}
	changed := bytes.Clone(good)
	changed[len(changed)/2] ^= 1
	for _, tc := range []struct {
		name string
		key  *Key
		id   string
		data []byte
		want error
	}{
		{"nothing", k, "a1", nil, ErrSize},
		{"too short", k, "a1", good[:Overhead-1], ErrSize},
		{"too long", k, "a1", make([]byte, MaxSealed+1), ErrSize},
		{"cut", k, "a1", good[:len(good)-1], ErrSeal},
		{"one bit changed", k, "a1", changed, ErrSeal},
		{"another secret", key(t, bytes.Repeat([]byte{8}, SecretSize)), "a1", good, ErrSeal},
		{"another machine", k, "a2", good, ErrIdentity},
		{"no message", k, "a1", raw([]byte{0xff}), ErrContent},
		{"no id", k, "a1", raw(nil), ErrIdentity},
		{"address of five bytes", k, "a1", message(&affiliatepb.Affiliate{NodeId: "a1", Addresses: [][]byte{make([]byte, 5)}}), ErrContent},
		{"prefix too long", k, "a1", message(&affiliatepb.Affiliate{NodeId: "a1", Kubespan: &affiliatepb.KubeSpan{
			AdditionalAddresses: []*affiliatepb.IPPrefix{{Ip: make([]byte, 4), Bits: 33}}}}), ErrContent},
		{"port too high", k, "a1", message(&affiliatepb.Affiliate{NodeId: "a1", ControlPlane: &affiliatepb.ControlPlane{ApiServerPort: 65536}}), ErrContent},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := tc.key.Open(tc.id, tc.data, nil); !errors.Is(err, tc.want) {
				t.Errorf("Open(%q, %d bytes) = %v; want %v", tc.id, len(tc.data), err, tc.want)
			}
		})
	}
}

func TestSealRefusesWhatOpenWould(t *testing.T) {
	k := key(t, secret)
	for _, tc := range []struct {
		name string
		node Node
		want error
	}{
		{"no id", Node{}, ErrContent},
		{"long id", Node{ID: strings.Repeat("x", MaxID+1)}, ErrContent},
		{"zero address", Node{ID: "x", Addresses: make([]netip.Addr, 1)}, ErrContent},
		{"zero endpoint", Node{ID: "x", Endpoints: make([]netip.AddrPort, 1)}, ErrContent},
		{"many endpoints", Node{ID: "x", Endpoints: make([]netip.AddrPort, MaxEndpoints+1)}, ErrContent},
		{"not UTF-8", Node{ID: "x", Hostname: "\xff"}, ErrContent},
		{"long", Node{ID: "x", Hostname: strings.Repeat("x", MaxSealed)}, ErrSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := k.Seal(Payload{Node: tc.node}); !errors.Is(err, tc.want) {
				t.Errorf("Seal = %v; want %v", err, tc.want)
			}
		})
	}
	if _, err := NewKey(secret[1:]); !errors.Is(err, ErrSecret) {
		t.Errorf("NewKey(31 bytes) = %v; want %v", err, ErrSecret)
	}
}

// A published client parses the plain text as the message alone.
func TestPublishedClientsReadOurRecords(t *testing.T) {
	k := key(t, secret)
	data, err := k.Seal(full())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := k.aead.Open(nil, nil, data, nil)
	if err != nil {
		t.Fatal(err)
	}
	var m affiliatepb.Affiliate
	if err := proto.Unmarshal(plain, &m); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m.GetNodeId(), m.GetHostname(), m.GetControlPlane().GetApiServerPort(), len(m.GetAddresses())), "a1one6443 2"; got != want {
		t.Errorf("plain message = %q; want %q", got, want)
	}
}

// What a server sees of equal endpoints, and of a few more or less of them, is equally long and has nothing in common.
func TestAServerCannotCompare(t *testing.T) {
	k := key(t, secret)
	p, q := full(), full()
	q.Node.Endpoints = q.Node.Endpoints[:1]
	var seen [][]byte
	for _, p := range []Payload{p, p, q} {
		data, err := k.Seal(p)
		if err != nil {
			t.Fatal(err)
		}
		if (len(data)-Overhead)%padTo != 0 {
			t.Errorf("sealed data of %d bytes; want a multiple of %d and %d", len(data), padTo, Overhead)
		}
		for _, other := range seen {
			for i := 0; i+16 <= len(data); i++ {
				if bytes.Contains(other, data[i:i+16]) {
					t.Fatalf("16 bytes at %d are in two sealed records", i)
				}
			}
		}
		seen = append(seen, data)
	}
	if len(seen[0]) != len(seen[2]) {
		t.Errorf("one endpoint less: %d and %d bytes; want the same", len(seen[0]), len(seen[2]))
	}
}

func TestPaddingFitsAtEverySize(t *testing.T) {
	k := key(t, secret)
	for n := range 700 {
		p := Payload{Node: Node{ID: "x", Hostname: strings.Repeat("h", n)}}
		data, err := k.Seal(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Open("x", data, nil); err != nil || got.Node.Hostname != p.Node.Hostname || (len(data)-Overhead)%padTo != 0 {
			t.Fatalf("a host name of %d: %d bytes, %v; want a multiple of %d", n, len(data)-Overhead, err, padTo)
		}
	}
}

// ecb encrypts an endpoint as published clients do. The block is filled with the byte pad.
func ecb(t testing.TB, k *Key, ep string, pad byte) []byte {
	t.Helper()
	a := netip.MustParseAddrPort(ep)
	m, err := proto.Marshal(&affiliatepb.Endpoint{Ip: a.Addr().AsSlice(), Port: uint32(a.Port())})
	if err != nil {
		t.Fatal(err)
	}
	plain := append([]byte{byte(len(m))}, m...)
	for len(plain)%aes.BlockSize != 0 {
		plain = append(plain, pad)
	}
	for i := 0; i < len(plain); i += aes.BlockSize {
		k.block.Encrypt(plain[i:], bytes.Clone(plain[i:i+aes.BlockSize]))
	}
	return plain
}

func TestEndpointsOfBothFormsAreRead(t *testing.T) {
	k := key(t, secret)
	data, err := k.Seal(Payload{Node: Node{ID: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := proto.Marshal(&affiliatepb.Endpoint{Ip: []byte{192, 0, 2, 9}, Port: 1})
	if err != nil {
		t.Fatal(err)
	}
	got, err := k.Open("x", data, [][]byte{
		ecb(t, k, "192.0.2.1:51820", 0), ecb(t, k, "192.0.2.1:51820", 0xee), ecb(t, k, "[2001:db8::1]:51820", 0),
		k.aead.Seal(nil, nil, m, nil),
		nil, make([]byte, 15), make([]byte, 16), ecb(t, key(t, bytes.Repeat([]byte{8}, 32)), "192.0.2.1:51820", 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820"), netip.MustParseAddrPort("[2001:db8::1]:51820"), netip.MustParseAddrPort("192.0.2.9:1")}
	if d := cmp.Diff(want, got.Node.Endpoints, equal); d != "" {
		t.Errorf("endpoints (-want +got):\n%s", d)
	}
	if got.Ignored != 4 {
		t.Errorf("ignored %d; want 4", got.Ignored)
	}
}

func TestVersionsAreOrdered(t *testing.T) {
	for _, tc := range []struct {
		name string
		a, b Version
		want int
	}{
		{"same", Version{1, 1}, Version{1, 1}, 0},
		{"later statement", Version{1, 2}, Version{1, 1}, 1},
		{"later life", Version{2, 1}, Version{1, 9}, 1},
		{"published", Version{}, Version{1, 0}, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.a.Compare(tc.b); got != tc.want {
				t.Errorf("%v.Compare(%v) = %d; want %d", tc.a, tc.b, got, tc.want)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	k := key(f, secret)
	good, err := k.Seal(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a1", good, ecb(f, k, "192.0.2.1:1", 0), false)
	plain, err := k.aead.Open(nil, nil, good, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a1", plain, []byte("0123456789abcdef"), true)
	f.Add("", []byte{}, []byte{}, true)
	// inside: the fuzzer's bytes are what was sealed, so that it gets past the seal.
	f.Fuzz(func(t *testing.T, id string, data, endpoint []byte, inside bool) {
		if inside {
			data = k.aead.Seal(nil, nil, data, nil)
		}
		p, err := k.Open(id, data, [][]byte{endpoint})
		if err != nil {
			return
		}
		if p.Node.ID != id || len(p.Node.Endpoints) > MaxEndpoints {
			t.Fatalf("Open(%q) = %+v", id, p)
		}
		if len(id) == 0 || len(id) > MaxID {
			return
		}
		// What was read can be said again, unless padding makes it too long.
		again, err := k.Seal(p)
		if errors.Is(err, ErrSize) {
			return
		}
		if err != nil {
			t.Fatalf("Seal(%+v) = %v", p, err)
		}
		p.Ignored = 0
		q, err := k.Open(id, again, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(p, q, equal); d != "" {
			t.Fatalf("sealed again (-want +got):\n%s", d)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := key(b, secret)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Seal(full()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k := key(b, secret)
	data, err := k.Seal(full())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data)), "bytes")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open("a1", data, nil); err != nil {
			b.Fatal(err)
		}
	}
}
