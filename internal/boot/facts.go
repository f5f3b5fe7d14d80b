package boot

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"talos.internal/internal/sys/cgroup"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
)

// Facts are what a plan is decided from: the machine as PID 1 found it.
type Facts struct {
	Mode Mode
	// PID1 says that this process is the first of its pid namespace: orphans come to it, and all processes are its own.
	PID1   bool
	Mounts []proc.MountInfo
	// Groups are where this process is in the cgroups.
	Groups   []cgroup.Membership
	Hostname string
	// EFI says that the firmware is UEFI and lets the system see its variables.
	EFI bool
	// CPUFlags are what the first processor can do; Cmdline is the kernel's command line. Of machines only.
	CPUFlags []string
	Cmdline  []proc.Param
	// Files are the contents of files of /etc that the container runtime may have put there, by name; what was not there
	// is missing. See [EtcNames].
	Files map[string][]byte
	// SKU is what the machine is called (TALOSSKU). UserData is the machine config as it was given (USERDATA, base64);
	// it holds secrets, and no plan has any of it.
	SKU, UserData string
}

// EtcNames are the files of /etc that a container runtime provides.
func EtcNames() []string {
	return []string{"hostname", "hosts", "machine-id", "os-release", "resolv.conf"}
}

// containerMarker is in the container flavour of the image.
const containerMarker = "usr/etc/in-container"

// maxEtcFile limits what is read of a file of /etc.
const maxEtcFile = 1 << 20

// Gather collects the facts. root is put before every path; empty means "/". getenv is os.Getenv.
//
// The mode is that of PLATFORM. Without it, it is Container if the image is of that flavour, and Metal otherwise.
func Gather(root string, getenv func(string) string) (Facts, error) {
	if root == "" {
		root = "/"
	}
	f := Facts{PID1: os.Getpid() == 1, SKU: getenv("TALOSSKU"), UserData: getenv("USERDATA"), Files: map[string][]byte{}}
	switch p := getenv("PLATFORM"); p {
	case string(Container), string(Metal):
		f.Mode = Mode(p)
	case "":
		f.Mode = Metal
		if _, err := os.Stat(filepath.Join(root, containerMarker)); err == nil {
			f.Mode = Container
		}
	default:
		return f, fmt.Errorf("gather facts: PLATFORM %q is not known; this version knows %s and %s", p, Container, Metal)
	}
	r := proc.Reader{Root: root}
	if _, err := os.Stat(filepath.Join(root, mount.EFIPoint)); err == nil {
		f.EFI = true
	}
	var err error
	if f.Mode == Metal {
		cpus, err := r.CPUInfo()
		if err == nil {
			f.Cmdline, err = r.Cmdline()
		}
		if err != nil {
			return f, fmt.Errorf("gather facts: %w", err)
		}
		if len(cpus) > 0 {
			f.CPUFlags = cpus[0].Flags
		}
	}
	if f.Mounts, err = r.MountInfo(); err != nil {
		return f, fmt.Errorf("gather facts: %w", err)
	}
	if f.Groups, err = cgroup.Memberships(root, os.Getpid()); err != nil {
		return f, fmt.Errorf("gather facts: %w", err)
	}
	if f.Hostname, err = r.Hostname(); err != nil {
		return f, fmt.Errorf("gather facts: %w", err)
	}
	for _, name := range EtcNames() {
		file := filepath.Join(root, "etc", name)
		st, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && (!st.Mode().IsRegular() || st.Size() > maxEtcFile) {
			continue // nothing that a runtime provides
		}
		b, readErr := os.ReadFile(file)
		if err = errors.Join(err, readErr); err != nil {
			return f, fmt.Errorf("gather facts: %w", err)
		}
		f.Files[name] = b
	}
	return f, nil
}

// MachineConfig decodes UserData. It is nil if there is none.
func (f Facts) MachineConfig() ([]byte, error) {
	text := strings.Join(strings.Fields(f.UserData), "")
	if text == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		// The error of the decoder has an offset and nothing of the text, which is secret.
		return nil, fmt.Errorf("decode the machine config in USERDATA: %w; it has to be base64", err)
	}
	return b, nil
}
