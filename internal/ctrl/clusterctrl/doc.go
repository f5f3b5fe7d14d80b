// Package clusterctrl says who this machine is, what it tells the others of its cluster, and who belongs to it.
//
// What the machine hears of others, from discovery services or Kubernetes, are affiliates in the namespace cluster-raw, each with the
// source before its id ("service/…"); others than this package write them there. They are merged into one for each machine, the local
// machine says what it is itself, and from all of them follow the members and the addresses of the control plane.
//
// The composition of the node imports this package.
package clusterctrl

import (
	"crypto/rand"
	"io"

	"talos.internal/controller"
	"talos.internal/resource/runtime"
)

// Deps is what the controllers need from outside of the state.
type Deps struct {
	// StateDir is where the identity is kept, in the file node-identity.yaml. As long as it does not exist there is no identity.
	StateDir string
	// Volumes says that StateDir is a volume that the controllers of disks mount.
	Volumes bool
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
		NodeIdentityController{Dir: deps.StateDir, Rand: random, Volumes: deps.Volumes},
		InfoController{},
		ConfigController{},
		LocalAffiliateController{OperatingSystem: deps.Version.Name + " (" + deps.Version.Version + ")"},
		AffiliateMergeController{},
		MemberController{},
		EndpointController{},
	}
}
