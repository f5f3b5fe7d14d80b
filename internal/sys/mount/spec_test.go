package mount

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"talos.internal/internal/sys/proc"
)

func steps(s []Step) []string {
	var out []string
	for _, x := range s {
		out = append(out, x.String())
	}
	return out
}

func TestPlan(t *testing.T) {
	const table = `20 1 0:30 / / rw,relatime - overlay overlay rw
21 20 0:31 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
22 20 0:32 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs rw
23 22 0:33 /docker/x /sys/fs/cgroup/memory ro,nosuid,nodev,noexec shared:3 master:1 - cgroup cgroup rw,memory
24 20 0:34 / /dev rw,nosuid - tmpfs tmpfs rw,size=64k
25 20 0:35 / /run ro - tmpfs tmpfs ro
26 20 8:1 /data/x /var rw - ext4 /dev/sda1 rw
27 20 8:1 / /disk rw - ext4 /dev/sda1 rw
`
	mounts, err := proc.ParseMountInfo(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		spec Spec
		want []string
	}{
		{"what is there is left", Spec{Target: "/proc", Type: "proc", Flags: NoSuid | NoDev | NoExec}, nil},
		{"what is missing is mounted", Spec{Target: "/tmp", Type: "tmpfs", Flags: NoSuid | NoDev, Data: "size=64m"}, []string{
			"make mount point /tmp", "mount tmpfs on /tmp (nosuid,nodev,size=64m): nothing is mounted there"}},
		{"another type is mounted over", Spec{Target: "/dev", Type: "devtmpfs", Flags: NoSuid}, []string{
			"make mount point /dev", "mount devtmpfs on /dev (nosuid): there is tmpfs"}},
		{"a read-only mount becomes writable by itself", Spec{Target: "/sys", Type: "sysfs", Flags: NoSuid | NoDev | NoExec}, []string{
			`remount /sys (bind,nosuid,nodev,noexec): it has "ro,nosuid,nodev,noexec"`}},
		{"a cgroup too, without its type", Spec{Target: "/sys/fs/cgroup/memory", Flags: NoSuid | NoDev | NoExec}, []string{
			`remount /sys/fs/cgroup/memory (bind,nosuid,nodev,noexec): it has "ro,nosuid,nodev,noexec"`}},
		{"a read-only file system is remounted itself", Spec{Target: "/run", Type: "tmpfs", Flags: NoSuid}, []string{
			"remount /run (nosuid): the file system is read-only"}},
		{"the root becomes read-only and shared", Spec{Target: "/", Flags: ReadOnly, Propagation: Shared | Rec}, []string{
			`remount / (bind,ro): it has ""`, "propagate / (rec,shared): propagation differs"}},
		{"propagation alone leaves the flags", Spec{Target: "/sys", Propagation: Shared}, []string{
			"propagate /sys (shared): propagation differs"}},
		{"no flags and no propagation take the flags off", Spec{Target: "/sys"}, []string{
			`remount /sys (bind): it has "ro,nosuid,nodev,noexec"`}},
		{"a slave becomes private", Spec{Target: "/sys/fs/cgroup/memory", Flags: ReadOnly | NoSuid | NoDev | NoExec, Propagation: Private}, []string{
			"propagate /sys/fs/cgroup/memory (private): propagation differs"}},
		{"shared stays shared", Spec{Target: "/sys/fs/cgroup/memory", Flags: ReadOnly | NoSuid | NoDev | NoExec, Propagation: Shared}, nil},
		{"recursion looks below", Spec{Target: "/sys", Flags: ReadOnly | NoSuid | NoDev | NoExec, Propagation: Private | Rec}, []string{
			"propagate /sys (rec,private): propagation differs"}},
		{"a bind mount that is there", Spec{Source: "/disk/data/x", Target: "/var", Flags: Bind}, nil},
		{"a bind mount of something else", Spec{Source: "/disk/data/y", Target: "/var", Flags: Bind | Rec | NoDev}, []string{
			"make mount point /var", "bind /disk/data/y on /var (rec): there is ext4", "remount /var (bind,nodev): a new bind mount takes no flags"}},
		{"a directory onto itself", Spec{Source: "/opt", Target: "/opt", Flags: Bind}, []string{
			"make mount point /opt", "bind /opt on /opt: nothing is mounted there"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := Plan(tc.spec, mounts)
			if d := cmp.Diff(tc.want, steps(got)); d != "" || err != nil {
				t.Errorf("Plan() error %v (-want +got):\n%s", err, d)
			}
		})
	}
	for _, tc := range []struct {
		name string
		spec Spec
		is   error
	}{
		{"nothing to change", Spec{Target: "/nothing", Flags: ReadOnly}, fs.ErrNotExist},
		{"relative target", Spec{Target: "run", Type: "tmpfs"}, syscall.EINVAL},
		{"target that is not clean", Spec{Target: "/run/", Type: "tmpfs"}, syscall.EINVAL},
		{"relative source", Spec{Source: "x", Target: "/run", Flags: Bind}, syscall.EINVAL},
		{"bind with a type", Spec{Source: "/x", Target: "/run", Type: "tmpfs", Flags: Bind}, syscall.EINVAL},
		{"a verb as a flag", Spec{Target: "/run", Type: "tmpfs", Flags: Remount}, syscall.EINVAL},
	} {
		if _, err := Plan(tc.spec, mounts); !errors.Is(err, tc.is) {
			t.Errorf("%s: Plan() = %v; want %v", tc.name, err, tc.is)
		}
	}
}

// node are the mounts of a node in a container, in short.
var node = []Spec{
	{Target: "/", Propagation: Shared | Rec},
	{Target: "/proc", Type: "proc", Flags: NoSuid | NoDev | NoExec},
	{Target: "/dev", Type: "tmpfs", Flags: NoSuid, Data: "mode=755"},
	{Target: "/dev/shm", Type: "tmpfs", Flags: NoSuid | NoDev},
	{Target: "/run", Type: "tmpfs", Flags: NoSuid | NoDev, Data: "mode=755"},
	{Target: "/system", Type: "tmpfs", Flags: NoSuid | NoDev},
	{Source: "/run", Target: "/var/run", Flags: Bind | Rec | NoExec},
	{Target: "/tmp", Type: "tmpfs", Flags: NoSuid | NoDev, Data: "size=1m"},
	{Target: "/", Flags: ReadOnly, Propagation: Shared | Rec},
}

func TestEnsureTwiceDoesNothing(t *testing.T) {
	for name, make := range map[string]func(*testing.T, ...string) Verbs{
		"Kernel": kernel,
		"Memory": func(_ *testing.T, dirs ...string) Verbs { return NewMemory(dirs...) },
	} {
		t.Run(name, func(t *testing.T) {
			v := make(t, "/var")
			done, err := Ensure(v, node...)
			if err != nil {
				t.Fatal(err)
			}
			if len(done) < len(node) {
				t.Errorf("Ensure() took %d steps: %q", len(done), steps(done))
			}
			want := []string{
				"/ root ro shared", "/dev tmpfs nosuid shared", "/dev/shm tmpfs nosuid,nodev shared",
				"/proc proc nosuid,nodev,noexec shared", "/run tmpfs nosuid,nodev shared", "/system tmpfs nosuid,nodev shared",
				"/tmp tmpfs nosuid,nodev shared", "/var/run tmpfs noexec shared",
			}
			if d := cmp.Diff(want, picture(t, v)); d != "" {
				t.Errorf("mounts (-want +got):\n%s", d)
			}
			if done, err = Ensure(v, node...); len(done) != 0 || err != nil {
				t.Errorf("Ensure() again = %q, %v; want nothing to do", steps(done), err)
			}
			gone, err := UnmountBelow(v, "/dev", 0)
			if d := cmp.Diff([]string{"/dev/shm", "/dev"}, gone); d != "" || err != nil {
				t.Errorf("UnmountBelow(/dev) error %v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestEnsureGoesOnWhereItFailed(t *testing.T) {
	whole := NewMemory("/var")
	if _, err := Ensure(whole, node...); err != nil {
		t.Fatal(err)
	}
	want := picture(t, whole)
	for n := 1; n <= len(whole.Log()); n++ {
		m := NewMemory("/var")
		m.FailAt = n
		done, err := Ensure(m, node...)
		if !errors.Is(err, syscall.EIO) || len(done) != n-1 {
			t.Fatalf("failing at %d: Ensure() = %d steps, %v", n, len(done), err)
		}
		if _, err := Ensure(m, node...); err != nil {
			t.Fatalf("after failing at %d: %v", n, err)
		}
		if d := cmp.Diff(want, picture(t, m)); d != "" {
			t.Errorf("after failing at %d (-want +got):\n%s", n, d)
		}
	}
}

func TestUnmountBelowGoesOnAfterWhatIsBusy(t *testing.T) {
	m := NewMemory("/a", "/b")
	m.Open = []string{"/a"}
	for _, p := range []string{"/a", "/b"} {
		if err := m.Mount(Call{Target: p, Type: "tmpfs"}); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := UnmountBelow(m, "/", 0)
	if d := cmp.Diff([]string{"/b"}, gone); d != "" || !errors.Is(err, syscall.EINVAL) && !errors.Is(err, ErrBusy) {
		t.Errorf("UnmountBelow(/) = %v (-want +got):\n%s", err, d)
	}
}

func TestTheTopmostMountIsToldByItsParentAndNotByTheOrder(t *testing.T) {
	table := []proc.MountInfo{
		{ID: 9, Parent: 5, Point: "/a", Type: "upper"}, {ID: 1, Parent: 0, Point: "/", Type: "root"}, {ID: 5, Parent: 1, Point: "/a", Type: "lower"},
		{ID: 3, Parent: 9, Point: "/a/b", Type: "child"}, {ID: 4, Parent: 1, Point: "/ab", Type: "other"},
		{ID: 7, Parent: 9, Point: "/a/c", Type: "later child"},
	}
	if m, ok := Top(table, "/a"); !ok || m.Type != "upper" {
		t.Errorf("Top(/a) = %+v, %v; want the upper", m, ok)
	}
	if _, ok := Top(table, "/b"); ok {
		t.Errorf("Top(/b) found a mount")
	}
	if d := cmp.Diff([]string{"/a/c", "/a/b", "/a", "/a"}, Below(table, "/a")); d != "" {
		t.Errorf("Below(/a) (-want +got):\n%s", d)
	}
}

func TestOptions(t *testing.T) {
	for _, tc := range []struct {
		in    string
		flags Flags
		data  string
	}{
		{"", 0, ""}, {"defaults", 0, ""}, {"ro,nosuid,nodev,noexec", ReadOnly | NoSuid | NoDev | NoExec, ""},
		{"ro,rw,size=64m,mode=0755", 0, "size=64m,mode=0755"}, {"noatime,prjquota,lazytime", NoAtime | LazyTime, "prjquota"},
		{"bind,shared", 0, "bind,shared"},
	} {
		if f, data := ParseOptions(strings.Split(tc.in, ",")); f != tc.flags || data != tc.data {
			t.Errorf("ParseOptions(%s) = %v, %q; want %v, %q", tc.in, f, data, tc.flags, tc.data)
		}
	}
	if got := (Shared | Rec | Flags(unix.MS_NOEXEC)).String(); got != "rec,shared,noexec" {
		t.Errorf("String() = %q", got)
	}
}
