// Package clusterctrl says who this machine is, what it tells the others of its cluster, and who belongs to it.
//
// What the machine hears of others, from discovery services or Kubernetes, are affiliates in the namespace cluster-raw, each with the
// source before its id ("service/…"); others than this package write them there. They are merged into one for each machine, the local
// machine says what it is itself, and from all of them follow the members and the addresses of the control plane.
//
// The composition of the node imports this package.
package clusterctrl

import (
	"context"
	"crypto/rand"
	"errors"
	"io"

	"talos.internal/controller"
	"talos.internal/resource"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// StateDir is where the identity is kept, in the file node-identity.yaml. As long as it does not exist there is no identity.
	StateDir string
	// Rand is where an identity comes from; nil is crypto/rand.
	Rand io.Reader
	// Version is the system's name and version, which other machines are told.
	Version runtime.Version
}

// Controllers returns the controllers of membership.
func Controllers(deps Deps) []controller.Controller {
	random := deps.Rand
	if random == nil {
		random = rand.Reader
	}
	return []controller.Controller{
		NodeIdentityController{Dir: deps.StateDir, Rand: random},
		InfoController{},
		ConfigController{},
		LocalAffiliateController{OperatingSystem: deps.Version.Name + " (" + deps.Version.Version + ")"},
		AffiliateMergeController{},
		MemberController{},
		EndpointController{},
	}
}

// put makes the resource called id what spec is.
func put[S resource.Spec](ctx context.Context, rt controller.Runtime, id string, spec S) error {
	_, err := state.Modify(ctx, rt, id, func(_ *resource.Metadata, out *S) error {
		*out = spec
		return nil
	})
	return err
}

// find returns the spec of the resource called id, nil if there is none.
func find[S resource.Spec](ctx context.Context, rt controller.Runtime, id string) (*S, error) {
	r, err := state.Get[S](ctx, rt, id)
	if errors.Is(err, state.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return new(r.Spec()), nil
}
