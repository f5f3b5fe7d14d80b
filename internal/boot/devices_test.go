package boot

import (
	"errors"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/kmod"
	"talos.internal/internal/sys/proc"
)

// modules are a kernel that refuses some.
type modules map[string]error

func (m modules) Load(file, _ string) error { return m[path.Base(file)] }

func TestAModuleThatFindsNothingToServeIsNoError(t *testing.T) {
	plan := []kmod.Step{
		{Name: "a", File: "/m/a"}, {Name: "cpu", File: "/m/cpu"}, {Name: "user", File: "/m/user", Hard: []string{"cpu"}}, {Name: "bad", File: "/m/bad"},
	}
	d := &Drivers{Kernel: modules{"cpu": syscall.ENODEV, "bad": syscall.ENOEXEC}}
	for _, tc := range []struct {
		guessed bool
		want    int // errors
	}{{true, 1}, {false, 3}} {
		loaded, err := d.load(t.Context(), plan, tc.guessed)
		if diff := cmp.Diff([]string{"a"}, loaded); diff != "" || !errors.Is(err, syscall.ENOEXEC) || strings.Count(err.Error(), "\n")+1 != tc.want {
			t.Errorf("guessed %t: load() (-want +got):\n%s, %v; want %d errors", tc.guessed, diff, err, tc.want)
		}
	}
}

func TestAModuleThatIsStillLoadingIsNotThere(t *testing.T) {
	modules := []proc.Module{{Name: "a", State: "Live"}, {Name: "b", State: "Loading"}, {Name: "c", State: "Unloading"}}
	if d := cmp.Diff([]string{"a"}, live(modules)); d != "" {
		t.Errorf("live() (-want +got):\n%s", d)
	}
}

func TestModprobeIsAskedAsTheKernelDoes(t *testing.T) {
	for _, args := range [][]string{nil, {"-q", "--"}, {"-r", "x"}, {""}} {
		if err := Probe(t.Context(), args); err == nil || !strings.HasPrefix(err.Error(), "modprobe:") {
			t.Errorf("Probe(%q) = %v; want an error about the arguments", args, err)
		}
	}
}

func TestAGuestIsNoHost(t *testing.T) {
	if got := hostOnly([]string{"fpu", "svm"}); len(got) > 0 {
		t.Errorf("on a machine of its own no alias loads %v", got)
	}
	if got := hostOnly([]string{"svm", "hypervisor"}); len(got) == 0 {
		t.Error("in a virtual machine everything is loaded")
	}
}
