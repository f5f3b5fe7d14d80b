//go:build linux

package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
)

// made is a cluster of the first n nodes of a request, which is destroyed at the end.
func made(t *testing.T, l lab, p *Provisioner, n int) (context.Context, *provision.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), bootLimit, fmt.Errorf("the test took %v", bootLimit))
	t.Cleanup(cancel)
	r := l.request("qemu-test")
	r.Nodes = r.Nodes[:n]
	t.Cleanup(func() {
		if err := p.Destroy(context.Background(), r.Name, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		if left := l.left(t); len(left) > 0 {
			t.Errorf("after Destroy there is:\n%s", strings.Join(left, "\n"))
		}
	})
	c, err := p.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, c
}

func mustAsk(t *testing.T, ctx context.Context, n provision.Node, text string) string {
	t.Helper()
	answer, err := question(ctx, n, text)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Everything that wants a machine and nothing else of it, in one: a boot costs seconds.
func TestSnapshotsAndTheSwitch(t *testing.T) {
	l := newLab(t)
	p := l.provisioner(t)
	ctx, c := made(t, l, p, 2)
	a, b := c.Nodes[0], c.Nodes[1]
	dial := "dial " + b.Address.String() + ":50000"
	mustAsk(t, ctx, b, "hello")
	if got := mustAsk(t, ctx, a, dial); !strings.HasPrefix(got, a.Address.String()+":") {
		t.Errorf("dial = %q; want a connection from %s", got, a.Address)
	}
	if got := mustAsk(t, ctx, a, "seed network-config"); !strings.Contains(got, a.Address.String()+"/24") {
		t.Errorf("network-config = %q", got)
	}
	sw, err := p.Switch(c.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := sw.SetRule(ctx, layer2.Rule{From: a.Name, To: b.Name, Cut: true}); err != nil {
		t.Fatal(err)
	}
	if got := mustAsk(t, ctx, a, dial); !strings.Contains(got, "error:") {
		t.Errorf("dial over a cut link = %q; want an error", got)
	}
	if got := mustAsk(t, ctx, b, "hello"); got != "hello" {
		t.Errorf("the other node answers %q", got)
	}
	if err := sw.ClearRules(ctx); err != nil {
		t.Fatal(err)
	}
	if got := mustAsk(t, ctx, a, dial); strings.Contains(got, "error:") {
		t.Errorf("dial after the cut = %q", got)
	}

	mustAsk(t, ctx, a, "write /before")
	if err := p.Snapshot(ctx, c.Name, "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Snapshot(ctx, c.Name, "one", nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Snapshot again = %v; want fs.ErrExist", err)
	}
	mustAsk(t, ctx, a, "write /after") // it goes on
	if err := p.KillNode(ctx, c.Name, b.Name); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := p.Restore(ctx, c.Name, "one", nil); err != nil {
		t.Fatal(err)
	}
	t.Logf("restored after %v", time.Since(began))
	if got := mustAsk(t, ctx, a, "read /before"); got != "written" {
		t.Errorf("what was before the snapshot: %q", got)
	}
	if got := mustAsk(t, ctx, a, "read /after"); !strings.Contains(got, "no such file") {
		t.Errorf("what was after the snapshot: %q; want nothing", got)
	}
	if got := mustAsk(t, ctx, a, dial); !strings.HasPrefix(got, a.Address.String()+":") {
		t.Errorf("dial after a restore = %q; want a connection", got)
	}
	for _, n := range c.Nodes {
		var log strings.Builder
		if err := p.Logs(ctx, c.Name, n.Name, provision.LogOptions{}, &log); err != nil || strings.Count(log.String(), "start ") != 1 {
			t.Errorf("log of %s = %q, %v; want one start", n.Name, log.String(), err)
		}
	}
	if names, err := p.Snapshots(c.Name); err != nil || len(names) != 1 || names[0] != "one" {
		t.Errorf("Snapshots = %v, %v", names, err)
	}
	if err := p.RemoveSnapshot(ctx, c.Name, "one"); err != nil {
		t.Error(err)
	}
	if err := p.Restore(ctx, c.Name, "one", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Restore of what is not there = %v; want fs.ErrNotExist", err)
	}

	p.grace = 2 * time.Second
	mustAsk(t, ctx, a, "stubborn")
	if err := p.StopNode(ctx, c.Name, a.Name); err != nil {
		t.Errorf("StopNode of a node that does not want to: %v", err)
	}
	if c, err = p.Reflect(ctx, c.Name); err != nil || c.Nodes[0].Status != provision.Stopped || c.Nodes[1].Status != provision.Running {
		t.Errorf("Reflect = %+v, %v; want the first node stopped", c, err)
	}
}

// A machine with firmware, a TPM and an empty disk has nothing to boot: the firmware says so on the console.
func TestFirmwareAndTPM(t *testing.T) {
	if os.Getenv(machinesVariable) == "" {
		t.Skip(machinesVariable + " is not set: make e2e-machine starts virtual machines")
	}
	l := lab{dir: filepath.Join(t.TempDir(), "clusters")}
	disk := filepath.Join(t.TempDir(), "empty.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	l.kernel = disk
	o := Options{Dir: l.dir, Switch: []string{os.Args[0], switchArgument}, Disk: 2 << 20, UEFI: true, TPM: true}
	p, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, c := made(t, l, p, 1)
	n := c.Nodes[0]
	follow, found := context.WithCancel(ctx)
	defer found()
	log := &untilText{text: "BdsDxe", found: found}
	if err := p.Logs(follow, c.Name, n.Name, provision.LogOptions{Follow: true}, log); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%v; the console has %q", context.Cause(ctx), log.String())
	}
	state := mustState(t, p, c.Name)
	tpms := func() int {
		t.Helper()
		all, err := processes(func(args []string) bool { return hasTPM(args, p.run(state, state.Nodes[0])) })
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	if got := tpms(); got != 1 {
		t.Errorf("%d processes are the TPM; want 1", got)
	}
	// Memory, variables and TPM come back together.
	if err := p.Snapshot(ctx, c.Name, "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Restore(ctx, c.Name, "one", nil); err != nil {
		t.Fatal(err)
	}
	if err := p.KillNode(ctx, c.Name, n.Name); err != nil {
		t.Fatal(err)
	}
	if got := tpms(); got != 0 {
		t.Errorf("after a kill %d processes are the TPM", got)
	}
	// The size of the disk is that of the options, not of the image below.
	out, err := exec.CommandContext(ctx, "qemu-img", "info", "--output=json", p.nodeDir(c.Name, n.Name, diskFile)).Output()
	if err != nil || !strings.Contains(string(out), `"virtual-size": 2097152`) {
		t.Errorf("qemu-img info = %s, %v; want 2 MiB", out, err)
	}
	if err := p.StartNode(ctx, c.Name, n.Name); err != nil {
		t.Errorf("StartNode with the TPM of before: %v", err)
	}
}

func mustState(t *testing.T, p *Provisioner, cluster string) *provision.State {
	t.Helper()
	state, err := p.store.Load(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// untilText calls found when what is written has a text.
type untilText struct {
	strings.Builder
	text  string
	found func()
}

func (u *untilText) Write(p []byte) (int, error) {
	n, err := u.Builder.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.found()
	}
	return n, err
}
