package discoveryctrl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/discovery"
	"talos.internal/internal/etcdop"
	"talos.internal/resource"
	"talos.internal/resource/cluster"
	"talos.internal/resource/machineconfig"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

// world is what a removal acts on. It notes what was done.
type world struct {
	members                       []etcdop.Member
	etcd, drain, deletion, forget error
	done                          []string
}

func (w *world) note(what string, err error) error {
	if err == nil {
		w.done = append(w.done, what)
	}
	return err
}

func (w *world) Members(context.Context, bool) ([]etcdop.Member, error) { return w.members, nil }
func (w *world) Remove(_ context.Context, id uint64) error {
	return w.note(fmt.Sprintf("etcd %x", id), w.etcd)
}
func (w *world) Drain(ctx context.Context, name string, _ bool) error {
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("no deadline")
	}
	return w.note("drain "+name, w.drain)
}
func (w *world) Delete(_ context.Context, name string) error {
	return w.note("delete "+name, w.deletion)
}
func (w *world) Forget(_ context.Context, id string) error { return w.note("forget "+id, w.forget) }

func TestRemove(t *testing.T) {
	st := memstate.New(memstate.Options{})
	put := func(id string, s cluster.Member) {
		t.Helper()
		if _, err := state.Modify(t.Context(), st, id, func(_ *resource.Metadata, m *cluster.Member) error { *m = s; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := state.Modify(t.Context(), st, cluster.IdentityID, func(_ *resource.Metadata, i *cluster.Identity) error { i.NodeID = "id-1"; return nil }); err != nil {
		t.Fatal(err)
	}
	addr := func(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }
	put("cp-1", cluster.Member{NodeID: "id-1", Hostname: "cp-1", MachineType: machineconfig.TypeControlPlane, Addresses: addr("10.5.0.1"), State: cluster.MemberAlive})
	put("cp-2", cluster.Member{NodeID: "id-2", Hostname: "cp-2.example.org", MachineType: machineconfig.TypeControlPlane, Addresses: addr("10.5.0.2"), State: cluster.MemberGone})
	put("cp-3", cluster.Member{NodeID: "id-3", Hostname: "cp-3", MachineType: machineconfig.TypeControlPlane, Addresses: addr("10.5.0.3"), State: cluster.MemberGone})
	put("w-1", cluster.Member{NodeID: "id-4", Hostname: "w-1", MachineType: machineconfig.TypeWorker, Addresses: addr("10.5.0.4"), State: cluster.MemberGone})
	put("w-2", cluster.Member{NodeID: "id-5", Hostname: "w-2", MachineType: machineconfig.TypeWorker, State: cluster.MemberSuspect})
	put("w-3", cluster.Member{NodeID: "id-6", Hostname: "w-3", MachineType: machineconfig.TypeWorker, State: cluster.MemberAlive})
	members := []etcdop.Member{
		{ID: 1, Name: "cp-1", PeerURLs: []string{"https://10.5.0.1:2380"}},
		{ID: 2, Name: "cp-2", PeerURLs: []string{"https://10.5.0.2:2380"}},
		{ID: 9, Name: "cp-3", PeerURLs: []string{"https://10.5.0.9:2380"}}, // of another life of that name, at another address
	}
	broken := errors.New("broken")
	for _, tc := range []struct {
		name  string
		world world
		what  Removal
		done  string
		steps int
		err   error
		says  string
	}{
		{"a worker that is gone", world{}, Removal{Member: "w-1"}, "drain w-1, delete w-1, forget id-4", 3, nil, ""},
		{"by address", world{}, Removal{Member: "10.5.0.4"}, "drain w-1, delete w-1, forget id-4", 3, nil, ""},
		{"by node id, without a drain", world{}, Removal{Member: "id-4", Drain: -1}, "delete w-1, forget id-4", 3, nil, ""},
		{"of the control plane, by host name", world{}, Removal{Member: "cp-2.example.org"}, "etcd 2, drain cp-2, delete cp-2, forget id-2", 3, nil, ""},
		{"of the control plane, not in etcd", world{}, Removal{Member: "cp-3"}, "drain cp-3, delete cp-3, forget id-3", 3, nil, ""},
		{"etcd has removed it meanwhile", world{etcd: etcdop.ErrNotFound}, Removal{Member: "cp-2"}, "drain cp-2, delete cp-2, forget id-2", 3, nil, ""},
		{"no quorum without it: nothing happens", world{etcd: etcdop.ErrQuorum}, Removal{Member: "cp-2"}, "", 0, etcdop.ErrQuorum, "cp-2"},
		{"no quorum, forced", world{etcd: etcdop.ErrQuorum}, Removal{Member: "cp-2", Force: true}, "drain cp-2, delete cp-2, forget id-2", 3, nil, ""},
		{"the drain does not end", world{drain: context.DeadlineExceeded}, Removal{Member: "w-1"}, "delete w-1, forget id-4", 3, nil, ""},
		{"Kubernetes does not answer: it stays a member, to be asked for again", world{deletion: broken}, Removal{Member: "w-1"}, "drain w-1", 1, broken, "kubernetes"},
		{"discovery has forgotten it meanwhile", world{forget: discovery.ErrUnknownNode}, Removal{Member: "w-1"}, "drain w-1, delete w-1", 3, nil, ""},
		{"no discovery", world{forget: ErrNoDiscovery}, Removal{Member: "w-1"}, "drain w-1, delete w-1", 2, ErrNoDiscovery, "membership"},
		{"alive", world{}, Removal{Member: "w-3"}, "", 0, ErrAlive, "it is alive"},
		{"suspect", world{}, Removal{Member: "w-2"}, "", 0, ErrAlive, "ten seconds"},
		{"alive, forced", world{}, Removal{Member: "w-3", Force: true}, "drain w-3, delete w-3, forget id-6", 3, nil, ""},
		{"unknown", world{}, Removal{Member: "w-9", Force: true}, "", 0, ErrNoMember, "get members"},
		{"itself", world{}, Removal{Member: "cp-1", Force: true}, "", 0, ErrItself, "reset"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := tc.world
			w.members = members
			var steps []Step
			err := Remover{State: st, Discovery: &w, Etcd: &w, Nodes: &w}.Remove(t.Context(), tc.what, func(s Step) error {
				steps = append(steps, s)
				return nil
			})
			if !errors.Is(err, tc.err) || (err != nil && !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("Remove = %v; want %v, with %q", err, tc.err, tc.says)
			}
			if d := cmp.Diff(tc.done, strings.Join(w.done, ", ")); d != "" {
				t.Errorf("done (-want +got):\n%s", d)
			}
			if len(steps) != tc.steps && tc.err == nil {
				t.Errorf("steps %+v; want %d", steps, tc.steps)
			}
		})
	}
}

func TestRemoveEndsWithItsContext(t *testing.T) {
	st := memstate.New(memstate.Options{})
	for id, spec := range map[string]cluster.Member{"w": {NodeID: "id", Hostname: "w", MachineType: machineconfig.TypeWorker, State: cluster.MemberGone}} {
		if _, err := state.Modify(t.Context(), st, id, func(_ *resource.Metadata, m *cluster.Member) error { *m = spec; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := state.Modify(t.Context(), st, cluster.IdentityID, func(_ *resource.Metadata, i *cluster.Identity) error { i.NodeID = "me"; return nil }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	w := &slow{}
	err := Remover{State: st, Discovery: &w.world, Etcd: &w.world, Nodes: w}.Remove(ctx, Removal{Member: "w", Force: true}, func(Step) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) || len(w.done) > 0 {
		t.Errorf("Remove = %v after %v; want the end of its context, and nothing done", err, w.done)
	}
}

// slow drains without end.
type slow struct{ world }

func (s *slow) Drain(ctx context.Context, _ string, _ bool) error { <-ctx.Done(); return ctx.Err() }
func (s *slow) Delete(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.world.Delete(ctx, name)
}

func TestARemovalWaitsForTheListOfMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memstate.New(memstate.Options{})
		for _, err := range []error{
			state.Put(t.Context(), st, cluster.IdentityID, cluster.Identity{NodeID: "id-self"}),
			state.Put(t.Context(), st, "w", cluster.Member{NodeID: "id-w", Hostname: "w", MachineType: machineconfig.TypeWorker, State: cluster.MemberGone}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		var messages []string
		remove := func() time.Duration {
			start := time.Now()
			err := Remover{State: st, Discovery: &world{}, Settle: 5 * time.Second}.Remove(t.Context(), Removal{Member: "w"}, func(s Step) error {
				messages = append(messages, s.Message)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		if took := remove(); took != 5*time.Second || messages[len(messages)-1] != "it was forgotten; this node's list of members still has it" {
			t.Errorf("with a list that does not change: %v after %v", messages, took)
		}
		go func() {
			time.Sleep(time.Second)
			if err := state.Destroy[cluster.Member](t.Context(), st, "w"); err != nil {
				t.Error(err)
			}
		}()
		if took := remove(); took != time.Second || messages[len(messages)-1] != "it was forgotten" {
			t.Errorf("with a list that changes after a second: %v after %v", messages, took)
		}
	})
}
