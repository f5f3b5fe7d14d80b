package server

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/client/talosconfig"
	"talos.internal/config/kubedoc"
	"talos.internal/config/schema"
	"talos.internal/internal/effective"
	"talos.internal/internal/server/hostinfo"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// clientRoles are those that a certificate for a person may carry. The others are for callers on a node.
var clientRoles = []string{secret.RoleAdmin, secret.RoleOperator, secret.RoleReader, secret.RoleEtcdBackup}

// GenerateClientConfiguration implements machinepb.MachineServiceServer. Without a time to live the certificate has that of an
// administrator's.
func (m *machineService) GenerateClientConfiguration(ctx context.Context, in *machinepb.GenerateClientConfigurationRequest) (*machinepb.GenerateClientConfigurationResponse, error) {
	wanted, ttl, err := checkClient(in)
	if err != nil {
		return nil, err
	}
	if err := m.d.controlPlane(ctx, "client certificates can be made"); err != nil {
		return nil, err
	}
	root, err := state.Get[secrets.OSRoot](ctx, m.d.State, secrets.OSRootID)
	if errors.Is(err, state.NotFound) || err == nil && root.Spec().IssuingCA == nil {
		return nil, status.Error(codes.FailedPrecondition, "client certificates cannot be made yet: the authority of the machine API is not there")
	}
	if err != nil {
		return nil, err
	}
	now := time.Now()
	issuing := root.Spec().IssuingCA
	authority, err := secret.ParseAuthority(issuing.Crt, issuing.Key)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the machine API: %w", err)
	}
	pair, err := authority.Issue(secret.OSClient(wanted, ttl), now)
	if errors.Is(err, secret.ErrClock) {
		return nil, status.Errorf(codes.FailedPrecondition, "make a client certificate: %v", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make a client certificate: %w", err)
	}
	ca := acceptedAuthorities(root.Spec())

	name, err := m.clusterName(ctx)
	if err != nil {
		return nil, err
	}
	file := &talosconfig.Config{Context: name, Contexts: map[string]*talosconfig.Context{
		name: talosconfig.NewContext(m.endpoints(ctx), nil, ca, pair),
	}}
	text, err := file.Marshal()
	if err != nil {
		return nil, fmt.Errorf("write a talosconfig: %w", err)
	}
	return &machinepb.GenerateClientConfigurationResponse{Messages: []*machinepb.GenerateClientConfiguration{{
		Ca: ca, Crt: pair.CertificatePEM(), Key: pair.Key().PEM(), Talosconfig: text,
	}}}, nil
}

func checkClient(in *machinepb.GenerateClientConfigurationRequest) (roles []string, ttl time.Duration, err error) {
	if len(in.GetRoles()) == 0 {
		return nil, 0, invalid("a client certificate without roles can do nothing; roles are %s", strings.Join(clientRoles, ", "))
	}
	for _, r := range in.GetRoles() {
		if !slices.Contains(clientRoles, r) {
			return nil, 0, invalid("%q is no role of a client; roles are %s", r, strings.Join(clientRoles, ", "))
		}
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	ttl = secret.ClientTTL
	if d := in.GetCrtTtl(); d != nil && (d.GetSeconds() != 0 || d.GetNanos() != 0) {
		if ttl = d.AsDuration(); !d.IsValid() || ttl < time.Second || ttl > secret.AuthorityTTL {
			return nil, 0, invalid("a client certificate lives from one second to %v", secret.AuthorityTTL)
		}
	}
	return roles, ttl, nil
}

// acceptedAuthorities returns the authorities that a client should believe, that which signs first.
func acceptedAuthorities(root secrets.OSRoot) []byte {
	out := slices.Clone([]byte(root.IssuingCA.Crt))
	for _, c := range root.AcceptedCAs {
		if string(c.Crt) != string(root.IssuingCA.Crt) {
			out = append(out, c.Crt...)
		}
	}
	return out
}

func (m *machineService) clusterName(ctx context.Context) (string, error) {
	c, err := effective.Get(ctx, m.d.State)
	if err != nil || c == nil {
		return "", err
	}
	if doc, ok := schema.Find[*kubedoc.KubeClusterConfig](c.Set); ok && doc.ClusterName != "" {
		return doc.ClusterName, nil
	}
	return "talos", nil
}

// endpoints are the addresses of this node that others can reach it by, as far as is known.
func (m *machineService) endpoints(ctx context.Context) []string {
	a, err := state.Get[network.NodeAddress](ctx, m.d.State, network.NodeAddressRouted)
	if err != nil {
		return nil
	}
	var out []string
	for _, p := range a.Spec().Addresses {
		out = append(out, p.Addr().String())
	}
	return out
}

// Kubeconfig implements machinepb.MachineServiceServer.
func (m *machineService) Kubeconfig(_ *emptypb.Empty, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	ctx := stream.Context()
	if err := m.d.controlPlane(ctx, "a kubeconfig can be made"); err != nil {
		return err
	}
	k, err := state.Get[secrets.Kubernetes](ctx, m.d.State, secrets.KubernetesID)
	if errors.Is(err, state.NotFound) || err == nil && k.Spec().AdminKubeconfig == "" {
		return status.Error(codes.FailedPrecondition, "the kubeconfig is not there yet: the certificates of Kubernetes have not been made")
	}
	if err != nil {
		return err
	}
	return archive(hostinfo.Chunks{Stream: stream}, "kubeconfig", []byte(k.Spec().AdminKubeconfig), time.Now())
}

// archive writes a tar.gz with one file.
func archive(w io.Writer, name string, data []byte, now time.Time) error {
	zip := gzip.NewWriter(w)
	t := tar.NewWriter(zip)
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o600, ModTime: now}); err != nil {
		return err
	}
	if _, err := t.Write(data); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	return zip.Close()
}
