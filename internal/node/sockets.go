package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/state"
	"talos.internal/state/stategrpc"
)

// The sockets of a node, below its root (docs/arch/node.md).
const (
	MachineSocket     = "/system/run/machined/machine.sock"
	APIDStateSocket   = "/system/run/apid/runtime.sock"
	TrustdStateSocket = "/system/run/trustd/runtime.sock"
)

// The users of the programs that are not root.
const (
	apidUser   = 50
	trustdUser = 51
)

// listenUnix makes a socket that its owner alone can connect to.
//
// The folder is made for the owner alone before the socket is in it, so there is no moment in which another could connect. A
// socket that is left of an earlier run is replaced.
func listenUnix(ctx context.Context, path string, uid int) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of a socket: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of a socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove an old socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on a socket: %w", err)
	}
	err = errors.Join(os.Chmod(path, 0o600), os.Lchown(path, uid, uid), os.Lchown(dir, uid, uid))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("give %s to user %d: %w", path, uid, err), l.Close())
	}
	return l, nil
}

// onlyRefs allows reading refs, one by one, and nothing else.
func onlyRefs(refs []resource.Ref) state.Policy {
	return func(_ context.Context, a state.Access) error {
		if a.Verb.IsRead() && a.Verb != state.VerbList && slices.Contains(refs, a.Ref) {
			return nil
		}
		return &state.Error{Kind: state.Denied, Op: string(a.Verb), Ref: a.Ref, Detail: "not among what this program may see"}
	}
}

// serveState serves refs of st to one program until ctx ends.
func serveState(ctx context.Context, l net.Listener, st state.State, reg *resource.Registry, refs []resource.Ref) error {
	srv := grpc.NewServer(grpc.MaxConcurrentStreams(64), grpc.ConnectionTimeout(10*time.Second))
	statepb.RegisterStateServer(srv, stategrpc.NewServer(state.Guard(st, onlyRefs(refs)), reg))
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the state on %s: %w", l.Addr(), err)
	}
	return nil
}
