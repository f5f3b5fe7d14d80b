package mount

// Points of the kernel's own file systems, for those that mount them and may not name what is in them.
const (
	ProcPoint    = "/proc"
	SysctlPoint  = "/proc/sys"
	SysPoint     = "/sys"
	CgroupsPoint = "/sys/fs/cgroup"

	SecurityPoint = "/sys/kernel/security"
	BPFPoint      = "/sys/fs/bpf"
	TracingPoint  = "/sys/kernel/tracing"
	DebugPoint    = "/sys/kernel/debug"
	ConfigPoint   = "/sys/kernel/config"
	EFIPoint      = "/sys/firmware/efi" // a directory, if the firmware is UEFI
	EFIVarsPoint  = "/sys/firmware/efi/efivars"
)
