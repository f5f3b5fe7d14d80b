package kubeletctrl

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"

	"talos.internal/internal/sys/mount"
)

// Lacking returns what this process may not do that kubelet would fail for: set sysctls, see messages of the kernel, raise limits.
// It is empty if nothing is lacking. kubelet passes over all of it with the feature gate KubeletInUserNamespace.
func Lacking() string {
	have, err := cap.Current()
	if err != nil {
		return "its capabilities cannot be read: " + err.Error()
	}
	for _, c := range []string{"CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"} {
		if !slices.Contains(have, c) {
			return c + " is missing"
		}
	}
	for name, flag := range map[string]int{
		"/dev/kmsg": os.O_RDONLY, filepath.Join(mount.SysctlPoint, "vm/overcommit_memory"): os.O_WRONLY,
	} {
		f, err := os.OpenFile(name, flag, 0)
		if err != nil {
			return err.Error()
		}
		_ = f.Close()
	}
	return ""
}
