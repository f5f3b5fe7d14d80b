package authz_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "talos.internal/api/clusterpb"
	_ "talos.internal/api/discoverypb"
	_ "talos.internal/api/inspectpb"
	_ "talos.internal/api/machinepb"
	_ "talos.internal/api/membershippb"
	_ "talos.internal/api/securitypb"
	_ "talos.internal/api/statepb"
	_ "talos.internal/api/storagepb"
	_ "talos.internal/api/timepb"

	"talos.internal/internal/proxy/authz"
	"talos.internal/secret"
)

var update = flag.Bool("update", false, "rewrite golden files")

// adminOnlyByDefault are the services that are not for this port: nobody is to have their methods but an administrator,
// for whom the node then answers that it does not know them.
var adminOnlyByDefault = map[protoreflect.FullName]string{
	"securityapi.SecurityService":     "trustd's, on another port, with the machine token",
	"sidero.discovery.server.Cluster": "the discovery service's",
}

// linked returns the full names of all methods of the services of this tree.
func linked() map[string]protoreflect.FullName {
	methods := map[string]protoreflect.FullName{}

	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(f.Path(), "api/") {
			return true
		}

		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for j := range service.Methods().Len() {
				methods[fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())] = service.FullName()
			}
		}

		return true
	})

	return methods
}

// unlisted returns the methods about which nothing was decided.
func unlisted(methods map[string]protoreflect.FullName, listed func(string) bool) []string {
	var missing []string

	for method, service := range methods {
		if _, ok := adminOnlyByDefault[service]; !ok && !listed(method) {
			missing = append(missing, method)
		}
	}

	slices.Sort(missing)

	return missing
}

func TestEveryLinkedMethodIsDecidedUpon(t *testing.T) {
	methods := linked()
	if len(methods) < 80 {
		t.Fatalf("found %d methods; the walk has lost its way", len(methods))
	}

	if missing := unlisted(methods, authz.Listed); len(missing) > 0 {
		t.Errorf("in neither the table nor adminOnlyByDefault: %q", missing)
	}

	for method, service := range methods {
		if _, ok := adminOnlyByDefault[service]; ok && authz.Listed(method) {
			t.Errorf("%s is in the table and in adminOnlyByDefault", method)
		}
	}

	for _, method := range authz.Methods() {
		if _, ok := methods[method]; !ok {
			t.Errorf("the table has %s, which no service has", method)
		}
	}
}

func TestAForgottenMethodIsFound(t *testing.T) {
	const forgotten = "/machine.MachineService/Reboot"

	got := unlisted(linked(), func(m string) bool { return m != forgotten && authz.Listed(m) })
	if want := []string{forgotten}; !slices.Equal(got, want) {
		t.Errorf("unlisted without %s = %q; want %q", forgotten, got, want)
	}
}

var letters = []struct{ letter, role string }{
	{"A", secret.RoleAdmin}, {"O", secret.RoleOperator}, {"R", secret.RoleReader}, {"E", secret.RoleEtcdBackup},
	{"V", secret.RoleImageVerifier}, {"M", secret.RoleMetaWriter}, {"I", secret.RoleImpersonator}, {"?", "os:unknown"},
}

// The golden file is in the letters of the contract, so that the two can be held side by side. What a letter may in
// maintenance mode only is in lower case.
func TestRolesOfEveryMethodAreTheCommittedOnes(t *testing.T) {
	const golden = "testdata/roles.golden"

	var b strings.Builder

	for _, method := range authz.Methods() {
		fmt.Fprintf(&b, "%-60s ", method)

		for _, l := range letters {
			switch roles := []string{l.role}; {
			case authz.Allowed(method, roles):
				b.WriteString(l.letter)
			case authz.Maintenance.Allowed(method, roles):
				b.WriteString(strings.ToLower(l.letter))
			}
		}

		b.WriteString("\n")
	}

	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}

	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the table differs from %s (-want +got; -update accepts it):\n%s", golden, diff)
	}
}

func TestAllowed(t *testing.T) {
	const (
		reboot  = "/machine.MachineService/Reboot"
		list    = "/machine.MachineService/ServiceList"
		apply   = "/machine.MachineService/ApplyConfiguration"
		unknown = "/machine.MachineService/FromTheFuture"
	)

	for _, tc := range []struct {
		name    string
		mode    authz.Mode
		method  string
		roles   []string
		want    bool
		needing []string
	}{
		{name: "a reader lists", method: list, roles: []string{"os:reader"}, want: true},
		{name: "a reader does not change", method: reboot, roles: []string{"os:reader"},
			needing: []string{"os:admin", "os:operator"}},
		{name: "one role of several is enough", method: reboot, roles: []string{"os:reader", "os:operator"}, want: true},
		{name: "no roles, nothing", method: list},
		{name: "an empty role is none", method: list, roles: []string{""}},
		{name: "an unknown role matches nothing", method: list, roles: []string{"os:future", "talos"}},
		{name: "a role has its exact spelling", method: list, roles: []string{"OS:ADMIN", "os:admin ", " os:admin", "os:admi"}},
		{name: "an impersonator may nothing by itself", method: list, roles: []string{"os:impersonator"}},
		{name: "an unknown method needs admin", method: unknown, roles: []string{"os:operator", "os:reader"},
			needing: []string{"os:admin"}},
		{name: "an admin may call an unknown method", method: unknown, roles: []string{"os:admin"}, want: true},
		{name: "a method without its slash is unknown", method: list[1:], roles: []string{"os:reader"}},
		{name: "a method with another case is unknown", method: strings.ToLower(list), roles: []string{"os:reader"}},
		{name: "a method with more after it is unknown", method: list + "/", roles: []string{"os:reader"}},
		{name: "no method", method: "", roles: []string{"os:reader"}},
		{name: "a reader does not apply a config", method: apply, roles: []string{"os:reader"}},
		{name: "a reader applies one in maintenance mode", mode: authz.Maintenance, method: apply,
			roles: []string{"os:reader"}, want: true},
		{name: "maintenance mode opens only what it must", mode: authz.Maintenance, method: reboot,
			roles: []string{"os:reader"}},
		{name: "maintenance mode does not open unknown methods", mode: authz.Maintenance, method: unknown,
			roles: []string{"os:reader"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.mode.Allowed(tc.method, tc.roles); got != tc.want {
				t.Errorf("Allowed(%q, %q) = %t; want %t", tc.method, tc.roles, got, tc.want)
			}

			if got := tc.mode.Needs(tc.method); tc.needing != nil && !slices.Equal(got, tc.needing) {
				t.Errorf("Needs(%q) = %q; want %q", tc.method, got, tc.needing)
			}
		})
	}
}

func TestAnAdministratorMayCallEverything(t *testing.T) {
	for method := range linked() {
		if !authz.Allowed(method, []string{secret.RoleAdmin}) {
			t.Errorf("Allowed(%q, admin) = false; want true", method)
		}
	}
}

func TestOnlyAdministratorsReadSensitiveResources(t *testing.T) {
	for _, l := range letters {
		if got, want := authz.Sensitive([]string{l.role}), l.role == secret.RoleAdmin; got != want {
			t.Errorf("Sensitive(%q) = %t; want %t", l.role, got, want)
		}
	}
}
