package main

import (
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/flannel-io/flannel/pkg/backend"
	"github.com/flannel-io/flannel/pkg/ipmatch"
)

func TestFlagsWinOverEnvironment(t *testing.T) {
	env := map[string]string{"FLANNELD_IFACE": "eth9", "FLANNELD_IP_MASQ": "true", "FLANNELD_HEALTHZ_PORT": "10256"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	o, err := parse([]string{"--iface=eth0", "--iface", "eth1", "--kube-subnet-mgr", "-v=2"}, lookup, io.Discard)
	if err != nil {
		t.Fatalf("parse = %v; want no error", err)
	}
	if got, want := o.iface.String(), "eth0,eth1"; got != want {
		t.Errorf("parse: iface = %q; want %q", got, want)
	}
	if !o.ipMasq || o.healthzPort != 10256 {
		t.Errorf("parse: ipMasq, healthzPort = %v, %d; want true, 10256", o.ipMasq, o.healthzPort)
	}
	if got, want := o.subnetFile, "/run/flannel/subnet.env"; got != want {
		t.Errorf("parse: subnetFile = %q; want %q", got, want)
	}
}

func TestBadArgumentsAreErrors(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"etcd leases", []string{"--kube-subnet-mgr=false"}, nil, "not supported"},
		{"etcd flag", []string{"--etcd-endpoints=x"}, nil, "not defined"},
		{"argument", []string{"eth0"}, nil, `unexpected argument "eth0"`},
		{"environment", nil, map[string]string{"FLANNELD_HEALTHZ_PORT": "x"}, `FLANNELD_HEALTHZ_PORT="x"`},
		{"help", []string{"--help"}, nil, flag.ErrHelp.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := none
			if c.env != nil {
				env = func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
			}
			_, err := parse(c.args, env, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("parse(%q) = %v; want an error with %q", c.args, err, c.want)
			}
		})
	}
}

func TestInterfaceIsTriedInTheOrderOfTheFlags(t *testing.T) {
	for _, c := range []struct {
		name    string
		options options
		has     string // what the machine has: the lookup succeeds for this one
		want    []string
		fails   bool
	}{
		{name: "nothing asked", has: "", want: []string{""}},
		{name: "public address", options: options{publicIP: "192.0.2.1"}, has: "192.0.2.1", want: []string{"192.0.2.1"}},
		{name: "public IPv6 address", options: options{publicIPv6: "2001:db8::1"}, has: "2001:db8::1", want: []string{"2001:db8::1"}},
		{
			name:    "names, expressions, reachability",
			options: options{iface: list{"eth0", "eth1"}, ifaceRegex: list{"^en"}, ifaceCanReach: "192.0.2.9"},
			has:     "192.0.2.9",
			want:    []string{"eth0", "eth1", "^en", "192.0.2.9"},
		},
		{name: "first match", options: options{iface: list{"eth0", "eth1"}}, has: "eth0", want: []string{"eth0"}},
		{name: "no match", options: options{iface: list{"eth0"}}, has: "x", want: []string{"eth0"}, fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var tried []string
			found, err := chooseInterface(c.options, 0, func(name, regex, reach string, _ int, _ ipmatch.PublicIPOpts) (*backend.ExternalInterface, error) {
				tried = append(tried, name+regex+reach)
				if name+regex+reach == c.has {
					return &backend.ExternalInterface{}, nil
				}
				return nil, errors.New("not on this machine")
			})
			if c.fails != (err != nil) || c.fails != (found == nil) {
				t.Errorf("chooseInterface = %v, %v; want failure %v", found, err, c.fails)
			}
			if got, want := strings.Join(tried, " "), strings.Join(c.want, " "); got != want {
				t.Errorf("chooseInterface tried %q; want %q", got, want)
			}
		})
	}
}

func TestSubnetFileOfAnEarlierRun(t *testing.T) {
	for _, c := range []struct{ name, text, network, subnet, networkV6, subnetV6 string }{
		{"empty", "", "0.0.0.0/0", "0.0.0.0/0", "::/0", "::/0"},
		{"damaged", "FLANNEL_NETWORK=10.244.0.0\nFLANNEL_SUBNET\n=\n", "0.0.0.0/0", "0.0.0.0/0", "::/0", "::/0"},
		{"several", "FLANNEL_NETWORK=10.1.0.0/16,10.2.0.0/16\n", "0.0.0.0/0", "0.0.0.0/0", "::/0", "::/0"},
		{
			"both families",
			"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_IPV6_NETWORK=fd00::/48\n" +
				"FLANNEL_IPV6_SUBNET=fd00:0:0:3::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
			"10.244.0.0/16", "10.244.3.0/24", "fd00::/48", "fd00:0:0:3::/64",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := parseSubnetFile(strings.NewReader(c.text))
			for _, field := range []struct{ name, got, want string }{
				{"network", p.network.String(), c.network},
				{"subnet", p.subnet.String(), c.subnet},
				{"networkV6", p.networkV6.String(), c.networkV6},
				{"subnetV6", p.subnetV6.String(), c.subnetV6},
			} {
				if field.got != field.want {
					t.Errorf("parseSubnetFile: %s = %s; want %s", field.name, field.got, field.want)
				}
			}
		})
	}
}

func FuzzSubnetFile(f *testing.F) {
	f.Add("FLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_IPV6_SUBNET=::ffff:1.2.3.4/120\n")
	f.Fuzz(func(t *testing.T, text string) { parseSubnetFile(strings.NewReader(text)) })
}

func TestReadyOnlyOnceTheSubnetFileIsWritten(t *testing.T) {
	var ready atomic.Bool
	get := func(path string) int {
		w := httptest.NewRecorder()
		healthHandler(&ready).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if got, want := get("/healthz"), http.StatusOK; got != want {
		t.Errorf("/healthz = %d; want %d", got, want)
	}
	if got, want := get("/readyz"), http.StatusServiceUnavailable; got != want {
		t.Errorf("/readyz before = %d; want %d", got, want)
	}
	ready.Store(true)
	if got, want := get("/readyz"), http.StatusOK; got != want {
		t.Errorf("/readyz after = %d; want %d", got, want)
	}
}
