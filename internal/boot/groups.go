package boot

import "talos.internal/internal/sys/cgroup"

// InitGroup is the cgroup of PID 1.
const InitGroup = "init"

// The cgroups of the services. Whoever starts one names its group.
const (
	GroupAPID       = "system/apid"
	GroupTrustd     = "system/trustd"
	GroupDashboard  = "system/dashboard"
	GroupExtensions = "system/extensions"
	GroupDebug      = "system/debug"
	GroupContainerd = "podruntime/runtime"
	GroupShims      = "podruntime/shim"
	GroupEtcd       = "podruntime/etcd"
	GroupKubelet    = "podruntime/kubelet"
)

// limits returns limits with the memory that is guaranteed, that is kept while there is other, and the most, in MiB, and the
// weight for CPUs; zero is none.
func limits(low, soft, most, weight int64) cgroup.Limits {
	amount := func(mib int64) *int64 {
		if mib == 0 {
			return nil
		}
		n := mib << 20
		return &n
	}
	l := cgroup.Limits{MemoryMin: amount(low), MemoryLow: amount(soft), MemoryMax: amount(most)}
	if weight != 0 {
		l.CPUWeight = &weight
	}
	return l
}

// groupTable are the groups with the published limits, each after the one that it is in. What a group is guaranteed its
// parent has to be guaranteed, too (cgroup-v2.rst, "memory.min"). kubepods is kubelet's, with a weight of some 40 for each
// CPU; so the order is: PID 1 and what runs the control plane, then the API, then pods.
var groupTable = []struct {
	path, why string
	limits    cgroup.Limits
}{
	{InitGroup, "PID 1", limits(96, 0, 0, 1000)},
	{"system", "the services of the API", limits(24, 0, 0, 800)},
	{GroupAPID, "apid", limits(16, 0, 128, 0)},
	{GroupTrustd, "trustd", limits(8, 0, 128, 0)},
	{GroupDashboard, "the dashboard", limits(0, 0, 128, 10)},
	{GroupExtensions, "extension services", limits(0, 0, 0, 0)},
	{GroupDebug, "debug containers", limits(0, 0, 0, 10)},
	{"podruntime", "what runs pods", limits(340, 256, 0, 2000)},
	{GroupContainerd, "containerd", limits(196, 0, 0, 500)},
	{GroupShims, "the shims of containerd", limits(48, 0, 0, 200)},
	{GroupEtcd, "etcd", limits(0, 256, 0, 1000)},
	{GroupKubelet, "kubelet", limits(96, 0, 0, 500)},
}
