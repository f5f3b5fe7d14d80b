package kernelctrl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/sys/kmod"
	"talos.internal/internal/sys/kparam"
	"talos.internal/internal/sys/proc"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// kernel is a directory with files of the kernel.
type kernel struct {
	t    *testing.T
	root string
}

func newKernel(t *testing.T, files map[string]string) kernel {
	k := kernel{t, t.TempDir()}
	for path, value := range files {
		k.set(path, value)
	}
	return k
}

func (k kernel) set(path, value string) {
	k.t.Helper()
	name := filepath.Join(k.root, path)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(value), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

func (k kernel) want(path, value string) {
	k.t.Helper()
	got, err := os.ReadFile(filepath.Join(k.root, path))
	if err != nil || string(got) != value {
		k.t.Errorf("%s = %q, %v; want %q", path, got, err, value)
	}
}

func (k kernel) tree() kparam.Tree { return kparam.Tree{Root: k.root} }

func set(h *controllertest.Harness, text string) {
	controllertest.Modify(h, machineconfig.Active, func(c *machineconfig.Config) { c.Text = text })
}

const sysctls = `apiVersion: v1alpha1
kind: SysctlConfig
params:
    net.ipv4.ip_forward: "0"
    net/ipv4/conf/eth0.1/rp_filter: "2"
`

func TestParametersFollowTheConfigAndTheDefaults(t *testing.T) {
	k := newKernel(t, map[string]string{
		"proc/sys/net/ipv4/ip_forward": "0\n", "proc/sys/kernel/panic": "0\n", "proc/sys/kernel/pid_max": "32768\n",
		"proc/modules": "", "sys/block/sda/queue/scheduler": "[mq-deadline] none\n",
	})
	deps := Deps{
		Params: k.tree(), Modules: proc.Reader{Root: k.root},
		Defaults: []Param{{"net.ipv4.ip_forward", "1"}, {"kernel.panic", "10"}, {"net.bridge.bridge-nf-call-iptables", "1"}},
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, "proc.sys.net.ipv4.ip_forward", runtime.KernelParamStatus{Current: "1", Default: "0"})
		controllertest.Want(h, "proc.sys.kernel.panic", runtime.KernelParamStatus{Current: "10", Default: "0"})
		controllertest.Want(h, "proc.sys.net.bridge.bridge-nf-call-iptables", runtime.KernelParamStatus{Unsupported: true})
		controllertest.WantNever[runtime.Diagnostic](h, ParamsDiagnosticID)

		set(h, sysctls+"---\napiVersion: v1alpha1\nkind: SysfsConfig\nparams:\n    block.sda.queue.scheduler: none\n")
		controllertest.Want(h, "proc.sys.net.ipv4.ip_forward", runtime.KernelParamStatus{Current: "0", Default: "0"})
		controllertest.Want(h, "sys.block.sda.queue.scheduler", runtime.KernelParamStatus{Current: "none", Default: "[mq-deadline] none"})
		controllertest.Want(h, "proc.sys.net.ipv4.conf.eth0/1.rp_filter", runtime.KernelParamStatus{Unsupported: true})
		controllertest.WantThat(h, ParamsDiagnosticID, "names the missing parameter", func(r *resource.Typed[runtime.Diagnostic]) bool {
			return len(r.Spec().Details) == 1 && strings.Contains(r.Spec().Details[0], "eth0/1.rp_filter")
		})

		// The link comes, and its parameter with it.
		k.set("proc/sys/net/ipv4/conf/eth0.1/rp_filter", "0\n")
		controllertest.Create(h, "dm_mod", runtime.LoadedKernelModule{State: "Live"}, state.As("test"))
		controllertest.Want(h, "proc.sys.net.ipv4.conf.eth0/1.rp_filter", runtime.KernelParamStatus{Current: "2", Default: "0"})
		controllertest.WantGone[runtime.Diagnostic](h, ParamsDiagnosticID)

		// What somebody else has changed is shown and left.
		k.set("proc/sys/kernel/panic", "5\n")
		set(h, sysctls)
		controllertest.Want(h, "proc.sys.kernel.panic", runtime.KernelParamStatus{Current: "5", Default: "0"})
		controllertest.WantGone[runtime.KernelParamStatus](h, "sys.block.sda.queue.scheduler")
		k.want("sys/block/sda/queue/scheduler", "mq-deadline")

		// Without the config the system's own value comes back.
		set(h, "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a\n")
		controllertest.Want(h, "proc.sys.net.ipv4.ip_forward", runtime.KernelParamStatus{Current: "1", Default: "0"})
		k.want("proc/sys/net/ipv4/conf/eth0.1/rp_filter", "0")
		k.want("proc/sys/kernel/pid_max", "32768\n")
	}, paramConfig(), &paramSpecController{tree: deps.Params}, paramDefaults(deps.Defaults))
}

func TestAValueThatTheKernelDoesNotTakeIsADiagnostic(t *testing.T) {
	k := newKernel(t, map[string]string{"proc/modules": ""})
	// A directory in place of the file is refused for writing, as a value is by the kernel.
	if err := os.MkdirAll(filepath.Join(k.root, "proc/sys/net/ipv4/ip_forward"), 0o755); err != nil {
		t.Fatal(err)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		set(h, "apiVersion: v1alpha1\nkind: SysctlConfig\nparams:\n    net.ipv4.ip_forward: \"7\"\n")
		controllertest.WantThat(h, ParamsDiagnosticID, "says which value", func(r *resource.Typed[runtime.Diagnostic]) bool {
			return len(r.Spec().Details) == 1 && strings.Contains(r.Spec().Details[0], `set proc.sys.net.ipv4.ip_forward to "7"`)
		})
	}, Controllers(Deps{Params: k.tree(), Modules: proc.Reader{Root: k.root}})...)
}

func TestInAContainerNothingIsChanged(t *testing.T) {
	k := newKernel(t, map[string]string{"proc/sys/net/ipv4/ip_forward": "1\n"})
	deps := Deps{
		Params: k.tree(), NoParams: errors.New("the parameters are the host's"), NoModules: errors.New("the kernel is the host's"), Defaults: []Param{{"kernel.panic", "10"}},
		Load: func(context.Context, string, []string) error { t.Error("a module was loaded"); return nil },
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		set(h, sysctls+"---\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: nvme_tcp\n")
		controllertest.Want(h, "proc.sys.net.ipv4.ip_forward", runtime.KernelParamStatus{Current: "1", Default: "1", Unsupported: true})
		controllertest.Want(h, "nvme_tcp", runtime.KernelModuleSpec{Name: "nvme_tcp"})
		controllertest.WantNever[runtime.Diagnostic](h, ParamsDiagnosticID)
		controllertest.WantNever[runtime.KernelParamStatus](h, "proc.sys.kernel.panic")
		k.want("proc/sys/net/ipv4/ip_forward", "1\n")
	}, Controllers(deps)...)
}

func TestModulesAreLoadedOnce(t *testing.T) {
	k := newKernel(t, map[string]string{"sys/module/nvme_tcp/parameters/wq_unbound": "N\n"})
	var calls []string
	busy := true
	deps := Deps{Params: k.tree(), Load: func(_ context.Context, name string, params []string) error {
		calls = append(calls, name+" "+strings.Join(params, " "))
		switch {
		case name == "nothing":
			return fmt.Errorf("load %s: %w", name, kmod.ErrNoModule)
		case name == "busy" && busy:
			busy = false
			return errors.New("not now")
		}
		return nil
	}}
	controllertest.Run(t, func(h *controllertest.Harness) {
		module := func(name, more string) string {
			return "---\napiVersion: v1alpha1\nkind: KernelModuleConfig\nname: " + name + "\n" + more
		}
		set(h, module("nvme_tcp", "parameters:\n    - wq_unbound=Y\n")+module("nothing", "")+module("busy", ""))
		controllertest.WantThat(h, modulesDiagnostic, "names the module that is not there", func(r *resource.Typed[runtime.Diagnostic]) bool {
			return cmp.Equal(r.Spec().Details, []string{"load nothing: " + kmod.ErrNoModule.Error()})
		})
		h.Advance(time.Hour)
		k.want("sys/module/nvme_tcp/parameters/wq_unbound", "Y")
		slices.Sort(calls)
		if got := slices.Compact(slices.Clone(calls)); !cmp.Equal(got, []string{"busy ", "nothing ", "nvme_tcp wq_unbound=Y"}) {
			t.Errorf("loaded %q", got)
		}
		if n := len(calls); n > 6 {
			t.Errorf("%d loads %q; want each module once, and what failed once more", n, calls)
		}
		set(h, module("nvme_tcp", ""))
		controllertest.WantGone[runtime.Diagnostic](h, modulesDiagnostic)
	}, moduleConfig(), &moduleSpecController{tree: deps.Params, load: deps.Load})
}

func TestModulesAreShownAsTheyComeAndGo(t *testing.T) {
	k := newKernel(t, map[string]string{"proc/modules": "xfs 100 1 - Live 0x0000000000000000\n"})
	var change func()
	c := &moduleStatusController{
		modules: proc.Reader{Root: k.root},
		builtin: func() ([]string, error) { return []string{"ext4"}, nil },
		watch: func(ctx context.Context, changed func()) error {
			change = changed
			<-ctx.Done()
			return nil
		},
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, "ext4", runtime.KernelModuleStatus{Type: runtime.ModuleTypeBuiltin, State: runtime.ModuleBuiltIn})
		controllertest.Want(h, "xfs", runtime.KernelModuleStatus{Type: runtime.ModuleTypeDynamic, Size: 100, ReferenceCount: 1, Address: "0x0000000000000000"})
		k.set("proc/modules", "bonding 50 0 - Loading 0x0\n")
		for range 3 {
			change()
		}
		controllertest.Want(h, "bonding", runtime.LoadedKernelModule{Size: 50, State: "Loading", Address: "0x0"})
		controllertest.Want(h, "bonding", runtime.KernelModuleStatus{Type: runtime.ModuleTypeDynamic, Size: 50, State: runtime.ModuleLoading, Address: "0x0"})
		controllertest.WantGone[runtime.LoadedKernelModule](h, "xfs")
		controllertest.WantGone[runtime.KernelModuleStatus](h, "xfs")
		controllertest.Want(h, "ext4", runtime.KernelModuleStatus{Type: runtime.ModuleTypeBuiltin, State: runtime.ModuleBuiltIn})
	}, c)
}
