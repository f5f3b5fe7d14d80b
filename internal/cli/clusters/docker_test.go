package clusters

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/docker"
	"talos.internal/internal/provision/native"
)

func TestPortsAreThoseOfThisComputerFirst(t *testing.T) {
	for text, want := range map[string]provision.Port{
		"8080:80":     {HostPort: 8080, NodePort: 80, Protocol: "tcp"},
		"8080:80/tcp": {HostPort: 8080, NodePort: 80, Protocol: "tcp"},
		"5353:53/udp": {HostPort: 5353, NodePort: 53, Protocol: "udp"},
	} {
		if got, err := parsePort(text); err != nil || got != want {
			t.Errorf("parsePort(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "80", "80:", "0:80", "80:0", "70000:80", "80:80/sctp", "1:2:3", "80:80/"} {
		if got, err := parsePort(text); err == nil {
			t.Errorf("parsePort(%q) = %+v; want an error", text, got)
		}
	}
}

func TestMountsAreThoseOfDockerRun(t *testing.T) {
	for text, want := range map[string]provision.Mount{
		"type=bind,source=/a,target=/b":              {Source: "/a", Target: "/b"},
		"type=bind,src=/a,dst=/b,readonly":           {Source: "/a", Target: "/b", ReadOnly: true},
		"source=/a,destination=/b,ro=true":           {Source: "/a", Target: "/b", ReadOnly: true},
		"type=bind,source=/a,target=/b,ro=false":     {Source: "/a", Target: "/b"},
		"type=bind,source=/a=b,target=/b,readonly=1": {Source: "/a=b", Target: "/b", ReadOnly: true},
	} {
		got, err := parseMount(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("parseMount(%q): %v (-want +got):\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", "/a:/b", "type=volume,target=/b", "type=bind,source=/a", "type=bind,source=/a,target=/b,ro=maybe", "source=/a,target=/b,speed=1"} {
		if got, err := parseMount(text); err == nil {
			t.Errorf("parseMount(%q) = %+v; want an error", text, got)
		}
	}
}

// named is a provisioner of which only the name is known.
type named struct {
	provision.Provisioner
	name string
}

func TestDockerIsTheDefaultIfItAnswers(t *testing.T) {
	no := errors.New("no daemon")
	for _, tc := range []struct {
		name, flag     string
		answers, linux error
		want           string
		wrong          string // of the error
	}{
		{"the daemon answers", "", nil, nil, docker.Name, ""},
		{"it does not", "", no, nil, native.Name, ""},
		{"a person wants another", native.Name, nil, nil, native.Name, ""},
		{"a person wants it", docker.Name, no, nil, docker.Name, ""},
		{"there is none of both", "", no, provision.ErrNotSupported, "", "no daemon"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := &base{
				env: command.Env{Home: t.TempDir()}, name: "lab", kind: tc.flag,
				doors: doors{
					func(native.Options) (provision.Provisioner, error) { return named{name: native.Name}, tc.linux },
					func(context.Context, docker.Options) (provision.Provisioner, error) {
						return named{name: docker.Name}, nil
					},
					func(context.Context) error { return tc.answers },
				},
			}
			cmd := &cobra.Command{}
			cmd.SetContext(t.Context())
			p, _, err := b.provisioner(cmd)
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) || !errors.Is(err, provision.ErrNotSupported) {
					t.Errorf("provisioner = %v; want an error that says %q and why there is no other", err, tc.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := p.(named).name; got != tc.want {
				t.Errorf("provisioner = %s; want %s", got, tc.want)
			}
		})
	}
}
