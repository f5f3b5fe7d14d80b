package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"talos.internal/internal/sys/proc"
)

// SwitchRoot makes the mount at newRoot the root of this process, moves the mounts at the points given into it, and removes
// what was in the root before, which is the memory of an initramfs. The points must be there in the new root. Files that are
// open stay so, this program's own among them.
//
// It is for PID 1 of an initramfs: the root has to be the kernel's own rootfs, and no other process may need it. The error
// wraps EINVAL if the root is of another kind, and nothing is done then.
func SwitchRoot(newRoot string, points ...string) error {
	k := Kernel{}
	table, err := k.Table()
	if err != nil {
		return fmt.Errorf("switch the root to %s: %w", newRoot, err)
	}
	if !InRootfs(table) {
		return fmt.Errorf("switch the root to %s: the root is no initramfs, whose files may be removed: %w", newRoot, syscall.EINVAL)
	}
	for _, p := range points {
		if err := MoveTo(k, p, filepath.Join(newRoot, p)); err != nil {
			return fmt.Errorf("switch the root to %s: %w", newRoot, err)
		}
	}
	old, err := os.Open("/")
	if err != nil {
		return fmt.Errorf("switch the root to %s: %w", newRoot, err)
	}
	defer old.Close()
	if err := empty(int(old.Fd())); err != nil {
		// What is left is memory that is lost, and nobody can reach it.
		fmt.Fprintf(os.Stderr, "free the initramfs: %v\n", err)
	}
	if err := os.Chdir(newRoot); err != nil {
		return fmt.Errorf("switch the root to %s: %w", newRoot, err)
	}
	if err := k.Mount(Call{Source: ".", Target: "/", Flags: Move}); err != nil {
		return fmt.Errorf("switch the root to %s: %w", newRoot, err)
	}
	if err := errors.Join(unix.Chroot("."), os.Chdir("/")); err != nil {
		return fmt.Errorf("switch the root to %s: %w", newRoot, err)
	}
	return nil
}

// InRootfs reports whether the root is the kernel's rootfs, into which it unpacks an initramfs.
func InRootfs(table []proc.MountInfo) bool {
	m, ok := Top(table, "/")
	return ok && m.Type == "rootfs"
}

// empty removes all that is in a directory and on its file system.
func empty(dir int) error {
	var root unix.Stat_t
	if err := unix.Fstat(dir, &root); err != nil {
		return err
	}
	f := os.NewFile(uintptr(dup(dir)), "/")
	if f == nil {
		return syscall.EMFILE
	}
	names, err := f.Readdirnames(-1)
	errs := []error{err, f.Close()}
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Dev != root.Dev {
			continue
		}
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			flags = unix.AT_REMOVEDIR
			sub, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			errs = append(errs, empty(sub), unix.Close(sub))
		}
		if err := unix.Unlinkat(dir, name, flags); err != nil && !errors.Is(err, syscall.EBUSY) {
			errs = append(errs, fmt.Errorf("remove %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func dup(fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return n
}
