package metal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/client"
	"talos.internal/internal/provision"
)

// console waits until the machine has said something on its console.
func (m *machine) console(texts ...string) {
	m.t.Helper()
	m.until(fmt.Sprintf("the console to say %q", texts), func(ctx context.Context) error {
		var said strings.Builder
		if err := m.p.Logs(ctx, m.cluster.Name, m.node().Name, provision.LogOptions{}, &said); err != nil {
			return err
		}
		for _, text := range texts {
			if !strings.Contains(said.String(), text) {
				return fmt.Errorf("it has not said %q", text)
			}
		}
		return nil
	})
}

// maintains waits until the machine answers a stranger, which only one in maintenance does.
func (m *machine) maintains() {
	m.t.Helper()
	c, err := client.New(client.Options{Endpoints: []string{m.node().Endpoint}, Maintenance: &client.Maintenance{}})
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	m.until("maintenance mode to answer", func(ctx context.Context) error {
		_, err := client.Only(c.Machine().Version(ctx, &emptypb.Empty{}))
		return err
	})
}

// gets gives the machine its config as a stranger does.
func (m *machine) gets() {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, m.config, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.until("the config to be taken", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, "apply-config", "--insecure", "--nodes", m.node().Endpoint, "--file", file)
		return err
	})
}

// Each bad start says what is wrong, and leaves a machine that can be helped.
func TestBadStarts(t *testing.T) {
	disk := built(t, "talos.qcow2", "talos.raw")
	ordinary := []string{withoutTimeServer}
	t.Run("the config has mistakes", func(t *testing.T) {
		m := newCluster(t, shape{
			name: "metal-broken", image: disk, options: direct(t), documents: ordinary,
			config: []byte("version: v1alpha1\nmachine:\n    typo: worker\ncluster: {}\n"),
		})
		m.console("machine config cannot be used", "typo")
		m.maintains()
		m.gets()
		m.answers()
	})
	t.Run("the config is elsewhere, and nobody is there", func(t *testing.T) {
		o := direct(t)
		o.Cmdline += " talos.config=http://10.77.0.77/${uuid}.yaml"
		m := newCluster(t, shape{name: "metal-nowhere", image: disk, options: o, documents: ordinary})
		m.console("waiting for the machine config", "10.77.0.77")
		m.maintains()
		m.gets()
		m.answers()
	})
	t.Run("no disk is as the config wants it", func(t *testing.T) {
		const elsewhere = `
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning:
    diskSelector: {match: disk.transport == "nvme"}
    minSize: 1GiB
`
		m := newCluster(t, shape{name: "metal-selector", image: disk, options: direct(t), documents: append(ordinary, elsewhere)})
		m.answers() // a config with a selector that fits can be applied
		m.shows("volumestatus", `no disk matches disk.transport == "nvme"`)
		m.console("no disk matches")
	})
	t.Run("nobody gives addresses, and nobody knows the time", func(t *testing.T) {
		m := newCluster(t, shape{name: "metal-alone", image: disk, options: direct(t)})
		m.answers()
		m.console("the clock is not set", "no time server has confirmed the clock")
	})
	t.Run("there is no root", func(t *testing.T) {
		o := direct(t)
		empty := filepath.Join(t.TempDir(), "empty.raw")
		if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.Truncate(empty, 1<<30)); err != nil {
			t.Fatal(err)
		}
		m := newCluster(t, shape{name: "metal-rootless", image: empty, options: o})
		m.console("still waiting; seen so far: /dev/vda", "is the disk or medium attached", "this machine starts again in")
	})
}
