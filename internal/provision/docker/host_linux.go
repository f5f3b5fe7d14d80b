package docker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/process"
)

// hostOf finds out what containers depend on of the computer of a daemon. Of another computer it is not known, and taken to be
// as it is with everybody.
func hostOf(daemon string) (host, error) {
	if !strings.HasPrefix(daemon, "unix://") {
		return host{}, nil
	}
	h := host{local: true}
	status, err := proc.Reader{}.Status(os.Getpid())
	if err != nil {
		return h, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	last, err := proc.Reader{}.Sysctl("kernel.cap_last_cap")
	if err != nil {
		return h, err
	}
	n, err := strconv.ParseUint(last, 10, 6)
	if err != nil {
		return h, fmt.Errorf("read kernel.cap_last_cap: %w", err)
	}
	all := uint64(1)<<(n+1) - 1
	for name := range strings.SplitSeq(process.Caps(all&^status.CapBounding).String(), ",") {
		if strings.HasPrefix(name, "CAP_") { // one that has no name here has none for the daemon
			h.missing = append(h.missing, name)
		}
	}
	if _, err := (proc.Reader{}).Sysctl("net.ipv6.conf.all.disable_ipv6"); errors.Is(err, fs.ErrNotExist) {
		h.noIPv6 = true
	}
	for _, name := range []string{"/dev/kmsg", "/dev/fuse"} {
		if _, err := os.Stat(name); err == nil {
			h.devices = append(h.devices, name)
		}
	}
	return h, nil
}
