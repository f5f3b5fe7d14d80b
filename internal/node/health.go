package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// checkTTL is how long the certificate lives with which a node asks the others for their health: longer than a call may take.
const checkTTL = 2 * time.Hour

// clusterClient returns a client of the cluster's machines through this node's own apid, and the name that this node has with it. It
// is an administrator's, with a certificate that is made for it and never leaves the process: some checks ask for what only
// administrators see. Only a control-plane node can make one; another answers FailedPrecondition.
func (n *node) clusterClient() (*client.Client, string, error) {
	ctx := context.Background() // the state is in memory: nothing waits
	root, err := state.Get[secrets.OSRoot](ctx, n.state, secrets.OSRootID)
	if errors.Is(err, state.NotFound) || err == nil && root.Spec().IssuingCA == nil {
		return nil, "", status.Error(codes.FailedPrecondition, "the health of a cluster is asked on control plane nodes alone")
	}
	if err != nil {
		return nil, "", err
	}
	addresses, err := state.Get[network.NodeAddress](ctx, n.state, network.NodeAddressDefault)
	if err != nil || len(addresses.Spec().Addresses) == 0 {
		return nil, "", status.Error(codes.FailedPrecondition, "this node has no address yet")
	}
	self := addresses.Spec().Addresses[0].Addr().String()
	spec := root.Spec()
	authority, err := secret.ParseAuthority(spec.IssuingCA.Crt, spec.IssuingCA.Key)
	if err != nil {
		return nil, "", fmt.Errorf("read the authority of the machine API: %w", err)
	}
	pair, err := authority.Issue(secret.OSClient([]string{secret.RoleAdmin}, checkTTL), time.Now())
	if err != nil {
		return nil, "", fmt.Errorf("make a certificate for asking the cluster: %w", err)
	}
	var accepted []byte
	for _, ca := range spec.AcceptedCAs {
		accepted = append(accepted, ca.Crt...)
	}
	c, err := client.New(client.Options{Context: talosconfig.NewContext([]string{self}, nil, accepted, pair)})
	return c, self, err
}
