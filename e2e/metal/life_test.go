package metal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
)

// bootID is what the kernel calls this start.
func (m *machine) bootID() string {
	m.t.Helper()
	var id string
	m.until("the id of the boot", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "read", "/proc/sys/kernel/random/boot_id")
		id = strings.TrimSpace(out)
		return err
	})
	return id
}

// writable are all mounts of a machine with its volumes that can be written to, but for those of pods, with the options that
// protect. The kernel's own file systems are in it: who may write there is a matter of their files.
var writable = []string{
	"/dev devtmpfs nosuid noexec",
	"/dev/mqueue mqueue nosuid nodev noexec",
	"/dev/pts devpts nosuid noexec",
	"/dev/shm tmpfs nosuid nodev noexec",
	"/etc/cni tmpfs nosuid nodev noexec",
	"/etc/cri tmpfs nosuid nodev noexec",
	"/etc/kubernetes tmpfs nosuid nodev noexec",
	"/opt overlay nosuid nodev",
	"/proc proc nosuid nodev noexec",
	"/run tmpfs nosuid nodev noexec",
	"/sys sysfs nosuid nodev noexec",
	"/sys/fs/bpf bpf nosuid nodev noexec",
	"/sys/fs/cgroup cgroup2 nosuid nodev noexec",
	"/sys/kernel/config configfs nosuid nodev noexec",
	"/sys/kernel/debug debugfs nosuid nodev noexec",
	"/sys/kernel/security securityfs nosuid nodev noexec",
	"/sys/kernel/tracing tracefs nosuid nodev noexec",
	"/system tmpfs nosuid nodev noexec",
	"/system/state xfs nosuid nodev noexec",
	"/tmp tmpfs nosuid nodev noexec",
	"/var xfs nosuid nodev",
}

// rootIsClosed wants just the mounts in the list that can be written to, once EPHEMERAL is there with what stands on it.
func (m *machine) rootIsClosed() {
	m.t.Helper()
	m.until("the mounts that can be written to", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "read", "/proc/self/mountinfo")
		if err != nil {
			return err
		}
		table, err := proc.ParseMountInfo(strings.NewReader(out))
		if err != nil {
			return err
		}
		var got []string
		for _, i := range table {
			if i.HasOption("ro") || i.HasSuperOption("ro") || strings.HasPrefix(i.Point, "/run/") || strings.HasPrefix(i.Point, "/var/") {
				continue
			}
			line := i.Point + " " + i.Type
			for _, option := range []string{"nosuid", "nodev", "noexec"} {
				if i.HasOption(option) {
					line += " " + option
				}
			}
			got = append(got, line)
		}
		slices.Sort(got)
		if d := cmp.Diff(writable, slices.Compact(got)); d != "" {
			return fmt.Errorf("(-want +got):\n%s", d)
		}
		return nil
	})
}

// rootRefuses tries what an administrator can do by the API to change the root, and wants a refusal each time.
func (m *machine) rootRefuses() {
	m.t.Helper()
	file := func(path, op string) []string {
		return []string{"patch", "machineconfig", "--mode", "no-reboot", "-p",
			fmt.Sprintf("machine: {files: [{path: %s, op: %s, permissions: 0o755, content: evil}]}", path, op)}
	}
	for _, args := range [][]string{
		file("/usr/bin/evil", "create"), file("/evil", "create"), file("/var/../usr/bin/evil", "create"),
		{"patch", "machineconfig", "--mode", "no-reboot", "-p", "apiVersion: v1alpha1\nkind: EtcFileConfig\nname: ../usr/bin/evil\ncontents: evil\n"},
		{"wipe", "disk", "vda2"}, {"wipe", "disk", "vda"},
	} {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		if _, err := m.talosctl(ctx, args...); err == nil || ctx.Err() != nil {
			m.t.Errorf("talosctl %q = %v; want a refusal", args, err)
		}
		cancel()
	}
	for _, name := range []string{"/usr/bin/evil", "/evil"} {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		if out, err := m.talosctl(ctx, "read", name); err == nil {
			m.t.Errorf("there is %s: %q", name, out)
		}
		cancel()
	}
}

// writeUntilKilled changes the config again and again, each of which is a write to STATE, and kills the machine during one of them. It
// returns the last change that was answered.
func (m *machine) writeUntilKilled() (last int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Minute)
	defer cancel()
	killed := make(chan error, 1)
	for n := 1; ctx.Err() == nil; n++ {
		if n == 4 {
			time.AfterFunc(100*time.Millisecond, func() { killed <- m.p.KillNode(m.t.Context(), m.cluster.Name, m.node().Name) })
		}
		_, err := m.talosctl(ctx, "patch", "machineconfig", "--mode", "no-reboot", "-p", fmt.Sprintf("machine: {nodeLabels: {written: \"%d\"}}", n))
		if err != nil && n < 4 {
			m.t.Fatal(err)
		}
		if err != nil {
			break
		}
		last = n
	}
	if err := <-killed; err != nil {
		m.t.Fatal(err)
	}
	return last
}

// written is what writeUntilKilled wrote last, as the machine has it.
func (m *machine) written() int {
	m.t.Helper()
	n := -1
	m.until("the config", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "get", "machineconfig", "-o", "yaml")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok && key == "written" {
				if n, err = strconv.Atoi(strings.Trim(value, `"`)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return n
}

// order gives an order of the life cycle, and lets it take its time.
func (m *machine) order(args ...string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeoutCause(m.t.Context(), bootLimit, fmt.Errorf("not done after %v", bootLimit))
	defer cancel()
	began := time.Now()
	if _, err := m.talosctl(ctx, args...); err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("talosctl %s: after %v", strings.Join(args, " "), time.Since(began).Round(100*time.Millisecond))
}

// leaves waits until the machine runs another start than the one with the id.
func (m *machine) leaves(boot string) {
	m.t.Helper()
	m.until("another start", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "read", "/proc/sys/kernel/random/boot_id")
		if err == nil && strings.TrimSpace(out) == boot {
			err = errors.New("it runs the old one")
		}
		return err
	})
}

// off waits until QEMU has ended, as it does when its machine has no power any more.
func (m *machine) off() {
	m.t.Helper()
	m.until("the power to be off", func(ctx context.Context) error {
		c, err := m.p.Reflect(ctx, m.cluster.Name)
		if err != nil {
			return err
		}
		if s := c.Nodes[0].Status; s != provision.Stopped {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
}

// pressed presses the power button, and wants the machine to end by itself as it does when it is told to by the API.
func (m *machine) pressed() {
	m.t.Helper()
	before, err := os.ReadFile(m.consoleFile())
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.p.StopNode(m.t.Context(), m.cluster.Name, m.node().Name); err != nil { // which ends it with force after some time
		m.t.Fatal(err)
	}
	m.off()
	after, err := os.ReadFile(m.consoleFile())
	if err != nil {
		m.t.Fatal(err)
	}
	said := string(after[min(len(before), len(after)):])
	for _, text := range []string{"Unmounting Filesystem", "reboot: Power down"} {
		if !strings.Contains(said, text) {
			m.t.Errorf("after its power button was pressed, the machine has not said %q:\n%s", text, said)
		}
	}
}

func (m *machine) start() {
	m.t.Helper()
	if err := m.p.StartNode(m.t.Context(), m.cluster.Name, m.node().Name); err != nil {
		m.t.Fatal(err)
	}
}

func TestLifeOfAMachine(t *testing.T) {
	m := newMachine(t, "metal-life", built(t, "talos.qcow2", "talos.raw"), false, direct(t))
	m.answers()
	m.shows("volumestatus EPHEMERAL", "phase: ready")
	id, boot := m.identity(), m.bootID()
	m.rootIsClosed()
	m.rootRefuses()

	m.survives()
	if again := m.bootID(); again == boot {
		t.Error("it did not start again")
	} else {
		boot = again
	}

	// Not waited for by the command, which wants the services of the control plane: nobody has begun etcd.
	m.order("reboot", "--wait=false")
	m.leaves(boot)
	if got := m.identity(); got != id {
		t.Errorf("after a reboot the identity is %q; want %q", got, id)
	}

	m.order("shutdown", "--force")
	m.off()
	m.start()
	m.answers()
	if got := m.identity(); got != id {
		t.Errorf("after a shutdown the identity is %q; want %q", got, id)
	}

	m.pressed()
	m.start()
	m.answers()
	if got := m.identity(); got != id {
		t.Errorf("after a shutdown by the power button the identity is %q; want %q", got, id)
	}

	// The seed has a config: it begins as another machine with it.
	m.order("reset", "--graceful=false", "--reboot", "--wait=false")
	m.until("another identity", func(ctx context.Context) error {
		out, err := m.talosctl(ctx, "get", "identities", "-o", "yaml")
		if err != nil {
			return err
		}
		if !strings.Contains(out, "nodeId") || strings.Contains(out, id) {
			return errors.New("it has the identity from before the reset")
		}
		return nil
	})
	if got := m.written(); got >= 0 {
		t.Errorf("after a reset the config has change %d", got)
	}
	m.shows("volumestatus EPHEMERAL", "phase: ready")
}
