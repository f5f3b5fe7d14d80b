package rootdoc_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
)

func TestCheck(t *testing.T) {
	m := readMaterial(t)
	for _, tc := range []struct {
		name string
		text string
		mode schema.Mode
		want []string
	}{
		{"nothing about the machine", "", schema.Metal, []string{
			`line 1: the key "machine" is required; add machine with type, token and ca`,
		}},
		{"an empty machine", "machine: {}", schema.Metal, []string{
			`line 2: machine: the key "type" is required; write type: controlplane or type: worker`,
			`line 2: machine: the key "token" is required; every machine of a cluster has the same token, as generated`,
			"line 2: machine.ca: an authority of the API is required: ca.crt or acceptedCAs; without one nobody can reach the machine",
		}},
		{"a worker", "machine: {type: worker, token: abcdef.0123456789abcdef, ca: {crt: " + m.osCert + "}}", schema.Metal, nil},
		{"a control-plane node without a key", "machine: {type: controlplane, token: abcdef.0123456789abcdef, ca: {crt: " + m.osCert + "}}",
			schema.Metal, []string{
				`line 2: machine.ca: the key "key" is required on a control-plane node; control-plane nodes sign certificates with it`,
			}},
		{"disks in a container", "machine: {type: worker, token: abcdef.0123456789abcdef, acceptedCAs: [{crt: " + m.osCert + "}], " +
			"install: {disk: /dev/sda}, disks: [{device: /dev/sdb}]}", schema.Container, []string{
			"line 2: note: machine.install: a machine in a container is not installed: it has no effect",
			"line 2: machine.disks: a machine in a container has no disks of its own; remove it",
		}},
		{"disks on metal", "machine: {type: worker, token: abcdef.0123456789abcdef, acceptedCAs: [{crt: " + m.osCert + "}], " +
			"install: {disk: /dev/sda}, disks: [{device: /dev/sdb}]}", schema.Metal, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, node, report := decode(t, "version: v1alpha1\n"+tc.text)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			var checked schema.Report
			rootdoc.Check(&schema.Check{Set: schema.Set{{Value: c, Node: node}}, Mode: tc.mode, Role: c.Role(), Report: &checked})
			var got []string
			for _, p := range checked {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("Check (-want +got):\n%s", diff)
			}
		})
	}
}
