package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"talos.internal/internal/proxy/authz"
)

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("10.6.%d.%d", i/250, 1+i%250)
	}

	return names
}

func TestDecide(t *testing.T) {
	const (
		list     = "/machine.MachineService/ServiceList"
		reboot   = "/machine.MachineService/Reboot"
		recovery = "/machine.MachineService/EtcdRecover"
		future   = "/machine.MachineService/FromTheFuture"
		get      = "/cosi.resource.State/Get"
	)

	var (
		reader = caller{roles: []string{"os:reader"}}
		admin  = caller{roles: []string{"os:admin"}}
		peer   = caller{impersonator: true}
	)

	for _, tc := range []struct {
		name   string
		method string
		in     metadata.MD
		peer   caller
		worker bool
		mode   authz.Mode

		code    codes.Code // and the text of the error
		text    string
		way     way
		targets []string
		roles   []string
		local   metadata.MD // nil: not compared
	}{
		{name: "without anything the call is answered here", method: list, peer: reader, roles: []string{"os:reader"},
			local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "a forged role is ignored", method: reboot, peer: reader, in: metadata.MD{"talos-role": {"os:admin"}},
			roles: []string{"os:reader"}, code: codes.PermissionDenied, text: "is for os:admin, os:operator; the caller has os:reader"},
		{name: "a forged role does not travel", method: list, peer: reader, in: metadata.MD{"talos-role": {"os:admin"}},
			roles: []string{"os:reader"}, local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "a forged role in upper case is ignored", method: list, peer: reader,
			in:    metadata.MD{"Talos-Role": {"os:admin"}, "TALOS-ROLE": {"os:admin"}},
			roles: []string{"os:reader"}, local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "an admin cannot speak for others", method: list, peer: admin, in: metadata.MD{"talos-role": {"os:reader"}},
			roles: []string{"os:admin"}},
		{name: "a forwarding node speaks for the caller", method: list, peer: peer,
			in:    metadata.MD{"talos-role": {"os:reader", "", "os:future"}, "proxyfrom": {"10.5.0.2"}},
			roles: []string{"os:reader", "os:future"}, local: metadata.MD{"talos-role": {"os:reader", "os:future"}}},
		{name: "a forwarding node for a reader may not change", method: reboot, peer: peer,
			in: metadata.MD{"talos-role": {"os:reader"}}, roles: []string{"os:reader"}, code: codes.PermissionDenied},
		{name: "an impersonator that speaks for nobody is nobody", method: list, peer: peer, code: codes.PermissionDenied,
			text: "the caller has no role"},
		{name: "nobody becomes an impersonator by metadata", method: list, peer: peer,
			in: metadata.MD{"talos-role": {"os:impersonator", "os:admin"}}, roles: []string{"os:admin"}},
		{name: "an impersonator with an empty role is nobody", method: list, peer: caller{impersonator: true, roles: []string{"os:admin"}},
			in: metadata.MD{"talos-role": {""}}, code: codes.PermissionDenied},
		{name: "no role, no call", method: list, code: codes.PermissionDenied},
		{name: "unknown roles are kept", method: list, peer: caller{roles: []string{"os:future", "os:reader"}},
			roles: []string{"os:future", "os:reader"}, local: metadata.MD{"talos-role": {"os:future", "os:reader"}}},
		{name: "a role that is no header's value does not travel", method: list,
			peer:  caller{roles: []string{"os:réader", "os:reader", " os:admin", "a\nb"}},
			roles: []string{"os:réader", "os:reader", " os:admin", "a\nb"}, local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "an unknown method needs admin", method: future, peer: reader, roles: reader.roles, code: codes.PermissionDenied},
		{name: "an admin may call an unknown method", method: future, peer: admin, roles: admin.roles},

		{name: "one node", method: get, peer: reader, in: metadata.MD{"node": {"10.5.0.9"}}, roles: reader.roles,
			way: one, targets: []string{"10.5.0.9"}, local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "one node, upper-case key", method: get, peer: reader, in: metadata.MD{"Node": {"10.5.0.9"}}, roles: reader.roles,
			way: one, targets: []string{"10.5.0.9"}},
		{name: "one node by name", method: get, peer: reader, in: metadata.MD{"node": {"CP-1.example."}}, roles: reader.roles,
			way: one, targets: []string{"CP-1.example."}},
		{name: "several values of node", method: get, peer: reader, in: metadata.MD{"node": {"10.5.0.9", "10.5.0.8"}},
			roles: reader.roles, code: codes.InvalidArgument, text: "node has 2 values"},
		{name: "several values of node through the case of the key", method: get, peer: reader,
			in: metadata.MD{"node": {"10.5.0.9"}, "NODE": {"10.5.0.8"}}, roles: reader.roles, code: codes.InvalidArgument},
		{name: "node and nodes", method: list, peer: reader, in: metadata.MD{"node": {"10.5.0.9"}, "nodes": {"10.5.0.9"}},
			roles: reader.roles, code: codes.InvalidArgument, text: "both"},
		{name: "an empty node", method: get, peer: reader, in: metadata.MD{"node": {""}}, roles: reader.roles,
			code: codes.InvalidArgument},
		{name: "this node itself", method: get, peer: reader, in: metadata.MD{"node": {"10.5.0.2"}}, roles: reader.roles},
		{name: "this node itself in IPv6's clothes", method: get, peer: reader, in: metadata.MD{"node": {"::ffff:10.5.0.2"}},
			roles: reader.roles},
		{name: "a loopback address is this node", method: get, peer: reader, in: metadata.MD{"node": {"::1"}}, roles: reader.roles},

		{name: "many nodes", method: list, peer: reader, in: metadata.MD{"nodes": {"10.5.0.9", "10.5.0.2"}}, roles: reader.roles,
			way: many, targets: []string{"10.5.0.9", "10.5.0.2=self"}, local: metadata.MD{"talos-role": {"os:reader"}}},
		{name: "one of many nodes is joined too", method: list, peer: reader, in: metadata.MD{"nodes": {"10.5.0.9"}},
			roles: reader.roles, way: many, targets: []string{"10.5.0.9"}},
		{name: "the same node twice is asked once", method: list, peer: reader,
			in:    metadata.MD{"nodes": {"10.5.0.9", "a.example", "10.5.0.9", "::ffff:10.5.0.9", "A.example."}},
			roles: reader.roles, way: many, targets: []string{"10.5.0.9", "a.example"}},
		{name: "the most nodes", method: list, peer: reader, in: metadata.MD{"nodes": manyNames(MaxNodes)}, roles: reader.roles,
			way: many, targets: manyNames(MaxNodes)},
		{name: "too many nodes", method: list, peer: reader, in: metadata.MD{"nodes": manyNames(MaxNodes + 1)}, roles: reader.roles,
			code: codes.InvalidArgument, text: "nodes has 1001 values"},
		{name: "too many of the same", method: list, peer: reader,
			in: metadata.MD{"nodes": slices.Repeat([]string{"10.5.0.9"}, MaxNodes+1)}, roles: reader.roles, code: codes.InvalidArgument},
		{name: "many nodes of a service that cannot be joined", method: get, peer: reader, in: metadata.MD{"nodes": {"10.5.0.9"}},
			roles: reader.roles, code: codes.InvalidArgument, text: "use node"},
		{name: "many nodes and a stream of requests", method: recovery, peer: admin, in: metadata.MD{"nodes": {"10.5.0.9"}},
			roles: admin.roles, code: codes.InvalidArgument, text: "stream of requests"},
		{name: "many nodes and an unknown method of a joined service", method: future, peer: admin,
			in: metadata.MD{"nodes": {"10.5.0.9"}}, roles: admin.roles, code: codes.Unimplemented},
		{name: "one bad name among many", method: list, peer: reader, in: metadata.MD{"nodes": {"10.5.0.9", "unix:/run/x.sock"}},
			roles: reader.roles, code: codes.InvalidArgument, text: "unix:/run/x.sock"},

		{name: "a call that was forwarded ends here", method: list, peer: peer, roles: reader.roles,
			in: metadata.MD{"talos-role": {"os:reader"}, "proxyfrom": {"x"}, "node": {"10.5.0.9"}}},
		{name: "a call that was forwarded ends here, whatever it says", method: get, peer: peer, roles: reader.roles,
			in: metadata.MD{"talos-role": {"os:reader"}, "ProxyFrom": {""}, "nodes": {"10.5.0.9"}, "node": {"a", "b"}}},

		{name: "a worker does not forward", method: get, peer: admin, worker: true, in: metadata.MD{"node": {"10.5.0.9"}},
			roles: admin.roles, code: codes.PermissionDenied, text: "10.5.0.9 is not one of its addresses"},
		{name: "a worker answers for itself", method: get, peer: admin, worker: true, in: metadata.MD{"node": {"10.5.0.2"}},
			roles: admin.roles},
		{name: "a worker answers for itself alone among many", method: list, peer: admin, worker: true, roles: admin.roles,
			in: metadata.MD{"nodes": {"self.example"}}, way: many, targets: []string{"self.example=self"}},
		{name: "a worker does not ask others", method: list, peer: admin, worker: true, roles: admin.roles,
			in: metadata.MD{"nodes": {"10.5.0.2", "10.5.0.9"}}, code: codes.PermissionDenied, text: "10.5.0.9"},

		{name: "who may not call does not learn that the rest is wrong", method: reboot, peer: reader, roles: reader.roles,
			in: metadata.MD{"node": {"!!"}}, code: codes.PermissionDenied},
		{name: "maintenance mode lets readers apply", method: "/machine.MachineService/ApplyConfiguration",
			mode: authz.Maintenance, worker: true, peer: reader, roles: reader.roles},

		{name: "custom metadata travels, hop-by-hop headers do not", method: list, peer: reader, roles: reader.roles,
			in: metadata.MD{"x-id": {"1", "2"}, "x-bin": {"\x00"}, ":authority": {"h"}, "content-type": {"application/grpc"},
				"user-agent": {"u"}, "grpc-accept-encoding": {"gzip"}, "te": {"trailers"}},
			local: metadata.MD{"x-id": {"1", "2"}, "x-bin": {"\x00"}, "talos-role": {"os:reader"}}},
		{name: "a value that gRPC cannot send", method: list, peer: reader, in: metadata.MD{"x-id": {"é"}}, roles: reader.roles,
			code: codes.InvalidArgument, text: "x-id"},
		{name: "a key that gRPC cannot send", method: list, peer: reader, in: metadata.MD{"x!id": {"1"}}, roles: reader.roles,
			code: codes.InvalidArgument, text: "x!id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := tc.in.Copy()

			p, err := decide(question{
				method: tc.method, in: tc.in, peer: tc.peer, mode: tc.mode, forwards: !tc.worker, name: "10.5.0.2",
				self: selfFrom([]string{"10.5.0.2", "Self.example", "not a name"}),
			})
			if status.Code(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.text) {
				t.Fatalf("decide = %v; want %v with %q", err, tc.code, tc.text)
			}

			if diff := cmp.Diff(tc.roles, p.roles); diff != "" {
				t.Errorf("roles (-want +got):\n%s", diff)
			}

			if diff := cmp.Diff(before, tc.in); diff != "" && len(before) > 0 {
				t.Errorf("decide changed what it was given (-before +after):\n%s", diff)
			}

			if err != nil {
				return
			}

			var targets []string
			for _, target := range p.targets {
				if target.self {
					target.name += "=self"
				}

				targets = append(targets, target.name)
			}

			if diff := cmp.Diff(tc.targets, targets); p.way != tc.way || diff != "" {
				t.Errorf("way = %d; want %d; targets (-want +got):\n%s", p.way, tc.way, diff)
			}

			if tc.local != nil {
				if diff := cmp.Diff(tc.local, p.local); diff != "" {
					t.Errorf("metadata for machined (-want +got):\n%s", diff)
				}
			}

			remote := p.local.Copy()
			remote["proxyfrom"] = []string{"10.5.0.2"}

			if diff := cmp.Diff(remote, p.remote); diff != "" {
				t.Errorf("metadata for another node (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTargetKey(t *testing.T) {
	for _, tc := range []struct {
		in, want string // empty: refused
		loopback bool
	}{
		{in: "10.5.0.2", want: "10.5.0.2"},
		{in: "::ffff:10.5.0.2", want: "10.5.0.2"},
		{in: "FD00:0::1", want: "fd00::1"},
		{in: "127.0.0.53", want: "127.0.0.53", loopback: true},
		{in: "::1", want: "::1", loopback: true},
		{in: "LocalHost.", want: "localhost", loopback: true},
		{in: "cp-1", want: "cp-1"},
		{in: "CP_1.Example.COM.", want: "cp_1.example.com"},
		{in: ""},
		{in: "."},
		{in: "a..b"},
		{in: "-a"},
		{in: "a-"},
		{in: "10.5.0"},
		{in: "10.5.0.256"},
		{in: "0.0.0.0"},
		{in: "::"},
		{in: "224.0.0.1"},
		{in: "fe80::1%eth0"},
		{in: "10.5.0.2:50000"},
		{in: "[::1]"},
		{in: "unix:///run/x.sock"},
		{in: "dns:///a"},
		{in: "a,b"},
		{in: "a b"},
		{in: "a\x00"},
		{in: "ключ.example"},
		{in: strings.Repeat("a", 64)},
		{in: strings.Repeat("a.", 127)},
	} {
		t.Run(tc.in, func(t *testing.T) {
			got, loopback, err := targetKey(tc.in)
			if got != tc.want || loopback != tc.loopback || (err == nil) != (tc.want != "") {
				t.Errorf("targetKey(%q) = %q, %t, %v; want %q, %t", tc.in, got, loopback, err, tc.want, tc.loopback)
			}

			if again, _, err := targetKey(got); got != "" && (again != got || err != nil) {
				t.Errorf("targetKey(%q) = %q, %v; want the same", got, again, err)
			}
		})
	}
}

// Whatever the metadata is, the roles of a call are the certificate's unless another node speaks, and nothing that steers
// proxies gets to machined.
func FuzzDecide(f *testing.F) {
	f.Add("/machine.MachineService/ServiceList", "node", "10.5.0.9", "talos-role", "os:admin", "os:reader", false)
	f.Add("/machine.MachineService/Reboot", "nodes", "10.5.0.9", "Talos-Role", "os:admin", "os:reader", true)
	f.Add("/cosi.resource.State/Get", "proxyfrom", "", "nodes", "a\xff", "os:admin\n", false)
	f.Fuzz(func(t *testing.T, method, k1, v1, k2, v2, role string, impersonator bool) {
		in := metadata.MD{k1: {v1}}
		in[k2] = append(in[k2], v2)

		p, err := decide(question{
			method: method, in: in, peer: caller{roles: []string{role}, impersonator: impersonator}, name: "self",
			self: selfFrom([]string{v1}),
		})
		if !impersonator && !slices.Equal(p.roles, []string{role}) {
			t.Fatalf("roles = %q; want those of the certificate, %q", p.roles, role)
		}

		if slices.Contains(p.roles, "os:impersonator") && role != "os:impersonator" {
			t.Fatalf("roles = %q: an impersonator by metadata", p.roles)
		}

		if err != nil {
			if status.Code(err) == codes.Unknown {
				t.Fatalf("decide = %v; want a status", err)
			}

			return
		}

		if !authz.Allowed(method, p.roles) {
			t.Fatalf("%q was let through with %q", method, p.roles)
		}

		for key, values := range p.local {
			if slices.Contains([]string{keyNode, keyNodes, keyFrom}, key) || !validKey(key) {
				t.Errorf("key %q gets to machined", key)
			}

			for _, v := range values {
				if !strings.HasSuffix(key, "-bin") && !printable(v) {
					t.Errorf("%q = %q cannot be sent", key, v)
				}
			}
		}

		for _, role := range p.local[keyRoles] {
			if !slices.Contains(p.roles, role) {
				t.Errorf("role %q travels; the caller has %q", role, p.roles)
			}
		}

		if p.way == one || slices.ContainsFunc(p.targets, func(t target) bool { return !t.self }) {
			t.Errorf("a worker forwards to %v", p.targets)
		}
	})
}
