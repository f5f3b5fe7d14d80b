package seccomp

import "golang.org/x/sys/unix"

// auditArch is the machine's own way to number calls; foreign is the first number of another one, zero if there is none.
const (
	auditArch = unix.AUDIT_ARCH_AARCH64
	foreign   = 0
)

// refusedHere are calls that other machines do not have.
var refusedHere = []uintptr{unix.SYS_KEXEC_FILE_LOAD}
