package node

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/api/machinepb"
	"talos.internal/internal/ctrl/etcdctrl"
	"talos.internal/internal/etcdop"
	"talos.internal/internal/server"
	"talos.internal/state"
)

// etcdMember is the node's member of etcd as the API acts on it: orders go through the door to the service, everything else to
// the member that runs.
type etcdMember struct {
	state state.Reader
	door  *etcdctrl.Door
	op    etcdop.Operator
}

var _ server.Etcd = etcdMember{}

// etcdCauses are the codes of the errors of etcd's packages; what is not among them is as the server has it.
var etcdCauses = []struct {
	err  error
	code codes.Code
}{
	{etcdctrl.ErrNotControlPlane, codes.FailedPrecondition},
	{etcdctrl.ErrClock, codes.FailedPrecondition},
	{etcdctrl.ErrBootstrapped, codes.AlreadyExists},
	{etcdctrl.ErrNoSnapshot, codes.FailedPrecondition},
	{etcdop.ErrNotFound, codes.NotFound},
	{etcdop.ErrQuorum, codes.FailedPrecondition},
	{etcdop.ErrLastMember, codes.FailedPrecondition},
}

// etcdError gives an error of etcd the code that a caller is to see. What says that nobody is there is no fault of the call.
func etcdError(err error) error {
	if err == nil {
		return nil
	}
	for _, c := range etcdCauses {
		if errors.Is(err, c.err) {
			return status.Error(c.code, err.Error())
		}
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return status.Error(codes.FailedPrecondition, "etcd of this node cannot be asked: "+err.Error())
}

// Bootstrap implements server.Etcd.
func (e etcdMember) Bootstrap(ctx context.Context, recoverSnapshot, skipHashCheck bool) error {
	return etcdError(e.door.Bootstrap(ctx, e.state, etcdctrl.Order{Recover: recoverSnapshot, SkipHashCheck: skipHashCheck}))
}

// Recover implements server.Etcd.
func (e etcdMember) Recover(_ context.Context, r io.Reader) error { return e.door.SaveSnapshot(r) }

// Snapshot implements server.Etcd.
func (e etcdMember) Snapshot(ctx context.Context, w io.Writer) error {
	return etcdError(e.op.Snapshot(ctx, w))
}

// Members implements server.Etcd.
func (e etcdMember) Members(ctx context.Context, local bool) ([]*machinepb.EtcdMember, error) {
	members, err := e.op.Members(ctx, local)
	if err != nil {
		return nil, etcdError(err)
	}
	var out []*machinepb.EtcdMember
	for _, m := range members {
		out = append(out, &machinepb.EtcdMember{
			Id: m.ID, Hostname: m.Name, PeerUrls: m.PeerURLs, ClientUrls: m.ClientURLs, IsLearner: m.Learner,
		})
	}
	return out, nil
}

// RemoveMember implements server.Etcd.
func (e etcdMember) RemoveMember(ctx context.Context, id uint64) error {
	return etcdError(e.op.Remove(ctx, id))
}

// Leave implements server.Etcd.
func (e etcdMember) Leave(ctx context.Context) error { return etcdError(e.door.Leave(ctx, e.op)) }

// ForfeitLeadership implements server.Etcd.
func (e etcdMember) ForfeitLeadership(ctx context.Context) (string, error) {
	name, err := e.op.ForfeitLeadership(ctx)
	return name, etcdError(err)
}

func alarmsOf(alarms []etcdop.Alarm, err error) ([]*machinepb.EtcdMemberAlarm, error) {
	if err != nil {
		return nil, etcdError(err)
	}
	var out []*machinepb.EtcdMemberAlarm
	for _, a := range alarms {
		out = append(out, &machinepb.EtcdMemberAlarm{MemberId: a.MemberID, Alarm: machinepb.EtcdMemberAlarm_AlarmType(a.Type)})
	}
	return out, nil
}

// Alarms implements server.Etcd.
func (e etcdMember) Alarms(ctx context.Context) ([]*machinepb.EtcdMemberAlarm, error) {
	return alarmsOf(e.op.Alarms(ctx))
}

// DisarmAlarms implements server.Etcd.
func (e etcdMember) DisarmAlarms(ctx context.Context) ([]*machinepb.EtcdMemberAlarm, error) {
	return alarmsOf(e.op.DisarmAlarms(ctx))
}

// Defragment implements server.Etcd.
func (e etcdMember) Defragment(ctx context.Context) error { return etcdError(e.op.Defragment(ctx)) }

// Status implements server.Etcd.
func (e etcdMember) Status(ctx context.Context) (*machinepb.EtcdMemberStatus, error) {
	s, err := e.op.Status(ctx)
	if err != nil {
		return nil, etcdError(err)
	}
	return &machinepb.EtcdMemberStatus{
		StorageVersion: s.StorageVersion, MemberId: s.MemberID, ProtocolVersion: s.Version,
		DbSize: s.DBSize, DbSizeInUse: s.DBSizeInUse, Leader: s.Leader,
		RaftIndex: s.RaftIndex, RaftTerm: s.RaftTerm, RaftAppliedIndex: s.RaftAppliedIndex,
		Errors: s.Errors, IsLearner: s.Learner,
	}, nil
}

func (e etcdMember) downgrade(ctx context.Context, a etcdop.DowngradeAction, version string) (*machinepb.EtcdClusterDowngrade, error) {
	cluster, err := e.op.Downgrade(ctx, a, version)
	if err != nil {
		return nil, etcdError(err)
	}
	return &machinepb.EtcdClusterDowngrade{ClusterVersion: cluster}, nil
}

// DowngradeValidate implements server.Etcd.
func (e etcdMember) DowngradeValidate(ctx context.Context, version string) (*machinepb.EtcdClusterDowngrade, error) {
	return e.downgrade(ctx, etcdop.DowngradeValidate, version)
}

// DowngradeEnable implements server.Etcd.
func (e etcdMember) DowngradeEnable(ctx context.Context, version string) (*machinepb.EtcdClusterDowngrade, error) {
	return e.downgrade(ctx, etcdop.DowngradeEnable, version)
}

// DowngradeCancel implements server.Etcd.
func (e etcdMember) DowngradeCancel(ctx context.Context) (*machinepb.EtcdClusterDowngrade, error) {
	return e.downgrade(ctx, etcdop.DowngradeCancel, "")
}
