// Package seccomp takes from this process what a daemon of ours never does: to execute a program or make a process, to change mounts, namespaces, users or the
// kernel, to look into other processes (seccomp(2)).
//
// [Restrict] is for a program to call on itself when it starts; it cannot be undone. What is refused gets EPERM, so that a library that tries something and goes on
// without it does so. It is a list of what is refused, and not of what is allowed: a daemon in Go makes other calls with each version of its runtime, and one that fails in
// use is worth less than one that keeps a call too many. The kernel's calls that came after this list get ENOSYS, as from an older kernel.
//
// Linux on amd64 and arm64; anything may import it that may import internal/sys.
package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newest is the last call of the kernel that this list knows: all after it are refused. It has the same number on all machines (Linux 6.12, removexattrat came later).
const newest = unix.SYS_MSEAL

// refused are the calls that are refused on all machines, with what the others are in arch's list.
var refused = []uintptr{
	// Programs and processes.
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_PERSONALITY,
	// Mounts, roots, namespaces.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_QUOTACTL,
	unix.SYS_QUOTACTL_FD, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	// Users and rights.
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID, unix.SYS_SETFSUID, unix.SYS_SETFSGID,
	unix.SYS_SETGROUPS, unix.SYS_CAPSET, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_MKNODAT,
	// The kernel and the machine.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN,
	unix.SYS_REBOOT, unix.SYS_SYSLOG, unix.SYS_ACCT, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX,
	unix.SYS_CLOCK_ADJTIME, unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
	// What has been a way out of other sandboxes.
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_MBIND, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES, unix.SYS_SET_MEMPOLICY, unix.SYS_VMSPLICE,
}

// families are the kinds of sockets that can be made. Go's package net reads interfaces by netlink.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Offsets in struct seccomp_data (linux/seccomp.h). Of an argument the lower half is read: machines here are little-endian.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetFirst  = 16
)

// verdicts are the ends of a filter, in their order.
var verdicts = []uint32{
	unix.SECCOMP_RET_ALLOW,
	unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM),
	unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS),
	unix.SECCOMP_RET_KILL_PROCESS,
}

const (
	allow = iota
	deny
	unknown
	kill
)

// step is an instruction whose jumps lead to verdicts; next is the instruction after it.
type step struct {
	code     uint16
	k        uint32
	yes, not int
}

const next = -1

const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	isEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	isFrom  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	hasBits = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	give    = unix.BPF_RET | unix.BPF_K
)

// program makes the filter. Conditions on arguments come last, because they need the register that has the number of the call.
func program() ([]unix.SockFilter, error) {
	at := func(offset uint32) step { return step{load, offset, next, next} }
	equal := func(k uint32, yes, not int) step { return step{isEqual, k, yes, not} }
	steps := []step{at(offsetArch), equal(auditArch, next, kill), at(offsetNumber)}
	if foreign != 0 {
		steps = append(steps, step{isFrom, foreign, kill, next})
	}
	steps = append(steps, step{isFrom, uint32(newest) + 1, unknown, next})
	for _, n := range append(append([]uintptr{}, refused...), refusedHere...) {
		steps = append(steps, equal(uint32(n), deny, next))
	}
	// A program that may not know how its threads are made is told that there is only clone, whose flags can be read.
	steps = append(steps, equal(unix.SYS_CLONE3, unknown, next))
	// Threads are made by clone, and processes are not. Two steps over, when it is another call.
	clone := []step{at(offsetFirst), {hasBits, unix.CLONE_THREAD, allow, deny}}
	steps = append(steps, step{isEqual, unix.SYS_CLONE, next, skip(len(clone))})
	steps = append(steps, clone...)
	steps = append(steps, equal(unix.SYS_SOCKET, next, allow), at(offsetFirst))
	for _, f := range families {
		steps = append(steps, equal(f, allow, next))
	}
	steps = append(steps, step{give, verdicts[deny], next, next})
	out := make([]unix.SockFilter, 0, len(steps)+len(verdicts))
	for i, s := range steps {
		jump := func(to int) (uint8, error) {
			n := 0
			switch {
			case to <= skip(1):
				n = skip(0) - to
			case to >= 0:
				n = len(steps) + to - i - 1
			}
			if n > 255 {
				return 0, fmt.Errorf("make a filter of system calls: instruction %d jumps %d, and 255 is the most", i, n)
			}
			return uint8(n), nil
		}
		f := unix.SockFilter{Code: s.code, K: s.k}
		var err error
		if s.code&7 == unix.BPF_JMP {
			if f.Jt, err = jump(s.yes); err == nil {
				f.Jf, err = jump(s.not)
			}
		}
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	for _, v := range verdicts {
		out = append(out, unix.SockFilter{Code: give, K: v})
	}
	return out, nil
}

// skip is an end that is n instructions further on than the next.
func skip(n int) int { return -2 - n }

// Restrict takes the rights from all threads of this process, for good. After an error none has lost any.
func Restrict() error {
	filter, err := program()
	if err != nil {
		return err
	}
	// Both have to be done by one thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("restrict system calls: %w", err)
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	tid, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return fmt.Errorf("restrict system calls: %w", errno)
	}
	if tid != 0 {
		return fmt.Errorf("restrict system calls: thread %d has another filter: %w", tid, unix.ESRCH)
	}
	return nil
}
