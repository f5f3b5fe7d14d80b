package firewallctrl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/effective"
	"talos.internal/internal/sys/nft"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
)

var update = flag.Bool("update", false, "write the golden files")

const (
	block = "---\napiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block\n"
	api   = "---\napiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: talos-api\nportSelector:\n    ports:\n        - 50000-50001\n    protocol: tcp\ningress:\n    - subnet: 10.5.0.0/24\n      except: 10.5.0.8/29\n"
	again = "---\napiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: talos-api-too\nportSelector:\n    ports:\n        - 50000\n    protocol: tcp\ningress:\n    - subnet: 10.5.0.10/32\n"
)

func parse(t *testing.T, text string) *effective.Config {
	t.Helper()
	c, err := effective.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// TestChainsOfTheConfig compares with what a person has read and found right.
func TestChainsOfTheConfig(t *testing.T) {
	for name, text := range map[string]string{"block": block + api, "accept": api + again} {
		t.Run(name, func(t *testing.T) {
			got := ingressChains(parse(t, text).Set, prefixes("10.5.0.2/24", "fd00:5::2/64"), prefixes("10.244.0.0/16", "10.96.0.0/12"))
			b, err := yaml.Marshal(got)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(file, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(b)); d != "" {
				t.Errorf("%s (-want +got):\n%s", file, d)
			}
		})
	}
	if got := ingressChains(parse(t, "---\napiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: accept\n").Set, nil, nil); len(got) != 0 {
		t.Errorf("chains without a rule = %+v", got)
	}
}

// recorder is a filter that remembers.
type recorder struct {
	mu  sync.Mutex
	log []string
	err error
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func (r *recorder) Apply(chains []nft.Chain) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.log = append(r.log, fmt.Sprint("apply ", len(chains)))
	return nil
}

func (r *recorder) Remove() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, "remove")
	return nil
}

func TestTheFilterFollowsTheConfig(t *testing.T) {
	r := &recorder{}
	set := func(h *controllertest.Harness, text string) {
		controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
		h.Settle()
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		const none = "---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\nauto: \"off\"\n"
		set(h, none)
		set(h, block+api)
		controllertest.Create(h, network.NodeAddressRouted, network.NodeAddress{Addresses: prefixes("10.5.0.2/24")})
		h.Settle()
		r.fail(errors.New("busy"))
		set(h, block)
		r.fail(nil)
		h.Advance(time.Minute)
		set(h, none)
		r.mu.Lock()
		defer r.mu.Unlock()
		if d := cmp.Diff([]string{"apply 1", "apply 2", "apply 2", "remove"}, r.log); d != "" {
			t.Errorf("what happened (-want +got):\n%s", d)
		}
	}, Controllers(Deps{Filter: r})...)
}

// inside runs fn on a thread of its own in a network namespace of its own, and returns its error.
func inside(fn func(tid int) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread() // and never unlocked: the namespace ends with the thread
		if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- fn(syscall.Gettid())
	}()
	return done
}

// setUp takes a link up, and gives it addresses.
func setUp(k *rtnl.Conn, name string, addresses ...string) error {
	l, err := k.LinkByName(name)
	if err != nil {
		return err
	}
	if err := k.SetUp(l.Index, true); err != nil {
		return err
	}
	for _, a := range addresses {
		if err := k.AddAddress(rtnl.Address{Link: l.Index, Prefix: netip.MustParsePrefix(a)}); err != nil {
			return err
		}
	}
	return nil
}

// TestPackets sends packets from a neighbour to a machine with the filter.
func TestPackets(t *testing.T) {
	goruntime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace of our own (needs CAP_SYS_ADMIN): %v", err)
	}
	k, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	// The neighbour dials what it is told, from an address of its own, and says whether somebody answered.
	type call struct {
		from, to string
		patience time.Duration
		answer   chan error
	}
	calls, ready := make(chan call), make(chan int, 1)
	begin := make(chan struct{})
	done := inside(func(tid int) error {
		ready <- tid
		<-begin
		k, err := rtnl.Open()
		if err != nil {
			return err
		}
		defer k.Close()
		if err := errors.Join(setUp(k, "lo"), setUp(k, "eth0", "10.5.0.3/24", "10.5.0.9/24", "10.5.0.10/24")); err != nil {
			return err
		}
		for c := range calls {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}, Timeout: c.patience}
			conn, err := d.DialContext(context.Background(), "tcp", c.to)
			if err == nil {
				_ = conn.Close()
			}
			c.answer <- err
		}
		return nil
	})
	defer func() {
		close(calls)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	tid := <-ready
	if err := k.AddVeth(rtnl.Veth{Name: "eth0", Peer: "eth0", PeerPID: tid}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(setUp(k, "lo"), setUp(k, "eth0", "10.5.0.2/24")); err != nil {
		t.Fatal(err)
	}
	close(begin)
	for _, port := range []string{"50000", "6443"} {
		l, err := net.Listen("tcp4", ":"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	apply := func(text string) {
		t.Helper()
		var all []nft.Chain
		for name, s := range ingressChains(parse(t, text).Set, prefixes("10.5.0.2/24"), prefixes("10.244.0.0/16")) {
			c, err := chain(name, s)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		if err := errors.Join(Kernel{}.Remove(), Kernel{}.Apply(all)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what, from, to string, open bool) {
		t.Helper()
		c := call{from, to, 300 * time.Millisecond, make(chan error, 1)}
		if open {
			c.patience = 10 * time.Second // neighbours have to find each other first
		}
		calls <- c
		if err := <-c.answer; (err == nil) != open {
			t.Errorf("%s: from %s to %s: %v; want it open: %t", what, from, to, err, open)
		}
	}
	check("nothing", "10.5.0.3", "10.5.0.2:6443", true)
	apply(block + api)
	check("block", "10.5.0.3", "10.5.0.2:50000", true)
	check("block", "10.5.0.9", "10.5.0.2:50000", false)
	check("block", "10.5.0.3", "10.5.0.2:6443", false)
	if conn, err := net.DialTimeout("tcp", "127.0.0.1:6443", time.Second); err != nil {
		t.Errorf("block: over the loopback: %v", err)
	} else {
		_ = conn.Close()
	}
	apply(api + again)
	check("accept", "10.5.0.3", "10.5.0.2:6443", true)
	check("accept", "10.5.0.3", "10.5.0.2:50000", true)
	check("accept", "10.5.0.9", "10.5.0.2:50000", false)
	check("accept, by the other rule", "10.5.0.10", "10.5.0.2:50000", true)
	if err := (Kernel{}).Remove(); err != nil {
		t.Fatal(err)
	}
	check("removed", "10.5.0.9", "10.5.0.2:50000", true)
}

func TestWhatCannotBeDoneIsSaid(t *testing.T) {
	_, err := chain("x", network.NfTablesChain{Rules: []network.NfTablesRule{{ClampMSS: &network.NfTablesClampMSS{MTU: 1420}}}})
	if err == nil || !strings.Contains(err.Error(), "segment sizes") {
		t.Errorf("chain with segment sizes = %v", err)
	}
}
