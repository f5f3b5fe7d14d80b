package boot

import (
	"fmt"
	"path"
	"syscall"

	"talos.internal/internal/sys/mount"
)

// SystemEtc is where the contents of the files of /etc are that change.
const SystemEtc = "/system/etc"

// EtcMount declares the mount that shows the file SystemEtc/name at /etc/name, read-only, on top of what the container
// runtime may have mounted there; mount.Ensure makes it so. The file has to be there first, and at /etc/name the root
// file system, which is read-only, has to have a file.
//
// A bind mount shows an inode and not a name: the file has to be rewritten in place from then on. One that is put in its
// place by a rename is not seen, until mount.Ensure is called again, which mounts the new one over it.
//
// The name is relative to /etc and may have directories; the error wraps EINVAL if it leaves it.
func EtcMount(name string) (mount.Spec, error) {
	if clean := path.Clean("/" + name); clean == "/" || clean != "/"+name {
		return mount.Spec{}, fmt.Errorf("mount /etc/%s: that is no file of /etc: %w", name, syscall.EINVAL)
	}
	return mount.Spec{
		Source: path.Join(SystemEtc, name), Target: path.Join("/etc", name), File: true,
		Flags: mount.Bind | mount.ReadOnly | mount.NoSuid | mount.NoDev | mount.NoExec,
	}, nil
}
