package seccomp

import "golang.org/x/sys/unix"

// auditArch is the machine's own way to number calls; foreign is the first number of another one (x32), zero if there is none.
const (
	auditArch = unix.AUDIT_ARCH_X86_64
	foreign   = 0x40000000
)

// refusedHere are calls that other machines do not have.
var refusedHere = []uintptr{
	unix.SYS_FORK, unix.SYS_VFORK, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_MKNOD, unix.SYS_CHOWN, unix.SYS_LCHOWN,
	unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL, unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE, unix.SYS_NFSSERVCTL,
}
