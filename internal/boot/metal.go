package boot

import (
	"strings"
	"time"

	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/pcr"
)

// metal plans the start of a machine, after the initramfs. The kernel and everything on it are its own.
func (p *planner) metal() {
	const safe = mount.NoSuid | mount.NoDev | mount.NoExec
	p.try("say to the TPM that the node begins", lostMeasure, Measure(pcr.EnterMachined))
	p.process()
	p.try("let the three keys restart the machine in order, not at once", "the three keys restart the machine at once", ThreeKeys{})
	for _, m := range FirstMounts() {
		p.add("have "+m.Type+" at "+m.Target, Mount{Target: m.Target, Type: m.Type, Flags: m.Flags, Data: m.Data})
	}
	p.add("have cgroups", Mount{Target: mount.CgroupsPoint, Type: "cgroup2", Flags: safe, Data: "nsdelegate,memory_recursiveprot"})
	p.try("have the kernel's objects that are configured by files", "targets for storage cannot be configured", Modules{"configfs"})
	for _, m := range []struct{ name, kind, point, lost string }{
		{"see what the kernel protects", "securityfs", mount.SecurityPoint, "the state of lockdown and the event log of the firmware are not seen"},
		{"keep BPF programs", "bpf", mount.BPFPoint, "CNI plugins that use BPF do not work"},
		{"trace", "tracefs", mount.TracingPoint, "programs that trace the kernel do not work"},
		{"debug", "debugfs", mount.DebugPoint, "programs that debug the kernel do not work; a locked kernel has none"},
		{"configure kernel objects", "configfs", mount.ConfigPoint, "targets for storage cannot be configured"},
	} {
		p.try(m.name, m.lost, Mount{Target: m.point, Type: m.kind, Flags: safe})
	}
	if p.EFI {
		p.try("have the driver of the firmware's variables", "the variables of the firmware are not seen", Modules{"efivarfs"})
		p.try("see the variables of the firmware", "the variables of the firmware are not seen",
			Mount{Target: mount.EFIVarsPoint, Type: "efivarfs", Flags: safe | mount.ReadOnly})
	}
	for _, s := range []struct {
		name, lost string
		spec       mount.Spec
	}{
		{"have terminals", "", mount.Spec{Target: "/dev/pts", Type: "devpts", Flags: mount.NoSuid | mount.NoExec, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"}},
		{"have shared memory", "", mount.Spec{Target: "/dev/shm", Type: "tmpfs", Flags: safe, Data: "mode=1777,size=64m"}},
		{"have message queues", "programs that use POSIX message queues do not work", mount.Spec{Target: "/dev/mqueue", Type: "mqueue", Flags: safe}},
	} {
		p.try(s.name, s.lost, Mount(s.spec))
	}
	p.scratch()
	// STATE is mounted on its place by the controllers; /var and /opt stay as the root has them until EPHEMERAL is there: what
	// would be written before that would not be kept, and nobody is to think so.
	p.directories(func(path string) bool { return !onEphemeral(path) })
	p.cgroups()
	for _, s := range sysctls {
		p.try("set "+s.key, "the kernel keeps its own value", s)
	}
	p.root()
}

func onEphemeral(path string) bool {
	return strings.HasPrefix(path, "/var/") || strings.HasPrefix(path, "/opt/")
}

// EphemeralPlan returns the steps that follow when EPHEMERAL is mounted at /var, whether it is new or not.
func EphemeralPlan() []Step {
	var p planner
	p.directories(func(path string) bool { return strings.HasPrefix(path, "/var/") })
	p.varRun()
	const upper, work = "/var/system/overlays/opt/upper", "/var/system/overlays/opt/work"
	p.add("have a place for what is written to /opt", Dir{upper, 0o755, 0, 0})
	p.add("have a place for what is on its way to /opt", Dir{work, 0o755, 0, 0})
	p.add("have a writable /opt", Mount{Target: "/opt", Type: "overlay", Source: "overlay", Flags: mount.NoSuid | mount.NoDev,
		Data: "lowerdir=/opt,upperdir=" + upper + ",workdir=" + work})
	p.directories(func(path string) bool { return strings.HasPrefix(path, "/opt/") })
	return p.steps
}

// DriversPlan returns the steps for what volumes need of the kernel, and Kubernetes, and no device asks for. They are done beside
// everything else that starts.
func DriversPlan() []Step {
	var p planner
	// The kernel would load it for the first mount, which everything else waits for.
	p.try("have the file system of the volumes", "the first mount takes longer", Modules{"xfs"})
	p.try("have the modules that containers need and nothing asks for", "pods may not reach each other", Modules{"overlay", "br_netfilter"})
	for i := range p.steps {
		p.steps[i].Limit = time.Minute // they have to share the processor
	}
	return p.steps
}
