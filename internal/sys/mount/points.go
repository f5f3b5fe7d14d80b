package mount

// Points of the kernel's own file systems, for those that mount them and may not name what is in them.
const (
	ProcPoint    = "/proc"
	SysctlPoint  = "/proc/sys"
	SysPoint     = "/sys"
	CgroupsPoint = "/sys/fs/cgroup"
)
