// Package peercred tells which process is at the other end of a unix socket.
//
// The kernel keeps the credentials of the process that connected (unix(7), SO_PEERCRED): they cannot be forged, and stay what
// they were if that process gives the socket to another or ends. A process number can then belong to another process: look it up
// when the connection is made, not later.
//
// Linux only; anything may import the package that may import internal/sys.
package peercred

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// Credentials are those of a process, as this process's namespaces show them.
type Credentials struct {
	PID      int32 // 0 if it is of a pid namespace that is not seen from here
	UID, GID uint32
}

// Of returns the credentials of the process that connected to c, or, for a client, of the one that listens.
func Of(c *net.UnixConn) (Credentials, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials of a peer: %w", err)
	}
	var cred *unix.Ucred
	var cerr error
	err = raw.Control(func(fd uintptr) { cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err == nil {
		err = cerr
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("read the credentials of a peer: %w", err)
	}
	return Credentials{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
