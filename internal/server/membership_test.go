package server

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"talos.internal/api/membershippb"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/etcdop"
)

// removing is a Members that removes one machine.
type removing struct{ asked []discoveryctrl.Removal }

func (r *removing) Remove(_ context.Context, what discoveryctrl.Removal, say func(discoveryctrl.Step) error) error {
	r.asked = append(r.asked, what)
	switch what.Member {
	case "gone":
		if err := say(discoveryctrl.Step{Name: "etcd", Message: "it is a worker"}); err != nil {
			return err
		}
		return say(discoveryctrl.Step{Name: "membership", Message: "bad \xff text", Failed: true})
	case "alive":
		return fmt.Errorf("remove alive: %w", discoveryctrl.ErrAlive)
	case "needed":
		return fmt.Errorf("remove needed: etcd: %w", etcdop.ErrQuorum)
	}
	return fmt.Errorf("remove %s: %w", what.Member, discoveryctrl.ErrNoMember)
}

func TestForgetTellsEachStep(t *testing.T) {
	m := &removing{}
	r := newRig(t, func(r *rig) { full(r); controlPlane(t)(r); r.deps.Members = m })
	c := membershippb.NewMembershipServiceClient(r.conn)
	out, err := receive(c.Forget(as(t, admin), &membershippb.ForgetRequest{Member: "gone", Force: true, DrainTimeout: durationpb.New(-1)}))
	if err != nil || len(out) != 2 || out[0].GetStep() != "etcd" || !out[1].GetFailed() || out[1].GetMessage() != "bad \uFFFD text" {
		t.Errorf("Forget = %v, %v; want two steps", out, err)
	}
	if want := (discoveryctrl.Removal{Member: "gone", Force: true, Drain: -1}); len(m.asked) != 1 || m.asked[0] != want {
		t.Errorf("asked for %+v; want %+v", m.asked, want)
	}
	for _, tc := range []struct {
		in   *membershippb.ForgetRequest
		want codes.Code
	}{
		{&membershippb.ForgetRequest{Member: "alive"}, codes.FailedPrecondition},
		{&membershippb.ForgetRequest{Member: "needed"}, codes.FailedPrecondition},
		{&membershippb.ForgetRequest{Member: "unknown"}, codes.NotFound},
		{&membershippb.ForgetRequest{}, codes.InvalidArgument},
		{&membershippb.ForgetRequest{Member: "gone", DrainTimeout: durationpb.New(2 * time.Hour)}, codes.InvalidArgument},
	} {
		_, err := receive(c.Forget(as(t, admin), tc.in))
		wantCode(t, tc.in.String(), err, tc.want)
	}
	_, err = receive(c.Forget(as(t, operator), &membershippb.ForgetRequest{Member: "gone"}))
	wantCode(t, "an operator", err, codes.PermissionDenied)

	lacking := membershippb.NewMembershipServiceClient(newRig(t, func(r *rig) { full(r); controlPlane(t)(r) }).conn)
	_, err = receive(lacking.Forget(as(t, admin), &membershippb.ForgetRequest{Member: "gone"}))
	wantCode(t, "a node without members", err, codes.Unimplemented)
}
