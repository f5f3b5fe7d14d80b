package process

import (
	"fmt"
	"strings"
)

// Caps is a set of capabilities: bit n is number n of capabilities(7).
type Caps uint64

// capNames are the names by number (include/uapi/linux/capability.h).
var capNames = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
	"CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
	"CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
	"CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
}

// ParseCaps returns the set of the names given, such as "CAP_SYS_ADMIN".
func ParseCaps(names ...string) (Caps, error) {
	var c Caps
next:
	for _, name := range names {
		for n, known := range capNames {
			if name == known {
				c |= 1 << n
				continue next
			}
		}
		return 0, fmt.Errorf("%q is no capability", name)
	}
	return c, nil
}

// String returns the names with commas; a number for what has no name here.
func (c Caps) String() string {
	var out []string
	for n := range 64 {
		if c&(1<<n) == 0 {
			continue
		}
		if n < len(capNames) {
			out = append(out, capNames[n])
		} else {
			out = append(out, fmt.Sprintf("capability %d", n))
		}
	}
	return strings.Join(out, ",")
}
