package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

const env = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.3.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"

func TestDelegateOfTheClustersConfiguration(t *testing.T) {
	for _, c := range []struct{ name, conf, env, want string }{
		{
			name: "the cluster's",
			conf: `{"name":"cbr0","cniVersion":"1.0.0","type":"flannel","delegate":{"hairpinMode":true,"isDefaultGateway":true}}`,
			env:  env,
			want: `{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"10.244.3.0/24"}]],"routes":[{"dst":"10.244.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}`,
		},
		{
			name: "both families, flanneld does not masquerade",
			conf: `{"name":"n","type":"flannel"}`,
			env:  "FLANNEL_NETWORK=10.0.0.0/16,10.8.0.0/16\nFLANNEL_SUBNET=10.0.1.1/24\nFLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:1::1/64\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n",
			want: `{"ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.0.1.0/24"}],[{"subnet":"fd00:0:0:1::/64"}]],"routes":[{"dst":"10.0.0.0/16"},{"dst":"10.8.0.0/16"},{"dst":"fd00::/48"}],"type":"host-local"},"isGateway":true,"mtu":1500,"name":"n","type":"bridge"}`,
		},
		{
			name: "what is set wins",
			conf: `{"name":"n","ipam":{"type":"x","routes":[{"dst":"192.0.2.0/24"}]},"delegate":{"type":"ptp","mtu":9000,"ipMasq":true},"runtimeConfig":{"mac":"m"}}`,
			env:  env,
			want: `{"ipMasq":true,"ipam":{"ranges":[[{"subnet":"10.244.3.0/24"}]],"routes":[{"dst":"192.0.2.0/24"},{"dst":"10.244.0.0/16"}],"type":"x"},"mtu":9000,"name":"n","runtimeConfig":{"mac":"m"},"type":"ptp"}`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := parseConfig([]byte(c.conf))
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseSubnet(strings.NewReader(c.env))
			if err != nil {
				t.Fatal(err)
			}
			d, err := delegateFor(conf, s)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(d); string(got) != c.want {
				t.Errorf("delegateFor = %s; want %s", got, c.want)
			}
		})
	}
}

func TestBadInputIsRefused(t *testing.T) {
	for _, c := range []struct{ name, conf, env, want string }{
		{"not JSON", `{`, env, "network configuration"},
		{"delegate names the network", `{"delegate":{"name":"x"}}`, env, `"name"`},
		{"delegate has addresses", `{"delegate":{"ipam":{}}}`, env, `"ipam"`},
		{"delegate's type is no name", `{"delegate":{"type":1}}`, env, "type 1"},
		{"delegate's type is a path", `{"delegate":{"type":"../sh"}}`, env, "../sh"},
		{"routes", `{"ipam":{"routes":"x"}}`, env, "routes"},
		{"no subnet", `{}`, "FLANNEL_MTU=1450\n", "FLANNEL_SUBNET"},
		{"no MTU", `{}`, "FLANNEL_SUBNET=10.0.0.1/24\n", "FLANNEL_MTU"},
		{"bad prefix", `{}`, "FLANNEL_SUBNET=10.0.0.1\n", "FLANNEL_SUBNET"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf, err := parseConfig([]byte(c.conf))
			var s subnet
			if err == nil {
				s, err = parseSubnet(strings.NewReader(c.env))
			}
			if err == nil {
				_, err = delegateFor(conf, s)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v; want one with %q", err, c.want)
			}
		})
	}
}

func FuzzSubnet(f *testing.F) {
	f.Add(env)
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := parseSubnet(strings.NewReader(text)); err == nil && (len(s.subnets) == 0 || s.mtu <= 0) {
			t.Errorf("parseSubnet(%q) = %+v without an error; want a subnet and an MTU", text, s)
		}
	})
}

// lab is a node with a delegate that writes down what it is told. The delegate is a shell script.
func lab(t *testing.T) (dir, conf string) {
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no /bin/sh to be the delegate")
	}
	dir = t.TempDir()
	script := "#!/bin/sh\ncat > " + dir + "/$CNI_COMMAND.json\n" +
		`[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.1.0","ips":[{"address":"10.244.3.2/24"}]}'` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "recorder"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CNI_PATH", dir)
	t.Setenv("CNI_CONTAINERID", "c1")
	t.Setenv("CNI_NETNS", "/none")
	t.Setenv("CNI_IFNAME", "eth0")
	return dir, `{"cniVersion":"1.1.0","name":"n","type":"flannel","subnetFile":"` + dir + `/subnet.env","dataDir":"` + dir + `/state","delegate":{"type":"recorder"}}`
}

func told(t *testing.T, dir, command string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, command+".json"))
	if err != nil {
		t.Fatalf("delegate was not called with %s: %v", command, err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestDelUndoesWhatAddDidAndCanBeRepeated(t *testing.T) {
	dir, conf := lab(t)
	args := &skel.CmdArgs{ContainerID: "c1", Netns: "/none", IfName: "eth0", StdinData: []byte(conf)}

	var cniErr *types.Error
	if err := status(args); !errors.As(err, &cniErr) || cniErr.Code != unavailable {
		t.Errorf("STATUS before flanneld = %v; want code %d", err, unavailable)
	}
	if err := add(args); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ADD before flanneld = %v; want %v", err, fs.ErrNotExist)
	}
	if err := os.WriteFile(dir+"/subnet.env", []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := status(args); err != nil {
		t.Errorf("STATUS = %v; want none", err)
	}
	if err := add(args); err != nil {
		t.Fatalf("ADD = %v; want none", err)
	}
	added := told(t, dir, "ADD")

	args.StdinData = []byte(strings.Replace(conf, "{", `{"prevResult":{"cniVersion":"1.1.0"},`, 1))
	if err := check(args); err != nil {
		t.Errorf("CHECK = %v; want none", err)
	}
	if told(t, dir, "CHECK")["prevResult"] == nil {
		t.Error("CHECK: the delegate got no prevResult; want the runtime's")
	}

	// flanneld got another subnet: DEL must still be about the old one.
	if err := os.WriteFile(dir+"/subnet.env", []byte(strings.ReplaceAll(env, "10.244.3", "10.244.9")), 0o600); err != nil {
		t.Fatal(err)
	}
	args.StdinData = []byte(conf)
	if err := del(args); err != nil {
		t.Fatalf("DEL = %v; want none", err)
	}
	got, _ := json.Marshal(told(t, dir, "DEL"))
	want, _ := json.Marshal(added)
	if string(got) != string(want) {
		t.Errorf("DEL: the delegate got %s; want what ADD gave it, %s", got, want)
	}
	os.Remove(dir + "/DEL.json")
	if err := del(args); err != nil {
		t.Errorf("DEL again = %v; want none", err)
	}
	if _, err := os.Stat(dir + "/DEL.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DEL again called the delegate (%v); want nothing", err)
	}
}

func TestCollectForgetsOnlyItsOwnInvalidContainers(t *testing.T) {
	dir, conf := lab(t)
	if err := os.WriteFile(dir+"/subnet.env", []byte(env), 0o600); err != nil {
		t.Fatal(err)
	}
	for id, network := range map[string]string{"gone": "n", "valid": "n", "other": "m"} {
		if err := save(dir+"/state", id, []byte(`{"type":"recorder","name":"`+network+`"}`)); err != nil {
			t.Fatal(err)
		}
	}
	args := &skel.CmdArgs{StdinData: []byte(strings.Replace(conf, "{", `{"cni.dev/valid-attachments":[{"containerID":"valid","ifname":"eth0"}],`, 1))}
	if err := collect(args); err != nil {
		t.Fatalf("GC = %v; want none", err)
	}
	if told(t, dir, "GC")["cni.dev/valid-attachments"] == nil {
		t.Error("GC: the delegate got no valid attachments; want the runtime's")
	}
	for id, want := range map[string]bool{"gone": false, "valid": true, "other": true} {
		if _, err := load(dir+"/state", id); (err == nil) != want {
			t.Errorf("state of %s after GC: %v; want it there: %v", id, err, want)
		}
	}
}
