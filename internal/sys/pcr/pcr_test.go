package pcr

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A TPM's device that does not block has read nothing when its answer takes a moment.
func TestTheDeviceBlocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpm")
	if _, err := open(path); !errors.Is(err, ErrNone) {
		t.Errorf("open without a TPM = %v; want %v", err, ErrNone)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil { // a file that can be waited for, as a TPM is
		t.Fatal(err)
	}
	f, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	if err := errors.Join(conn.Control(func(fd uintptr) { flags, err = unix.FcntlInt(fd, unix.F_GETFL, 0) }), err); err != nil {
		t.Fatal(err)
	}
	if flags&unix.O_NONBLOCK != 0 {
		t.Error("the device does not block")
	}
}
