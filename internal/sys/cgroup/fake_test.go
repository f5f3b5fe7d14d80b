package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// files are those that the kernel puts into a new group, by the word in the name of the hierarchy.
var files = map[string][]string{
	"unified": {"cgroup.procs", "cgroup.controllers", "cgroup.subtree_control", "cgroup.kill", "memory.min", "memory.low", "memory.high", "memory.max",
		"memory.oom.group", "cpu.weight", "cpu.max", "pids.max"},
	"memory":      {"memory.limit_in_bytes", "memory.soft_limit_in_bytes"},
	"cpu,cpuacct": {"cpu.shares", "cpu.cfs_quota_us"},
	"pids":        {"pids.max"},
	"freezer":     {"freezer.state"},
}

// fake is a tree below a temporary root, with directories that behave as the kernel's: they come with files, and go with
// them unless they hold processes. What is written to a file stays there to be looked at.
func fake(t *testing.T, mountinfo string) *Tree {
	t.Helper()
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/thread-self/mountinfo"), mountinfo)
	for _, line := range strings.Split(strings.TrimSpace(mountinfo), "\n") {
		dir := filepath.Join(root, strings.Fields(line)[4])
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		fill(dir)
	}
	tree, err := Detect(root)
	if err != nil {
		t.Fatal(err)
	}
	tree.mkdir = func(dir string) error {
		if err := mkdir(dir); err != nil {
			return err
		}
		fill(dir)
		return nil
	}
	tree.rmdir = func(dir string) error {
		if b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")); len(b) > 0 {
			return syscall.EBUSY
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() {
				return syscall.EBUSY
			}
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
		return os.Remove(dir)
	}
	return tree
}

func fill(dir string) {
	for kind, names := range files {
		if !strings.Contains(dir, "/"+kind) {
			continue
		}
		for _, n := range append(names, "cgroup.procs", "tasks") {
			text := ""
			if n == "cgroup.controllers" {
				text = "cpu io memory pids\n"
			}
			_ = os.WriteFile(filepath.Join(dir, n), []byte(text), 0o644)
		}
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// tree returns what was written below the tree: "file text" for each file that is not empty.
func written(t *testing.T, tree *Tree) []string {
	t.Helper()
	base := filepath.Join(tree.root, "sys/fs/cgroup")
	var out []string
	err := filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "cgroup.controllers" {
			return err
		}
		b, err := os.ReadFile(p)
		if len(b) > 0 {
			out = append(out, strings.TrimPrefix(p, base+"/")+" "+strings.TrimSpace(string(b)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	mountsV2 = "30 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
	mountsV1 = `31 20 0:27 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 20 0:28 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 20 0:29 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 20 0:30 /docker/x /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 20 0:31 /docker/x /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
36 20 0:32 / /sys/fs/cgroup/unified2 rw - cgroup2 cgroup2 rw
`
)

func TestDetect(t *testing.T) {
	for _, tc := range []struct {
		name, mounts string
		version      Version
		controllers  []string
	}{
		{"v2 alone", mountsV2, V2, []string{"cpu", "io", "memory", "pids"}},
		{"v2 beside v1 controllers is v1", mountsV1, V1, []string{"cpu", "cpuacct", "freezer", "memory", "pids"}},
		{"v2 beside a v1 hierarchy without controllers is v2", mountsV2 + "9 8 0:2 / /s rw - cgroup cgroup rw,name=systemd\n", V2, []string{"cpu", "io", "memory", "pids"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := fake(t, tc.mounts)
			got, err := tree.Controllers()
			if tree.Version() != tc.version || !slices.Equal(got, tc.controllers) || err != nil {
				t.Errorf("v%d %v, %v; want v%d %v", tree.Version(), got, err, tc.version, tc.controllers)
			}
		})
	}
	root := t.TempDir()
	put(t, filepath.Join(root, "proc/thread-self/mountinfo"), "1 2 0:1 / / rw - t s o\n")
	if _, err := Detect(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Detect(without cgroups) = %v; want fs.ErrNotExist", err)
	}
}

// every is each limit, set.
var every = Limits{
	MemoryMin: new(int64(1 << 20)), MemoryLow: new(int64(2 << 20)), MemoryHigh: new(int64(3 << 20)), MemoryMax: new(Unlimited), MemorySwapMax: new(int64(0)),
	OOMGroup: new(true), CPUWeight: new(int64(50)), CPUQuota: new(150 * time.Millisecond), ProcessesMax: new(int64(9)),
}

func TestLimitsOfV2(t *testing.T) {
	tree := fake(t, mountsV2)
	g := tree.Group("system/apid")
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	ignored, err := g.SetLimits(every)
	if !slices.Equal(ignored, []string{"MemorySwapMax"}) || err != nil {
		t.Errorf("SetLimits() = %v, %v; want MemorySwapMax left out, whose file is not there", ignored, err)
	}
	if err := g.Add(42); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"unified/cgroup.subtree_control +cpu +io +memory +pids",
		"unified/system/apid/cgroup.procs 42",
		"unified/system/apid/cpu.max 150000 100000",
		"unified/system/apid/cpu.weight 50",
		"unified/system/apid/memory.high 3145728",
		"unified/system/apid/memory.low 2097152",
		"unified/system/apid/memory.max max",
		"unified/system/apid/memory.min 1048576",
		"unified/system/apid/memory.oom.group 1",
		"unified/system/apid/pids.max 9",
		"unified/system/cgroup.subtree_control +cpu +io +memory +pids",
	}
	if d := cmp.Diff(want, written(t, tree)); d != "" {
		t.Errorf("written (-want +got):\n%s", d)
	}
}

func TestLimitsOfV1(t *testing.T) {
	tree := fake(t, mountsV1)
	g := tree.Group("/system")
	if err := errors.Join(g.Create(), g.Create()); err != nil {
		t.Fatal(err)
	}
	ignored, err := g.SetLimits(every)
	if d := cmp.Diff([]string{"MemoryMin", "MemoryHigh", "MemorySwapMax", "OOMGroup"}, ignored); d != "" || err != nil {
		t.Errorf("SetLimits() error %v, left out (-want +got):\n%s", err, d)
	}
	if err := g.Add(42); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"cpu,cpuacct/system/cgroup.procs 42", "cpu,cpuacct/system/cpu.cfs_quota_us 150000", "cpu,cpuacct/system/cpu.shares 512",
		"freezer/system/cgroup.procs 42",
		"memory/system/cgroup.procs 42", "memory/system/memory.limit_in_bytes -1", "memory/system/memory.soft_limit_in_bytes 2097152",
		"pids/system/cgroup.procs 42", "pids/system/pids.max 9",
	}
	if d := cmp.Diff(want, written(t, tree)); d != "" {
		t.Errorf("written (-want +got):\n%s", d)
	}
}

func TestBadLimits(t *testing.T) {
	tree := fake(t, mountsV2)
	for _, w := range []int64{0, 10001} {
		if _, err := tree.Group("/").SetLimits(Limits{CPUWeight: &w}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("SetLimits(weight %d) = %v; want EINVAL", w, err)
		}
	}
	if _, err := tree.Group("/none").SetLimits(every); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("SetLimits(of no group) = %v; want fs.ErrNotExist", err)
	}
	if _, err := tree.Group("/none").Stats(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stats(of no group) = %v; want fs.ErrNotExist", err)
	}
}

func TestPathsStayInTheTree(t *testing.T) {
	tree := fake(t, mountsV2)
	for in, want := range map[string]string{"": "/", "/": "/", "a/b": "/a/b", "../../etc": "/etc", "/a/../../b/": "/b"} {
		if got := tree.Group(in).Path(); got != want {
			t.Errorf("Group(%q).Path() = %s; want %s", in, got, want)
		}
	}
	if err := tree.Group("/").Remove(); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("Remove(/) = %v; want EBUSY", err)
	}
}

func TestRemoveTakesTheGroupsBelow(t *testing.T) {
	for name, mounts := range map[string]string{"v1": mountsV1, "v2": mountsV2} {
		t.Run(name, func(t *testing.T) {
			tree := fake(t, mounts)
			g, below := tree.Group("/a"), tree.Group("/a/b/c")
			if err := below.Create(); err != nil {
				t.Fatal(err)
			}
			if err := below.Add(7); err != nil {
				t.Fatal(err)
			}
			if err := g.Remove(); !errors.Is(err, syscall.EBUSY) {
				t.Errorf("Remove(with a process below) = %v; want EBUSY", err)
			}
			if pids, err := g.Processes(); !slices.Equal(pids, []int{7}) || err != nil {
				t.Errorf("Processes() = %v, %v; want [7]", pids, err)
			}
			for _, dir := range below.all() {
				put(t, filepath.Join(dir, "cgroup.procs"), "")
			}
			if err := errors.Join(g.Remove(), g.Remove()); err != nil || g.Exists() {
				t.Errorf("Remove() = %v, exists %t", err, g.Exists())
			}
		})
	}
}

func TestKillOfV1FreezesSoThatNoForkEscapes(t *testing.T) {
	tree := fake(t, mountsV1)
	g := tree.Group("/a")
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(tree.dirs["freezer"], "a", "freezer.state")
	var log []string
	tree.kill = func(pid int, sig syscall.Signal) error {
		b, _ := os.ReadFile(state)
		log = append(log, fmt.Sprintf("%d %v %s", pid, sig, b))
		for _, dir := range g.all() {
			// 8 was forked by 7 between the first look and the freeze.
			text := map[int]string{7: "8\n", 8: ""}[pid]
			if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(text), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	if err := g.Add(7); err != nil {
		t.Fatal(err)
	}
	if err := g.Destroy(context.Background()); err != nil || g.Exists() {
		t.Errorf("Destroy() = %v, exists %t", err, g.Exists())
	}
	if d := cmp.Diff([]string{"7 killed FROZEN", "8 killed FROZEN"}, log); d != "" {
		t.Errorf("signals (-want +got):\n%s", d)
	}
}

func TestKillSparesItself(t *testing.T) {
	for name, mounts := range map[string]string{"v1": mountsV1, "v2": mountsV2} {
		g := fake(t, mounts).Group("/a")
		if err := errors.Join(g.Create(), g.Add(os.Getpid())); err != nil {
			t.Fatal(err)
		}
		g.t.kill = func(pid int, _ syscall.Signal) error {
			t.Errorf("%s: a signal to %d", name, pid)
			return nil
		}
		if err := g.Kill(t.Context()); !errors.Is(err, syscall.EBUSY) {
			t.Errorf("%s: Kill(own group) = %v; want EBUSY", name, err)
		}
	}
}

func TestKillSaysWhoIsLeft(t *testing.T) {
	tree := fake(t, mountsV2)
	g := tree.Group("/a")
	if err := errors.Join(g.Create(), g.Add(7)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("no more patience"))
	err := g.Kill(ctx)
	if err == nil || !strings.Contains(err.Error(), "[7] are left") || !strings.Contains(err.Error(), "no more patience") {
		t.Errorf("Kill() = %v; want the process and the cause", err)
	}
	if !slices.Contains(written(t, tree), "unified/a/cgroup.kill 1") {
		t.Errorf("cgroup.kill was not written: %v", written(t, tree))
	}
}

func TestEvacuate(t *testing.T) {
	tree := fake(t, mountsV2)
	root, to := tree.Group("/"), tree.Group("/init")
	if err := to.Create(); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(tree.dirs[""], "cgroup.procs"), "0\n1\n")
	if err := root.Evacuate(to); err != nil {
		t.Fatal(err)
	}
	if got := written(t, tree); !slices.Contains(got, "unified/init/cgroup.procs 1") {
		t.Errorf("written = %v; want process 1 in init, and not 0, which has no number here", got)
	}
}

func TestPrepare(t *testing.T) {
	g := fake(t, mountsV2).Group("/a")
	if _, _, err := g.Prepare(exec.Command("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Prepare(in no group) = %v; want fs.ErrNotExist", err)
	}
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("x")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	onThread, done, err := g.Prepare(cmd)
	if err != nil || onThread != nil || !cmd.SysProcAttr.UseCgroupFD || !cmd.SysProcAttr.Setsid {
		t.Fatalf("Prepare() = %v with %+v", err, cmd.SysProcAttr)
	}
	done()

	tree := fake(t, mountsV1)
	g = tree.Group("/a")
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	onThread, done, err = g.Prepare(exec.Command("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := onThread(); err != nil {
		t.Fatal(err)
	}
	if got := written(t, tree); len(got) != 4 || !slices.Contains(got, "memory/a/tasks 0") {
		t.Errorf("written = %v; want the thread in each of 4 hierarchies", got)
	}
}

func TestStatsOfV2(t *testing.T) {
	tree := fake(t, mountsV2)
	g := tree.Group("/a")
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	dir := g.all()[0]
	for name, text := range map[string]string{
		"memory.current": "1000\n", "memory.peak": "2000\n", "memory.stat": "anon 600\nfile 400\ninactive_file 300\n",
		"memory.events": "low 0\noom 2\noom_kill 3\n", "cpu.stat": "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\nthrottled_usec 7\n", "pids.current": "4\n",
	} {
		put(t, filepath.Join(dir, name), text)
	}
	got, err := g.Stats()
	want := Stats{1000, 2000, 600, 400, 300, 3, 5 * time.Millisecond, 3 * time.Millisecond, 2 * time.Millisecond, 7 * time.Microsecond, 4}
	if got != want || err != nil {
		t.Errorf("Stats() = %+v, %v; want %+v", got, err, want)
	}
	put(t, filepath.Join(dir, "memory.current"), "many\n")
	if _, err := g.Stats(); err == nil || !strings.Contains(err.Error(), "memory.current") {
		t.Errorf("Stats() = %v; want the file that is broken", err)
	}
}

func TestStatsOfV1(t *testing.T) {
	tree := fake(t, mountsV1)
	g := tree.Group("/a")
	if err := g.Create(); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{"memory/a/memory.stat": "memory.stat", "cpu,cpuacct/a/cpuacct.stat": "cpuacct.stat"} {
		b, err := os.ReadFile(filepath.Join("testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(tree.root, "sys/fs/cgroup", name), string(b))
	}
	for name, text := range map[string]string{
		"memory/a/memory.usage_in_bytes": "1000\n", "memory/a/memory.max_usage_in_bytes": "2000\n",
		"memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "cpu,cpuacct/a/cpuacct.usage": "5000000\n",
		"cpu,cpuacct/a/cpu.stat": "nr_periods 1\nnr_throttled 1\nthrottled_time 7000\n", "pids/a/pids.current": "4\n",
	} {
		put(t, filepath.Join(tree.root, "sys/fs/cgroup", name), text)
	}
	got, err := g.Stats()
	if err != nil || got.MemoryAnonymous == 0 || got.MemoryFile == 0 || got.MemoryInactiveFile == 0 || got.CPUUser < time.Second || got.CPUSystem < time.Second {
		t.Errorf("Stats() = %+v, %v; want numbers from the captured files", got, err)
	}
	got.MemoryAnonymous, got.MemoryFile, got.MemoryInactiveFile, got.CPUUser, got.CPUSystem = 0, 0, 0, 0, 0
	want := Stats{Memory: 1000, MemoryPeak: 2000, OOMKills: 3, CPU: 5 * time.Millisecond, Throttled: 7 * time.Microsecond, Processes: 4}
	if got != want {
		t.Errorf("Stats() = %+v; want %+v", got, want)
	}
}

func TestTheGroupOfAProcess(t *testing.T) {
	captured, err := os.ReadFile("testdata/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, mounts, cgroup, want string }{
		{"v1", mountsV1, string(captured), "/docker/0123abcd"},
		{"v2", mountsV2, "0::/system/apid (deleted)\n", "/system/apid"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := fake(t, tc.mounts)
			put(t, filepath.Join(tree.root, "proc", strconv.Itoa(7), "cgroup"), tc.cgroup)
			if got, err := tree.Of(7); got != tc.want || err != nil {
				t.Errorf("Of(7) = %s, %v; want %s", got, err, tc.want)
			}
			if _, err := tree.Of(8); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Of(no process) = %v; want fs.ErrNotExist", err)
			}
		})
	}
}

func FuzzParseMembership(f *testing.F) {
	captured, err := os.ReadFile("testdata/cgroup")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(captured))
	f.Add("0::/a (deleted)\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseMembership(strings.NewReader(text))
		if err != nil && list != nil {
			t.Errorf("ParseMembership() = %v and %v", list, err)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	captured, err := os.ReadFile("testdata/memory.stat")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(captured))
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseStat(strings.NewReader(text))
		if err == nil && len(m) > strings.Count(text, "\n")+1 {
			t.Errorf("ParseStat() = %d numbers of %q", len(m), text)
		}
	})
}

func TestVacateMakesRoomForGroupsBelow(t *testing.T) {
	pid := fmt.Sprint(os.Getpid())
	for _, tc := range []struct {
		name, mounts string
		container    bool // the root has a type, so it is none of a machine
		want         []string
	}{
		{"v2 of a machine", mountsV2, false, []string{
			"unified/cgroup.procs 42", "unified/cgroup.subtree_control +cpu +io +memory +pids", "unified/init/cgroup.procs " + pid}},
		// The kernel takes a process out of the one file when it is written to the other; files of a test do not, and keep the last.
		{"v2 of a container", mountsV2, true, []string{
			"unified/cgroup.procs 42", "unified/cgroup.subtree_control +cpu +io +memory +pids", "unified/cgroup.type domain", "unified/init/cgroup.procs 42"}},
		{"v1", mountsV1, true, []string{
			"cpu,cpuacct/init/cgroup.procs " + pid, "freezer/init/cgroup.procs " + pid, "memory/init/cgroup.procs " + pid, "pids/init/cgroup.procs " + pid}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := fake(t, tc.mounts)
			if tree.Version() == V2 {
				put(t, filepath.Join(tree.dirs[""], "cgroup.procs"), "42\n")
				if tc.container {
					put(t, filepath.Join(tree.dirs[""], "cgroup.type"), "domain\n")
				}
			}
			to, err := tree.Group("/").Vacate("init")
			if to.Path() != "/init" || err != nil {
				t.Errorf("Vacate() = %s, %v; want /init", to.Path(), err)
			}
			if d := cmp.Diff(tc.want, written(t, tree)); d != "" {
				t.Errorf("written (-want +got):\n%s", d)
			}
		})
	}
}

func TestTheLimitOfAllMemory(t *testing.T) {
	for _, tc := range []struct {
		name, mounts, file, text string
		want                     int64
		wrong                    string
	}{
		{"v2, a container", mountsV2, "memory.max", "2147483648\n", 2 << 30, ""},
		{"v2, a container without a limit", mountsV2, "memory.max", "max\n", Unlimited, ""},
		{"v2, a machine", mountsV2, "", "", Unlimited, ""},
		{"v2, nonsense", mountsV2, "memory.max", "much\n", Unlimited, "much"},
		{"v1, a container", mountsV1, "memory/memory.stat", "cache 1\nhierarchical_memory_limit 1073741824\n", 1 << 30, ""},
		{"v1, a machine", mountsV1, "memory/memory.stat", "cache 1\nhierarchical_memory_limit 9223372036854771712\n", Unlimited, ""},
		{"v1, nonsense", mountsV1, "memory/memory.stat", "cache\thierarchical much\nx y\n", Unlimited, "memory.stat"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tree := fake(t, tc.mounts)
			if dir := tree.dirs[""]; tree.Version() == V2 {
				if err := os.Remove(filepath.Join(dir, "memory.max")); err != nil {
					t.Fatal(err)
				}
				if tc.file != "" {
					put(t, filepath.Join(dir, tc.file), tc.text)
				}
			} else {
				put(t, filepath.Join(tree.root, "sys/fs/cgroup", tc.file), tc.text)
			}
			got, err := tree.MemoryLimit()
			if got != tc.want || (err == nil) != (tc.wrong == "") || err != nil && !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("MemoryLimit = %d, %v; want %d, %q", got, err, tc.want, tc.wrong)
			}
		})
	}
}
