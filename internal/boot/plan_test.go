package boot

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"talos.internal/internal/golden"
	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/mount"
)

var containers = []string{"docker-v1", "runc-v1", "runc-v2"}

func samePlan(t *testing.T, name string, steps []Step) {
	t.Helper()
	var b strings.Builder
	for _, s := range steps {
		b.WriteString(s.String() + "\n")
	}
	golden.Check(t, name+".golden", b.String())
}

func plan(t *testing.T, f Facts) []Step {
	t.Helper()
	steps, err := Plan(f)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestPlansOfContainers(t *testing.T) {
	for _, name := range containers {
		samePlan(t, name, plan(t, captured(t, name)))
	}
}

func TestAPlanTellsNoSecret(t *testing.T) {
	for _, s := range plan(t, captured(t, "docker-v1")) {
		if strings.Contains(s.String(), "c2VjcmV0") {
			t.Errorf("step %s has the machine config", s)
		}
	}
}

// TestNothingIsMountedBelowATargetBeforeTheTarget: what is mounted or made below a point is hidden by a mount that comes
// there later. That goes for the mounts of the container runtime, too.
func TestNothingIsMountedBelowATargetBeforeTheTarget(t *testing.T) {
	for _, name := range containers {
		f := captured(t, name)
		var points []string
		for _, m := range f.Mounts {
			points = append(points, m.Point)
		}
		for _, s := range plan(t, f) {
			var at string
			switch do := s.Do.(type) {
			case Mount:
				if do.Type == "" && do.Flags&mount.Bind == 0 {
					continue
				}
				at = do.Target
				for _, p := range points {
					if strings.HasPrefix(p, at+"/") && do.Flags&mount.Rec == 0 {
						t.Errorf("%s: %s hides %s", name, s, p)
					}
				}
			case Dir:
				at = do.Path
			case Link:
				at = do.Path
			case Nodes:
				at = do[0].Path
			default:
				continue
			}
			points = append(points, at)
		}
	}
}

func TestEachStepIsDescribedAndTheRootIsClosedLast(t *testing.T) {
	for _, name := range containers {
		steps := plan(t, captured(t, name))
		for i, s := range steps {
			if s.Name == "" || strings.Contains(s.String(), "\n") {
				t.Errorf("%s: step %d has no description of one line: %q", name, i, s)
			}
			if m, ok := s.Do.(Mount); ok && m.Target == "/" && m.Flags&mount.ReadOnly != 0 && i != len(steps)-1 {
				t.Errorf("%s: the root is closed before %s", name, steps[i+1])
			}
		}
	}
}

// TestAPlanLeavesItsMountsAndIsDoneOnce: after the plan a new one has nothing left to mount, whatever failed on the way the first
// time.
func TestAPlanLeavesItsMountsAndIsDoneOnce(t *testing.T) {
	for _, name := range containers {
		f := captured(t, name)
		ids := map[string]bool{}
		m := memory(t, f)
		begin := len(m.Log())
		if _, err := Run(t.Context(), plan(t, f), host(m, &recorder{}), quiet); err != nil {
			t.Fatal(err)
		}
		verbs := len(m.Log()) - begin
		table, err := m.Table()
		if err != nil {
			t.Fatal(err)
		}
		again := f
		again.Mounts = table
		for _, s := range withoutGroups(t, again) {
			if _, ok := s.Do.(Mount); ok {
				t.Errorf("%s: the second plan has %s", name, s)
			}
		}
		for _, point := range []string{"/run", "/system", "/var", "/opt", "/dev/shm", "/etc/cni", "/etc/cri", "/etc/kubernetes"} {
			if top, ok := mount.Top(table, point); !ok && point != "/system" || ok && readOnly(top) {
				t.Errorf("%s: %s is %+v; want a writable mount", name, point, top)
			}
		}

		for n := 1; n <= verbs; n++ {
			m := memory(t, f)
			m.FailAt = begin + n
			failed, err := Run(t.Context(), plan(t, f), host(m, &recorder{}), quiet)
			var step *StepError
			if len(failed) == 0 && !errors.As(err, &step) {
				t.Errorf("%s: verb %d failed and Run() = %v, %v", name, n, failed, err)
			}
			if step != nil {
				ids[step.Step.Name] = true
			}
			m.FailAt = 0
			if _, err := Run(t.Context(), plan(t, f), host(m, &recorder{}), quiet); err != nil {
				t.Errorf("%s: after a failure of verb %d the second run ends with %v", name, n, err)
			}
		}
		if len(ids) < 2 {
			t.Errorf("%s: only steps %v can end the boot", name, ids)
		}
	}
}

// withoutGroups plans from mounts in memory, which do not know which part of a hierarchy they show.
func withoutGroups(t *testing.T, f Facts) []Step {
	t.Helper()
	f.Groups = nil
	f.Mounts = slices.Clone(f.Mounts)
	for i := range f.Mounts {
		if f.Mounts[i].Type == "cgroup" {
			f.Mounts[i].SuperOptions = append(f.Mounts[i].SuperOptions, "memory")
		}
	}
	return plan(t, f)
}

func TestEachOtherFailureIsAnErrorOrSaidToMatterLittle(t *testing.T) {
	f := captured(t, "docker-v1")
	f.PID1 = false
	var all recorder
	if _, err := Run(t.Context(), plan(t, f), host(memory(t, f), &all), quiet); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(all.calls()); n++ {
		r := &recorder{failAt: n}
		failed, err := Run(t.Context(), plan(t, f), host(memory(t, f), r), quiet)
		tolerated := strings.HasPrefix(all.calls()[n-1], "limits of ")
		if (err == nil && len(failed) == 0) != tolerated {
			t.Errorf("%s failed and Run() = %v, %v", all.calls()[n-1], failed, err)
		}
	}
}

func TestWhatIsThereAlreadyDecides(t *testing.T) {
	line := func(point, kind, options string) string {
		return "999 64 0:99 / " + point + " " + options + " - " + kind + " x rw\n"
	}
	for _, tc := range []struct {
		name    string
		without string // points that are not mounted
		with    string
		has     []string
		hasNot  []string
	}{
		{"a devtmpfs is the host's", "/dev /dev/pts /dev/shm /dev/mqueue", line("/dev", "devtmpfs", "rw"),
			[]string{"mount tmpfs on /dev (", "mount devpts on /dev/pts", "mount tmpfs on /dev/shm", "mount mqueue on /dev/mqueue"}, nil},
		{"a private /dev is filled up", "", "", []string{"make /dev/null"}, []string{"mount tmpfs on /dev ", "mount devpts"}},
		{"a writable sysfs is left", "/sys", line("/sys", "sysfs", "rw"), nil, []string{"change /sys ("}},
		{"volumes in /run are not hidden", "", line("/run/secrets", "tmpfs", "rw"), nil, []string{"on /run "}},
		{"a volume in /system is not hidden", "", line("/system/state", "ext4", "rw"), []string{"on /system/run (", "on /system/etc ("}, []string{"on /system ("}},
		{"a volume at /tmp is kept", "", line("/tmp", "ext4", "rw"), nil, []string{"on /tmp"}},
		{"a read-only volume becomes writable", "", line("/var", "ext4", "ro,nosuid"), []string{"change /var (nosuid)"}, []string{"bind /var"}},
		{"without a volume the root's directory serves", "", "", []string{"bind /var on /var", "bind /opt on /opt"}, nil},
		{"without a volume and with a closed root it is memory", "/", strings.Replace(line("/", "ext4", "ro"), "999 64", "64 42", 1),
			[]string{"mount tmpfs on /var", "mount tmpfs on /opt"}, []string{"change / (ro"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := captured(t, "runc-v1")
			var text strings.Builder
			b, err := os.ReadFile("testdata/runc-v1.mountinfo")
			if err != nil {
				t.Fatal(err)
			}
			for l := range strings.Lines(string(b)) {
				if !slices.Contains(strings.Fields(tc.without), strings.Fields(l)[4]) {
					text.WriteString(l)
				}
			}
			f.Mounts = table(t, text.String()+tc.with)
			var got strings.Builder
			for _, s := range plan(t, f) {
				got.WriteString(s.String() + "\n")
			}
			for _, w := range tc.has {
				if !strings.Contains(got.String(), w) {
					t.Errorf("the plan has no %q:\n%s", w, &got)
				}
			}
			for _, w := range tc.hasNot {
				if strings.Contains(got.String(), w) {
					t.Errorf("the plan has %q:\n%s", w, &got)
				}
			}
		})
	}
}

func TestTheGroupsOfTheHostAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, mounts, groups, want string
	}{
		{"none", "64 42 0:1 / / rw - tmpfs t rw\n", "0::/\n", "no cgroups are mounted"},
		{"v2 of the host", "64 42 0:1 / / rw - tmpfs t rw\n70 64 0:2 / /sys/fs/cgroup rw - cgroup2 c rw\n", "0::/docker/x\n", "--cgroupns=private"},
		{"v1 of the host", "64 42 0:1 / / rw - tmpfs t rw\n70 64 0:2 / /sys/fs/cgroup/memory rw - cgroup c rw,memory\n", "4:memory:/docker/x\n0::/\n", "--cgroupns=private"},
	} {
		f := Facts{Mode: Container, Mounts: table(t, tc.mounts)}
		var err error
		if f.Groups, err = cgroup.ParseMembership(strings.NewReader(tc.groups)); err != nil {
			t.Fatal(err)
		}
		if steps, err := Plan(f); steps != nil || err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: Plan() = %v, %v; want an error with %q", tc.name, steps, err, tc.want)
		}
	}
	if _, err := Plan(Facts{Mode: "cloud"}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Plan(cloud) = %v; want ErrUnsupported", err)
	}
	if _, err := Plan(Facts{Mode: Container}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Plan(nothing mounted) = %v; want fs.ErrNotExist", err)
	}
}

func TestEtcMount(t *testing.T) {
	m, err := EtcMount("cri/conf.d/cri.toml")
	if m.Source != "/system/etc/cri/conf.d/cri.toml" || m.Target != "/etc/cri/conf.d/cri.toml" || !m.File || err != nil {
		t.Errorf("EtcMount() = %+v, %v", m, err)
	}
	for _, bad := range []string{"", ".", "/hosts", "../hosts", "a/../b", "a//b", "a/"} {
		if _, err := EtcMount(bad); err == nil {
			t.Errorf("EtcMount(%q) = nil; want an error", bad)
		}
	}
}

func TestGroupsComeAfterTheirParentsWithEnoughForAll(t *testing.T) {
	sum, seen := map[string]int64{}, map[string]*int64{}
	for _, g := range groupTable {
		parent := filepath.Dir(g.path)
		if _, ok := seen[parent]; parent != "." && !ok {
			t.Errorf("%s comes before %s", g.path, parent)
		}
		seen[g.path] = g.limits.MemoryMin
		if g.limits.MemoryMin != nil {
			sum[parent] += *g.limits.MemoryMin
		}
	}
	for parent, n := range sum {
		if parent != "." && (seen[parent] == nil || *seen[parent] < n) {
			t.Errorf("%s is guaranteed less than the %d MiB of the groups in it", parent, n>>20)
		}
	}
}
