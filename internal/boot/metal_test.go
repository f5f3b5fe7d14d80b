package boot

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// machine are the facts of a machine as the initramfs leaves it.
func machine(t *testing.T) Facts {
	t.Helper()
	r, err := os.Open("testdata/metal.mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f := Facts{Mode: Metal, PID1: true, EFI: true, Cmdline: closed}
	if f.Mounts, err = proc.ParseMountInfo(r); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPlansOfAMachine(t *testing.T) {
	samePlan(t, "metal", plan(t, machine(t)))
	samePlan(t, "metal-ephemeral", EphemeralPlan())
	samePlan(t, "metal-drivers", DriversPlan())
	samePlan(t, "metal-world", WorldPlan())
	samePlan(t, "metal-imagecache", ImageCachePlan("/dev/vda5"))
	f := machine(t)
	for _, kind := range []CauseKind{Terminated, Reboot, Shutdown} {
		samePlan(t, "metal-stop-"+string(kind), stopPlan(t, f, Cause{Kind: kind}))
	}
	samePlan(t, "metal-stop-reset", stopPlan(t, f, Cause{
		Kind: Reset, Wipe: []Step{{Name: "wipe STATE EPHEMERAL", Do: Call{"wipe", nil}, Limit: time.Minute}}, How: process.PowerOff,
	}))
}

// machineMounts are the mounts of a machine in memory, as the facts have them.
func machineMounts(t *testing.T, f Facts) *mount.Memory {
	t.Helper()
	dirs, _ := Points()
	m := memory(t, f)
	for _, d := range append(dirs, mount.CgroupsPoint, mount.SecurityPoint, mount.BPFPoint, mount.TracingPoint, mount.DebugPoint, mount.ConfigPoint, mount.EFIVarsPoint) {
		if err := m.MakePoint(d, false, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Mount(mount.Call{Target: "/", Flags: mount.Remount | mount.Bind | mount.ReadOnly | mount.NoDev}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNothingCanBeWrittenOnAMachineButWhereItMust(t *testing.T) {
	f := machine(t)
	m := machineMounts(t, f)
	r := &recorder{}
	h := host(m, r)
	h.Devices = &fakeDevices{recorder: r}
	if failed, err := Run(t.Context(), plan(t, f), h, quiet); err != nil || len(failed) > 0 {
		t.Fatalf("Run() = %v, %v", failed, err)
	}
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	pseudo := []string{"proc", "sysfs", "cgroup2", "securityfs", "bpf", "tracefs", "debugfs", "configfs", "devpts", "mqueue"}
	var writable []string
	for _, i := range table {
		if i.HasOption("ro") || slices.Contains(pseudo, i.Type) {
			continue
		}
		line := i.Point
		for _, option := range []string{"nosuid", "nodev", "noexec"} {
			if i.HasOption(option) {
				line += " " + option
			}
		}
		writable = append(writable, line)
	}
	slices.Sort(writable)
	want := []string{
		"/dev nosuid noexec", "/dev/shm nosuid nodev noexec",
		"/etc/cni nosuid nodev noexec", "/etc/cri nosuid nodev noexec", "/etc/kubernetes nosuid nodev noexec",
		"/run nosuid nodev noexec", "/system nosuid nodev noexec", "/tmp nosuid nodev noexec",
	}
	if d := cmp.Diff(want, writable); d != "" {
		t.Errorf("writable mounts (-want +got):\n%s", d)
	}
	// What a start has to wait for must not touch the volumes: they come later.
	for _, c := range r.calls() {
		if strings.HasPrefix(c, "directory /var") || strings.HasPrefix(c, "directory /opt") {
			t.Errorf("the boot plan does %q, which belongs on EPHEMERAL", c)
		}
	}
	if err := m.Mount(mount.Call{Source: "/dev/vda6", Target: "/var", Type: "xfs"}); err != nil {
		t.Fatal(err)
	}
	if failed, err := Run(t.Context(), EphemeralPlan(), h, quiet); err != nil || len(failed) > 0 {
		t.Fatalf("Run(EphemeralPlan) = %v, %v", failed, err)
	}
}

func TestAMachineEndsWithItsDisksInOrder(t *testing.T) {
	f := machine(t)
	m := machineMounts(t, f)
	r := &recorder{}
	ends := &process.Recorder{}
	h := host(m, r)
	h.Machine, h.Devices = ends, &fakeDevices{recorder: r}
	if _, err := Run(t.Context(), plan(t, f), h, quiet); err != nil {
		t.Fatal(err)
	}
	if err := m.MakePoint("/system/state", false, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []mount.Call{
		{Source: "/dev/vda5", Target: "/system/state", Type: "xfs"}, {Source: "/dev/vda6", Target: "/var", Type: "xfs"},
		{Source: "/dev/vdb1", Target: "/run", Type: "xfs"},
	} {
		if err := m.Mount(c); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	wipe := Step{Name: "wipe", Do: Call{"wipe", nil}}
	wipe.Do = probe{func() {
		table, err := m.Table()
		if err != nil {
			t.Error(err)
		}
		for _, i := range table {
			if strings.HasPrefix(i.Source, "/dev/vda") {
				left = append(left, i.Point)
			}
		}
	}}
	failed, err := Run(t.Context(), stopPlan(t, f, Cause{Kind: Reset, Wipe: []Step{wipe}}), h, quiet)
	if len(failed) > 0 || err != nil {
		t.Fatalf("Run() = %v, %v", failed, err)
	}
	if len(left) > 0 {
		t.Errorf("when the disk is wiped, %v are mounted from it", left)
	}
	table, err := m.Table()
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := mount.Top(table, "/run"); got.Type != "xfs" || !got.HasOption("ro") && !got.HasSuperOption("ro") {
		t.Errorf("the disk that is kept busy is %+v; want it read-only", got)
	}
	log := ends.Log()
	if n := len(log); n == 0 || log[n-1] != "reboot (restart)" || log[n-2] != "sync" {
		t.Errorf("the end is %v; want a sync and a restart", log)
	}
}

// probe is an action of a test.
type probe struct{ f func() }

func (probe) String() string { return "look" }

func (p probe) run(_ context.Context, _ *Host, _ func(string)) error { p.f(); return nil }

func TestImageCachesAreShownReadOnly(t *testing.T) {
	const medium = "/run/medium/imagecache.img"
	cache, _ := version(1)
	for _, tc := range []struct {
		name, partition string
		files           map[string][]byte
		want            []string
	}{
		{"none", "", nil, nil},
		{"that of the disk", "/dev/vda5", nil, []string{"/dev/vda5 on " + ImageCacheDisk}},
		{"both", "/dev/vda5", map[string][]byte{medium: cache}, []string{"/dev/vda5 on " + ImageCacheDisk, "loop:" + medium + " on " + ImageCacheMedium}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := machine(t)
			m := machineMounts(t, f)
			r := &recorder{}
			h := host(m, r)
			h.Devices = &fakeDevices{recorder: r, drives: map[string]drive{"/dev/vda5": {content: cache}}, files: tc.files}
			if _, err := Run(t.Context(), plan(t, f), h, quiet); err != nil {
				t.Fatal(err)
			}
			if failed, err := Run(t.Context(), ImageCachePlan(tc.partition), h, quiet); err != nil || len(failed) > 0 {
				t.Fatalf("Run() = %v, %v", failed, err)
			}
			table, err := m.Table()
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, i := range table {
				if !strings.HasPrefix(i.Point, "/system/imagecache/") {
					continue
				}
				if !readOnly(i) || !i.HasOption("noexec") || i.Type != "squashfs" {
					t.Errorf("%s is %s with %v; want squashfs, read-only, noexec", i.Point, i.Type, i.Options)
				}
				got = append(got, i.Source+" on "+i.Point)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("mounts (-want +got):\n%s", d)
			}
		})
	}
}
