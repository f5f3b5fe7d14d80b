package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/provision"
	"talos.internal/secret"
)

// inOrder fails unless the texts are in the log, one after the other.
func inOrder(t *testing.T, log string, texts ...string) {
	t.Helper()
	rest := log
	for _, want := range texts {
		_, after, ok := strings.Cut(rest, want)
		if !ok {
			t.Errorf("the console has no %q in its place; its end:\n%s", want, log[max(0, len(log)-4000):])
			return
		}
		rest = after
	}
}

func TestShutdown(t *testing.T) {
	l := newLab(t, "e2e-shutdown", 58, options{}).ready()
	admin := l.as(l.control(), secret.RoleAdmin)
	for name, call := range map[string]func() error{
		"Shutdown": func() error {
			_, err := admin.Machine().Shutdown(l.context(), &machinepb.ShutdownRequest{})
			return err
		},
		"Reboot": func() error {
			_, err := admin.Machine().Reboot(l.context(), &machinepb.RebootRequest{})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "container") {
			t.Errorf("%s: %v; want FailedPrecondition, and why: a container is ended by its runtime", name, err)
		}
	}
	start := time.Now()
	if err := l.p.StopNode(l.context(), l.name, l.control().Name); err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	t.Logf("it took %v", took.Round(time.Millisecond))
	if took >= provision.StopTimeout {
		t.Errorf("StopNode took %v: the node was killed", took)
	}
	inOrder(t, l.console(l.control()),
		`msg="told to end"`, `msg="let no service start any more"`, `msg="stop the services in their order"`, `msg="take off what pods and services mounted`,
		`msg="take off the mounts of this start`, `msg="write to the disks`, `msg="end: terminated"`)
}

func TestReset(t *testing.T) {
	l := newLab(t, "e2e-reset", 59, options{workers: 1}).ready()
	c, err := l.p.Reflect(l.context(), l.name)
	if err != nil {
		t.Fatal(err)
	}
	folder := func(n provision.Node, name string) string { return filepath.Join(c.Dir, "nodes", n.Name, name) }
	for _, tc := range []struct {
		name string
		node provision.Node
		in   *machinepb.ResetRequest
		kept []string // of state and var
	}{
		{"all of a worker", l.worker(), &machinepb.ResetRequest{}, nil},
		{"EPHEMERAL of a control plane", l.control(), &machinepb.ResetRequest{
			SystemPartitionsToWipe: []*machinepb.ResetPartitionSpec{{Label: "EPHEMERAL", Wipe: true}},
		}, []string{"state"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := l.on(t)
			mark := filepath.Join(folder(tc.node, "var"), "lib", "mark")
			if err := os.WriteFile(mark, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			admin := l.as(tc.node, secret.RoleAdmin)
			r, err := client.Only(admin.Machine().Reset(l.context(), tc.in))
			if err != nil || r.GetActorId() == "" {
				t.Fatalf("Reset = %v, %v; want an actor", r, err)
			}
			l.until("the end of "+tc.node.Name, func(ctx context.Context) error {
				c, err := l.p.Reflect(ctx, l.name)
				if err != nil {
					return err
				}
				if n, _ := c.Node(tc.node.Name); n.Status != provision.Stopped {
					return fmt.Errorf("it is %s", n.Status)
				}
				return nil
			})
			for _, part := range []string{"state", "var"} {
				left, err := files(folder(tc.node, part))
				if err != nil {
					t.Fatal(err)
				}
				if kept := slices.Contains(tc.kept, part); kept != (len(left) > 0) {
					t.Errorf("%s has %q; want it kept: %t", part, left, kept)
				}
			}
			inOrder(t, l.console(tc.node), `msg="stop the services in their order"`, `msg="wipe EPHEMERAL"`, `msg="end: reset"`)
		})
	}
}

// files lists what is below a folder.
func files(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	return all, err
}
