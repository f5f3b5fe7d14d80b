package kmod

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/proc"
)

func open(t testing.TB, files map[string]string) *Index {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	x, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// distribution has the knots of a real one: soft dependencies by alias, in a circle, and built-in modules.
var distribution = map[string]string{
	"modules.dep": `kernel/fs/xfs/xfs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/drivers/virtio/virtio_ring.ko.xz kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio_ring.ko.xz: kernel/drivers/virtio/virtio.ko.xz
kernel/drivers/virtio/virtio.ko.xz:
kernel/a.ko:
kernel/b.ko:
`,
	"modules.softdep": "# Soft dependencies extracted from modules themselves.\nsoftdep libcrc32c pre: crc32c\nsoftdep a pre: b post: xfs\nsoftdep b pre: a\nsoftdep cifs gcm\n",
	"modules.alias": `# Aliases extracted from modules themselves.
alias crc32c crc32c_generic
alias crc32c crc32c_intel
alias fs-xfs xfs
alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci
alias acpi*:VMBUS:* virtio
alias odd a b c
`,
	"modules.builtin": "kernel/fs/ext4/ext4.ko\n",
}

func names(steps []Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.Name)
	}
	return out
}

func TestAPlanHasWhatIsNeededFirst(t *testing.T) {
	x := open(t, distribution)
	for _, tc := range []struct {
		name  string
		o     Options
		ask   []string
		want  []string
		wrong error
	}{
		{"a soft dependency by its alias", Options{}, []string{"xfs"}, []string{"crc32c_generic", "crc32c_intel", "libcrc32c", "xfs"}, nil},
		{"an alias", Options{}, []string{"fs-xfs"}, []string{"crc32c_generic", "crc32c_intel", "libcrc32c", "xfs"}, nil},
		{"the farthest first", Options{}, []string{"virtio-pci"}, []string{"virtio", "virtio_ring", "virtio_pci"}, nil},
		{"not what is loaded", Options{Loaded: []string{"libcrc32c", "virtio"}}, []string{"xfs", "virtio_pci"}, []string{"xfs", "virtio_ring", "virtio_pci"}, nil},
		{"what is built in", Options{}, []string{"ext4"}, nil, nil},
		{"each once", Options{}, []string{"virtio", "virtio", "virtio_pci"}, []string{"virtio", "virtio_ring", "virtio_pci"}, nil},
		{"a circle", Options{}, []string{"a"}, []string{"b", "a", "crc32c_generic", "crc32c_intel", "libcrc32c", "xfs"}, nil},
		{"none of the name", Options{}, []string{"nothing", "virtio"}, []string{"virtio"}, ErrNoModule},
		{"denied for aliases", Options{Deny: []string{"crc32c-intel"}}, []string{"xfs"}, []string{"crc32c_generic", "libcrc32c", "xfs"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := x.Plan(tc.o, tc.ask...)
			if d := cmp.Diff(tc.want, names(got)); d != "" || !errors.Is(err, tc.wrong) {
				t.Errorf("Plan(%v) (-want +got):\n%s, %v; want %v", tc.ask, d, err, tc.wrong)
			}
		})
	}
	got, err := x.Plan(Options{Args: map[string]string{"xfs": "x=1"}}, "xfs")
	if err != nil {
		t.Fatal(err)
	}
	want := Step{Name: "xfs", File: x.dir + "/kernel/fs/xfs/xfs.ko.xz", Args: "x=1", Hard: []string{"libcrc32c"}}
	if d := cmp.Diff(want, got[3]); d != "" {
		t.Errorf("the step for xfs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"crc32c_generic", "crc32c_intel"}, got[2].Soft); d != "" {
		t.Errorf("what libcrc32c comes after (-want +got):\n%s", d)
	}
	devices, err := x.PlanAliases(Options{}, "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", "pci:v00008086d0bc0sc0i0", "", "acpi:X:")
	if d := cmp.Diff([]string{"virtio", "virtio_ring", "virtio_pci"}, names(devices)); d != "" || err != nil {
		t.Errorf("PlanAliases() (-want +got):\n%s, %v", d, err)
	}
	// The patterns of ACPI have a wildcard before their colon.
	if got, err := x.PlanAliases(Options{}, "acpi:VMBUS:"); err != nil || len(got) != 1 || got[0].Name != "virtio" {
		t.Errorf("PlanAliases(acpi:VMBUS:) = %v, %v; want virtio", names(got), err)
	}
	if denied, err := x.PlanAliases(Options{Deny: []string{"virtio_pci"}}, "pci:v00001AF4d1sv0sd0bc01sc00i00"); len(denied) != 0 || err != nil {
		t.Errorf("PlanAliases(denied) = %v, %v; want nothing", names(denied), err)
	}
	if d := cmp.Diff([]string{"ext4"}, x.Builtin()); d != "" {
		t.Errorf("Builtin() (-want +got):\n%s", d)
	}
	if !x.Has("ext4") || !x.Has("crc32c-intel") || x.Has("nothing") {
		t.Error("Has is wrong about ext4, crc32c-intel or nothing")
	}
}

func TestAnIndexThatIsWrongIsRefused(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no modules.dep":     {},
		"no file of it":      {"modules.dep": "kernel/a.ko\n"},
		"out of the way":     {"modules.dep": "../../a.ko:\n"},
		"no soft dependency": {"modules.dep": "a.ko:\n", "modules.softdep": "options a b=1\n"},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir); err == nil {
			t.Errorf("%s: Open() = nil; want an error", name)
		}
	}
}

func TestPatternsMatchAsFnmatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, alias string
		want           bool
	}{
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", true},
		{"pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00008086d00001001sv00001AF4sd00000002bc01sc00i00", false},
		{"usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*", "usb:v0951p1666d0110dc00dsc00dp00ic08isc06ip50in00", true},
		{"of:N*T*Ca,b", "of:Nx/yTzCa,b", true},
		{"input:b*v*p*e*-e*1,*k*", "input:b0011v0001p0001eAB41_e0,1,4,k71", true},
		{"dmi*:svn[A-C]?:", "dmi:svnBx:", true},
		{"dmi*:svn[!A-C]x:", "dmi:svnBx:", false},
		{"a[]x]b", "a]b", true},
		{"a[b", "a[b", false},
		{"fs-xfs", "fs_xfs", true},
		{"*", "", true},
		{"", "a", false},
		{"**a", "bba", true},
	} {
		if got := match(tc.pattern, tc.alias); got != tc.want {
			t.Errorf("match(%q, %q) = %t; want %t", tc.pattern, tc.alias, got, tc.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a*[b-c]?", "xabcd")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 200 || len(s) > 200 {
			return
		}
		if got := match(pattern, s); got && !match("*"+pattern, s) {
			t.Errorf("%q matches %q, and not with a star before it", pattern, s)
		}
		if !strings.ContainsAny(s, "*?[-") && !match(s, s) {
			t.Errorf("%q does not match itself", s)
		}
	})
}

func FuzzIndex(f *testing.F) {
	for _, text := range distribution {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := &Index{modules: map[string]module{}, soft: map[string]softdep{}, builtin: map[string]bool{}}
		_ = eachLine(strings.NewReader(text), x.dep)
		_ = eachLine(strings.NewReader(text), x.softdep)
		for name := range x.modules {
			steps, err := x.Plan(Options{}, name)
			if err != nil || !slices.Contains(names(steps), name) {
				t.Errorf("Plan(%s) = %v, %v", name, names(steps), err)
			}
		}
	})
}

// loader records what is loaded, and in which order.
type loader struct {
	mu    sync.Mutex
	took  map[string]time.Duration
	fail  map[string]error
	order []string
	most  int
	now   int
}

func (l *loader) Load(file, _ string) error {
	name := nameOf(file)
	l.mu.Lock()
	l.now++
	l.most = max(l.most, l.now)
	l.mu.Unlock()
	time.Sleep(l.took[name])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	l.order = append(l.order, name)
	return l.fail[name]
}

func TestModulesAreLoadedSideBySideInTheirOrder(t *testing.T) {
	x := open(t, distribution)
	plan, err := x.Plan(Options{}, "xfs", "virtio_pci", "a")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := &loader{took: map[string]time.Duration{"libcrc32c": time.Second, "virtio": time.Second, "crc32c_generic": time.Second}}
		if err := Err(Load(t.Context(), l, plan)); err != nil {
			t.Fatal(err)
		}
		at := func(name string) int { return slices.Index(l.order, name) }
		if len(l.order) != len(plan) || at("xfs") < at("libcrc32c") || at("libcrc32c") < at("crc32c_generic") || at("virtio_pci") < at("virtio_ring") {
			t.Errorf("order %v", l.order)
		}
		if l.most < 2 {
			t.Errorf("%d at once; want more than one", l.most)
		}

		boom := errors.New("boom")
		l = &loader{fail: map[string]error{"virtio": boom, "crc32c_intel": boom}}
		results := Load(t.Context(), l, plan)
		var failed []string
		for _, r := range results {
			if r.Err != nil {
				failed = append(failed, r.Err.Error())
			}
		}
		want := []string{
			"load kernel module crc32c_intel: boom", "load kernel module virtio: boom",
			"load kernel module virtio_ring: it needs virtio, which is not loaded",
			"load kernel module virtio_pci: it needs virtio, which is not loaded",
		}
		if d := cmp.Diff(want, failed); d != "" {
			t.Errorf("errors (-want +got):\n%s", d)
		}

		slow := &loader{took: map[string]time.Duration{"virtio": time.Hour}}
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("no time left"))
		defer cancel()
		begin := time.Now()
		err := Err(Load(ctx, slow, plan))
		if err == nil || !strings.Contains(err.Error(), "virtio: it is not done: no time left") || time.Since(begin) > time.Minute {
			t.Errorf("Load(a module that hangs) = %v after %v", err, time.Since(begin))
		}
		time.Sleep(2 * time.Hour) // the kernel is done with it at last
	})
}

func TestSettingsComeFromTheCommandLine(t *testing.T) {
	params, err := proc.ParseCmdline(strings.NewReader("quiet talos.platform=metal nvme-core.io_timeout=60 nvme_core.x modprobe.blacklist=a-b,c module_blacklist=d .x= y.="))
	if err != nil {
		t.Fatal(err)
	}
	want := Options{Args: map[string]string{"nvme_core": "io_timeout=60 x"}, Deny: []string{"a_b", "c", "d"}}
	if d := cmp.Diff(want, Settings(params)); d != "" {
		t.Errorf("Settings() (-want +got):\n%s", d)
	}
}
