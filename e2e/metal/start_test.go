package metal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

// gets gives the machine its config as a stranger does, with more flags.
func (m *machine) gets(flags ...string) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, m.config, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.until("the config to be taken", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, append([]string{"apply-config", "--insecure", "--nodes", m.node().Endpoint, "--file", file}, flags...)...)
		return err
	})
}

// fingerprint is that of the machine's certificate, as the console has it last.
func (m *machine) fingerprint() string {
	m.t.Helper()
	var print string
	m.until("a fingerprint on the console", func(ctx context.Context) error {
		var said strings.Builder
		if err := m.p.Logs(ctx, m.cluster.Name, m.node().Name, provision.LogOptions{}, &said); err != nil {
			return err
		}
		for line := range strings.Lines(said.String()) {
			if _, after, ok := strings.Cut(line, "its certificate has the fingerprint "); ok {
				print = strings.TrimSpace(after)
			}
		}
		if print == "" {
			return errors.New("there is none")
		}
		return nil
	})
	return print
}

// Each bad start says what is wrong, and leaves a machine that can be helped.
func TestBadStarts(t *testing.T) {
	disk := built(t, "talos.qcow2", "talos.raw")
	ordinary := []string{withoutTimeServer}
	t.Run("the config is no YAML", func(t *testing.T) {
		m := newCluster(t, shape{
			name: "metal-broken", image: disk, options: direct(t), documents: ordinary,
			config: []byte("version: v1alpha1\nmachine: {type: worker\ncluster: {}\n"),
		})
		m.console("machine config cannot be used", "not valid YAML")
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
		m.console("the volume EPHEMERAL waits", "no disk matches")
	})
	t.Run("nobody gives addresses", func(t *testing.T) {
		o := direct(t)
		o.DHCP = true
		m := newCluster(t, shape{name: "metal-alone", image: disk, options: o, documents: ordinary, unconfigured: true})
		m.alone(true)
		m.console("is in maintenance mode and has no address yet", "is there a DHCP server")
		pin := m.fingerprint()
		m.alone(false)
		m.console("can be reached at " + m.node().Address.String())
		m.maintains()
		if now := m.fingerprint(); now != pin {
			t.Errorf("with an address the certificate is another: %s; at first %s", now, pin)
		}
		m.gets("--cert-fingerprint", pin)
		m.answers()
	})
	t.Run("the clock is wrong", func(t *testing.T) {
		o := direct(t)
		o.Clock = time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		server := netip.MustParseAddr("10.77.0.123")
		m := newCluster(t, shape{name: "metal-clock", image: disk, options: o, documents: []string{
			"apiVersion: v1alpha1\nkind: TimeSyncConfig\nntp: {servers: [" + server.String() + "]}\n",
		}})
		clock := m.newTimeServer(server)
		m.console("the clock is not set: ask time server "+server.String(), "no time server has confirmed the clock", "time=2001-02-03")
		clock.answers.Store(true)
		m.answers() // with a certificate of now
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
