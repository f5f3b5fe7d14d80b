package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/devnode"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
)

// Plan returns the steps that precede the controllers. What the facts show to be done already is not in it.
//
// The error says what is wrong with the machine and what to do about it; for a mode without a plan it wraps
// errors.ErrUnsupported.
func Plan(f Facts) ([]Step, error) {
	p := planner{Facts: f}
	switch f.Mode {
	case Metal:
		if err := f.fits(); err != nil {
			return nil, fmt.Errorf("plan the boot: %w", err)
		}
		p.metal()
		return p.steps, nil
	case Container:
	default:
		return nil, fmt.Errorf("plan the boot: mode %s: %w", f.Mode, errors.ErrUnsupported)
	}
	if err := ownGroups(f); err != nil {
		return nil, fmt.Errorf("plan the boot: %w", err)
	}
	p.process()
	p.pseudo()
	p.dev()
	p.scratch()
	p.persistent()
	p.directories(func(string) bool { return true })
	p.varRun()
	p.cgroups()
	p.root()
	return p.steps, nil
}

// planner collects steps.
type planner struct {
	Facts
	steps []Step
}

func (p *planner) add(name string, do Action) {
	p.steps = append(p.steps, Step{Name: name, Do: do})
}

func (p *planner) try(name, lost string, do Action) {
	p.steps = append(p.steps, Step{Name: name, Do: do, MayFail: lost})
}

func (p *planner) top(point string) (proc.MountInfo, bool) { return mount.Top(p.Mounts, point) }

// flags are those of a mount that a remount would lose if it did not name them.
func flags(m proc.MountInfo) mount.Flags {
	f, _ := mount.ParseOptions(m.Options)
	return f & (mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec | mount.NoSymFollow)
}

// readOnly reports whether nothing can be written through a mount.
func readOnly(m proc.MountInfo) bool { return m.HasOption("ro") || m.HasSuperOption("ro") }

// maxFiles is the published limit of open files.
const maxFiles = 1 << 20

func (p *planner) process() {
	if !p.PID1 {
		p.add("collect orphans, as this is not the first process", Adopt{})
	}
	p.try("allow many open files", "services have the limits of the container runtime", Limit{"NOFILE", maxFiles})
}

// pseudo makes the kernel's file systems writable. A container runtime mounts them read-only, each by itself.
func (p *planner) pseudo() {
	writable := func(m proc.MountInfo, name, lost string) {
		if readOnly(m) {
			p.try(name, lost, Mount{Target: m.Point, Flags: flags(m) &^ mount.ReadOnly})
		}
	}
	if m, ok := p.top(mount.SysctlPoint); ok {
		writable(m, "make sysctls writable", "sysctls stay as they are; those that Kubernetes needs may be wrong")
	}
	if m, ok := p.top(mount.SysPoint); ok {
		writable(m, "make sysfs writable", "settings of network devices stay as they are")
	}
	for _, m := range p.below(mount.CgroupsPoint) {
		switch m.Type {
		case "cgroup", "cgroup2":
			writable(m, "make cgroups writable", "nothing can be limited by "+path.Base(m.Point))
		case "tmpfs":
			writable(m, "make the directory of the cgroups writable", "no other hierarchy can be mounted there")
		}
	}
}

// below returns the mounts that are seen at a point and below it, in the order of their points.
func (p *planner) below(dir string) []proc.MountInfo {
	var out []proc.MountInfo
	for _, m := range p.Mounts {
		if m.Point != dir && !strings.HasPrefix(m.Point, dir+"/") {
			continue
		}
		if top, ok := p.top(m.Point); ok && top.ID == m.ID {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b proc.MountInfo) int { return strings.Compare(a.Point, b.Point) })
	return out
}

// dev gives the node a /dev of its own. A tmpfs there is the container's already and is filled up; with anything else, such
// as the host's devtmpfs, what is made here would be the host's.
func (p *planner) dev() {
	m, ok := p.top("/dev")
	own := ok && m.Type == "tmpfs"
	switch {
	case !own:
		p.add("have a private /dev", Mount{Target: "/dev", Type: "tmpfs", Flags: mount.NoSuid, Data: "mode=0755,size=64m"})
	case readOnly(m):
		p.add("make /dev writable", Mount{Target: "/dev", Flags: flags(m) &^ mount.ReadOnly})
	}
	var needed, useful Nodes
	for _, n := range devnode.Standard() {
		if n.Path == "/dev/kmsg" || n.Path == "/dev/fuse" {
			useful = append(useful, n)
		} else {
			needed = append(needed, n)
		}
	}
	p.add("have the devices that every program expects", needed)
	for _, n := range useful {
		p.try("have "+n.Path, "what needs it does not work; the container's device rules may forbid it", Nodes{n})
	}
	for _, s := range []struct {
		name, lost string
		spec       mount.Spec
	}{
		{"have terminals of our own", "", mount.Spec{Target: "/dev/pts", Type: "devpts", Flags: mount.NoSuid | mount.NoExec, Data: "newinstance,ptmxmode=0666,mode=0620,gid=5"}},
		{"have shared memory", "", mount.Spec{Target: "/dev/shm", Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev | mount.NoExec, Data: "mode=1777,size=64m"}},
		{"have message queues", "programs that use POSIX message queues do not work", mount.Spec{Target: "/dev/mqueue", Type: "mqueue", Flags: mount.NoSuid | mount.NoDev | mount.NoExec}},
	} {
		if have, ok := p.top(s.spec.Target); own && ok && have.Type == s.spec.Type && !readOnly(have) {
			continue
		}
		p.try(s.name, s.lost, Mount(s.spec))
	}
}

// scratch mounts what must not outlive a start. A mount that covers others would hide volumes; so /system is mounted in parts
// where one is below it, and the others are left.
func (p *planner) scratch() {
	safe := mount.NoSuid | mount.NoDev
	if p.Mode == Metal {
		safe |= mount.NoExec // a container's own image may have programs there
	}
	tmpfs := func(name, point string, flags mount.Flags, data string) {
		if m, ok := p.top(point); ok && m.Type == "tmpfs" && !readOnly(m) {
			return
		}
		p.add(name, Mount{Target: point, Type: "tmpfs", Flags: flags, Data: data})
	}
	covers := func(point string) bool {
		return slices.ContainsFunc(p.below(point), func(m proc.MountInfo) bool { return m.Point != point })
	}
	if !covers("/run") {
		tmpfs("begin with an empty /run", "/run", safe, "mode=0755")
	}
	if m, ok := p.top("/system"); covers("/system") && !(ok && m.Type == "tmpfs") {
		for _, name := range []string{"config", "etc", "run", "secrets"} {
			tmpfs("begin with an empty part of /system, beside the volumes in it", "/system/"+name, safe, "mode=0755")
		}
	} else {
		tmpfs("begin with an empty /system", "/system", safe, "mode=0755")
	}
	if _, ok := p.top("/tmp"); !ok && !covers("/tmp") {
		tmpfs("have a /tmp that cannot fill the memory", "/tmp", safe, "mode=1777,size=64m")
	}
	for _, point := range []string{"/etc/cni", "/etc/cri", "/etc/kubernetes"} {
		if !covers(point) {
			tmpfs("let CNI and kubelet write below /etc", point, safe|mount.NoExec, "mode=0755,size=16m")
		}
	}
}

// persistent makes sure that the node can write where its data are, once the root is read-only. A volume is kept; without
// one the directory of the root file system serves, which stays with the container.
func (p *planner) persistent() {
	root, _ := p.top("/")
	for _, point := range []string{"/var", "/opt"} {
		m, ok := p.top(point)
		switch {
		case ok && readOnly(m):
			p.add("make "+point+" writable", Mount{Target: point, Flags: flags(m) &^ mount.ReadOnly})
		case ok:
		case readOnly(root):
			p.add("have a writable "+point+", which ends with the container since there is no volume", Mount{Target: point, Type: "tmpfs", Flags: mount.NoSuid | mount.NoDev, Data: "mode=0755"})
		default:
			p.add("keep "+point+" writable when the root is not", Mount{Source: point, Target: point, Flags: mount.Bind | mount.Rec})
		}
	}
}

// Users of the node's own processes.
const (
	apidUser   = 50
	trustdUser = 51
	etcdUser   = 60
	nobody     = 65534 // kube-apiserver, which writes the audit log
)

// directories adds those whose path is wanted.
func (p *planner) directories(wanted func(path string) bool) {
	for _, d := range []struct {
		why string
		Dir
	}{
		{"machined's socket", Dir{"/system/run/machined", 0o755, 0, 0}},
		{"apid's socket, which apid may reach and not replace", Dir{"/system/run/apid", 0o750, 0, apidUser}},
		{"trustd's socket, which trustd may reach and not replace", Dir{"/system/run/trustd", 0o750, 0, trustdUser}},
		{"STATE: the config and the identity of the node", Dir{"/system/state", 0o700, 0, 0}},
		{"keys for the control plane", Dir{"/system/secrets", 0o755, 0, 0}},
		{"configs for the control plane", Dir{"/system/config", 0o755, 0, 0}},
		{"the files of /etc that change", Dir{SystemEtc, 0o755, 0, 0}},
		{"containerd's socket", Dir{"/run/containerd", 0o711, 0, 0}},
		{"locks", Dir{"/run/lock", 0o755, 0, 0}},
		{"containerd's images and snapshots", Dir{"/var/lib/containerd", 0o711, 0, 0}},
		{"etcd's data", Dir{"/var/lib/etcd", 0o700, etcdUser, etcdUser}},
		{"kubelet's data", Dir{"/var/lib/kubelet", 0o700, 0, 0}},
		{"addresses that CNI plugins gave away", Dir{"/var/lib/cni", 0o700, 0, 0}},
		{"logs", Dir{"/var/log", 0o755, 0, 0}},
		{"audit logs", Dir{"/var/log/audit", 0o700, 0, 0}},
		{"the audit log of Kubernetes", Dir{"/var/log/audit/kube", 0o700, nobody, nobody}},
		{"logs of containers", Dir{"/var/log/containers", 0o755, 0, 0}},
		{"logs of pods", Dir{"/var/log/pods", 0o755, 0, 0}},
		{"user volumes", Dir{"/var/mnt", 0o755, 0, 0}},
		{"CNI plugins", Dir{"/opt/cni/bin", 0o755, 0, 0}},
	} {
		if wanted(d.Path) {
			p.add("have a place for "+d.why, d.Dir)
		}
	}
}

func (p *planner) varRun() {
	p.try("let programs find /run where it once was", "programs that use /var/run do not find what is in /run", Link{"/var/run", "/run"})
}

// Points are the directories and files that the node mounts something on, or makes something in. An image whose root is
// read-only from the start has to have them.
func Points() (dirs, files []string) {
	dirs = []string{
		"/dev", "/etc/cni", "/etc/cri", "/etc/kubernetes", "/opt", mount.ProcPoint, "/run", mount.SysPoint, "/system", "/tmp", "/var",
	}
	for _, name := range EtcNames() {
		if name != "os-release" {
			files = append(files, "/etc/"+name)
		}
	}
	return dirs, files
}

// ownGroups makes sure that the groups that can be seen are those of the container. With those of the host, PID 1 would
// rearrange the host.
func ownGroups(f Facts) error {
	v := cgroup.VersionOf(f.Mounts)
	if v == 0 {
		return fmt.Errorf("no cgroups are mounted at %s; start the container with cgroups: %w", mount.CgroupsPoint, fs.ErrNotExist)
	}
	for _, m := range f.Mounts {
		if !v.Controls(m) {
			continue
		}
		for _, g := range f.Groups {
			if !sameHierarchy(v, m, g) || path.Clean(g.Path) == path.Clean(m.Root) {
				continue
			}
			return fmt.Errorf("the cgroups at %s show %s, and this container is in %s: they are not its own; start it with a private cgroup namespace (docker: --cgroupns=private)",
				m.Point, m.Root, g.Path)
		}
	}
	return nil
}

func sameHierarchy(v cgroup.Version, m proc.MountInfo, g cgroup.Membership) bool {
	if v == cgroup.V2 {
		return g.Hierarchy == 0
	}
	return slices.ContainsFunc(g.Controllers, m.HasSuperOption)
}

func (p *planner) cgroups() {
	p.add("make room for groups beside PID 1", Vacate{InitGroup})
	for _, g := range groupTable {
		p.add("have a group for "+g.why, Group{g.path, g.limits})
	}
}

// root lets pods share mounts with the node, and closes the root file system. It comes last: a new mount is shared as the one
// is that it stands on, but what is there has to be made so.
func (p *planner) root() {
	shared := mount.Spec{Target: "/", Propagation: mount.Shared | mount.Rec}
	if missing, err := mount.Plan(shared, p.Mounts); err != nil || len(missing) > 0 {
		p.add("let mounts reach the pods", Mount(shared))
	}
	if m, ok := p.top("/"); ok && !readOnly(m) {
		p.add("close the root file system", Mount{Target: "/", Flags: flags(m) | mount.ReadOnly})
	}
}
