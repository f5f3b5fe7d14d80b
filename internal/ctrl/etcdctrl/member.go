package etcdctrl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/etcdop"
	"talos.internal/resource/etcd"
	"talos.internal/resource/service"
	"talos.internal/state"
)

// serviceInput is the input of healthy.
func serviceInput() controller.Input { return controller.Weak[service.Service]().Named(ServiceID) }

// healthy reports whether etcd's service says so.
func healthy(ctx context.Context, rt controller.Runtime) (running, healthy bool, err error) {
	s, ok, err := state.Find[service.Service](ctx, rt, ServiceID)
	return ok && s.Running, ok && s.Running && s.Healthy, err
}

// again calls work for each change of an input, and some time after a call that says that it is not done.
func again(ctx context.Context, rt controller.Runtime, pause time.Duration, work func(context.Context) (done bool, err error)) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-timer.C:
		}
		done, err := work(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
		if done {
			timer.Stop()
		} else {
			timer.Reset(pause)
		}
	}
}

// MemberController says which member of etcd this node is.
type MemberController struct{ Operator etcdop.Operator }

// Name implements [controller.Controller].
func (MemberController) Name() string { return "etcd.MemberController" }

// Inputs implements [controller.Controller].
func (MemberController) Inputs() []controller.Input {
	return []controller.Input{serviceInput(), controller.DestroyReady[etcd.Member]()}
}

// Outputs implements [controller.Controller].
func (MemberController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[etcd.Member]()}
}

// Run implements [controller.Controller].
func (c MemberController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return again(ctx, rt, 5*time.Second, func(ctx context.Context) (bool, error) {
		running, ok, err := healthy(ctx, rt)
		if err != nil {
			return false, err
		}
		if !running {
			return true, remove[etcd.Member](ctx, rt)
		}
		if !ok {
			return true, nil // what was known stays true
		}
		s, err := c.Operator.Status(ctx)
		if err != nil {
			return false, err
		}
		return true, state.Put(ctx, rt, etcd.MemberID, etcd.Member{ID: fmt.Sprintf("%016x", s.MemberID)})
	})
}

// AdvertisedPeerController tells the cluster when this node is reached at other addresses than before.
type AdvertisedPeerController struct{ Operator etcdop.Operator }

// Name implements [controller.Controller].
func (AdvertisedPeerController) Name() string { return "etcd.AdvertisedPeerController" }

// Inputs implements [controller.Controller].
func (AdvertisedPeerController) Inputs() []controller.Input {
	return []controller.Input{
		serviceInput(),
		controller.Weak[etcd.PKIStatus]().Named(etcd.PKIStatusID),
		controller.Weak[etcd.Spec]().Named(etcd.SpecID),
	}
}

// Outputs implements [controller.Controller].
func (AdvertisedPeerController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c AdvertisedPeerController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return again(ctx, rt, 10*time.Second, func(ctx context.Context) (bool, error) {
		spec, wanted, err := state.Find[etcd.Spec](ctx, rt, etcd.SpecID)
		if err != nil {
			return false, err
		}
		_, ok, err := healthy(ctx, rt)
		if err != nil || !ok || !wanted {
			return true, err
		}
		status, err := c.Operator.Status(ctx)
		if err != nil {
			return false, err
		}
		if status.Learner {
			return false, nil // a learner knows no list; it votes soon
		}
		members, err := c.Operator.Members(ctx, false)
		if err != nil {
			return false, err
		}
		want := peerURLs(spec)
		slices.Sort(want)
		for _, m := range members {
			have := slices.Sorted(slices.Values(m.PeerURLs))
			if m.ID != status.MemberID || slices.Equal(have, want) {
				continue
			}
			log.Info("etcd is told that this node is reached elsewhere now", "before", have, "now", want)
			return true, c.Operator.UpdatePeerURLs(ctx, m.ID, want)
		}
		return true, nil
	})
}

// PromotionController makes this node a voting member as soon as it has caught up.
type PromotionController struct{ Operator etcdop.Operator }

// Name implements [controller.Controller].
func (PromotionController) Name() string { return "etcd.PromotionController" }

// Inputs implements [controller.Controller].
func (PromotionController) Inputs() []controller.Input {
	return append(endpointInputs(), serviceInput())
}

// Outputs implements [controller.Controller].
func (PromotionController) Outputs() []controller.Output { return nil }

// Run implements [controller.Controller].
func (c PromotionController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return again(ctx, rt, time.Second, func(ctx context.Context) (bool, error) {
		_, ok, err := healthy(ctx, rt)
		if err != nil || !ok {
			return true, err
		}
		s, err := c.Operator.Status(ctx)
		if err != nil || !s.Learner {
			return err == nil, err
		}
		endpoints, err := endpointsOf(ctx, rt)
		if err != nil {
			return false, err
		}
		if len(endpoints) == 0 {
			return true, nil // until another address of the control plane is known
		}
		err = c.Operator.Promote(ctx, endpoints)
		if errors.Is(err, etcdop.ErrNotInSync) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		log.Info("this node votes in etcd now", "member", fmt.Sprintf("%016x", s.MemberID))
		return true, nil
	})
}
