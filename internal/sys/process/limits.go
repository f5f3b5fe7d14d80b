package process

import (
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// limits are the numbers of resources by their names without RLIMIT_ (getrlimit(2)).
var limits = map[string]int{
	"AS": unix.RLIMIT_AS, "CORE": unix.RLIMIT_CORE, "CPU": unix.RLIMIT_CPU, "DATA": unix.RLIMIT_DATA,
	"FSIZE": unix.RLIMIT_FSIZE, "LOCKS": unix.RLIMIT_LOCKS, "MEMLOCK": unix.RLIMIT_MEMLOCK,
	"MSGQUEUE": unix.RLIMIT_MSGQUEUE, "NICE": unix.RLIMIT_NICE, "NOFILE": unix.RLIMIT_NOFILE,
	"NPROC": unix.RLIMIT_NPROC, "RSS": unix.RLIMIT_RSS, "RTPRIO": unix.RLIMIT_RTPRIO,
	"RTTIME": unix.RLIMIT_RTTIME, "SIGPENDING": unix.RLIMIT_SIGPENDING, "STACK": unix.RLIMIT_STACK,
}

// ParseLimit returns the number of a resource by its name, with or without RLIMIT_: "NOFILE". The error wraps EINVAL.
func ParseLimit(name string) (int, error) {
	n, ok := limits[strings.TrimPrefix(name, "RLIMIT_")]
	if !ok {
		return 0, fmt.Errorf("limit %q: there is no such resource: %w", name, syscall.EINVAL)
	}
	return n, nil
}

// SetLimitWithin sets a limit of a process that runs as the user given (nil means as this process), as [SetLimit] does, but
// takes the hard limit that the process has where it asks for more and must not have it. It returns what was set.
//
// Without CAP_SYS_RESOURCE the kernel lets nobody change the limits of another user's process (prlimit(2)), root neither. So
// a thread that ends afterwards takes the user as its real one.
func SetLimitWithin(pid int, user *User, resource int, want Limit) (Limit, error) {
	set := func() error {
		err := SetLimit(pid, resource, want)
		if err == nil {
			return nil
		}
		have, getErr := GetLimit(pid, resource)
		if getErr != nil || have.Hard >= want.Hard {
			return err
		}
		want = Limit{Soft: min(want.Soft, have.Hard), Hard: have.Hard}
		return SetLimit(pid, resource, want)
	}
	if user == nil || pid == 0 {
		err := set()
		return want, err
	}
	err := thrownAway(func() error {
		// Raw, for this thread alone; the effective user, with its capabilities, stays.
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(user.GID), keep, keep); errno != 0 {
			return fmt.Errorf("take group %d: %w", user.GID, errno)
		}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(user.UID), keep, keep); errno != 0 {
			return fmt.Errorf("take user %d: %w", user.UID, errno)
		}
		return set()
	})
	return want, err
}
