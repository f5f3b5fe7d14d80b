package etcdop

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// AlarmType is why a member raised an alarm. The values are those of etcd's protocol.
type AlarmType int32

// The types of alarms.
const (
	AlarmNone    AlarmType = 0
	AlarmNoSpace AlarmType = 1
	AlarmCorrupt AlarmType = 2
)

// Alarm is an alarm of a member.
type Alarm struct {
	MemberID uint64
	Type     AlarmType
}

// Alarms lists the alarms of all members.
func (o Operator) Alarms(ctx context.Context) ([]Alarm, error) {
	var out []Alarm
	return out, o.with(ctx, "list etcd's alarms", nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.AlarmList(ctx)
		if err == nil {
			out = alarmsOf(r.Alarms)
		}
		return err
	})
}

// DisarmAlarms ends all alarms, and returns which.
func (o Operator) DisarmAlarms(ctx context.Context) ([]Alarm, error) {
	var out []Alarm
	return out, o.with(ctx, "disarm etcd's alarms", nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{})
		if err == nil {
			out = alarmsOf(r.Alarms)
		}
		return err
	})
}

func alarmsOf(list []*etcdserverpb.AlarmMember) []Alarm {
	out := make([]Alarm, 0, len(list))
	for _, a := range list {
		out = append(out, Alarm{MemberID: a.MemberID, Type: AlarmType(a.Alarm)})
	}
	return out
}

// Defragment rewrites the database of this node's member, which answers nothing meanwhile. It takes as long as the database is
// large; ctx is its only limit.
func (o Operator) Defragment(ctx context.Context) error {
	return o.connect(ctx, "defragment etcd", []string{o.local()}, func(ctx context.Context, c *clientv3.Client) error {
		_, err := c.Defragment(ctx, o.local())
		return err
	})
}

// Snapshot writes a consistent copy of the database to w, as this node's member has it. It ends with the SHA-256 of what is before
// it, as etcd's tools have it. ctx is the only limit of its time.
func (o Operator) Snapshot(ctx context.Context, w io.Writer) error {
	return o.connect(ctx, "take a snapshot of etcd", []string{o.local()}, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Snapshot(ctx)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, r)
		return errors.Join(err, r.Close())
	})
}

// DowngradeAction is a step of a downgrade of the storage.
type DowngradeAction int

// The steps.
const (
	DowngradeValidate DowngradeAction = iota
	DowngradeEnable
	DowngradeCancel
)

// Downgrade does a step of a downgrade of the storage to a version such as "3.6", and returns the version of the cluster.
func (o Operator) Downgrade(ctx context.Context, action DowngradeAction, version string) (cluster string, err error) {
	actions := map[DowngradeAction]clientv3.DowngradeAction{
		DowngradeValidate: clientv3.DowngradeValidate, DowngradeEnable: clientv3.DowngradeEnable, DowngradeCancel: clientv3.DowngradeCancel,
	}
	err = o.with(ctx, fmt.Sprintf("downgrade etcd to %s", version), nil, func(ctx context.Context, c *clientv3.Client) error {
		r, err := c.Downgrade(ctx, actions[action], version)
		if err == nil {
			cluster = r.Version
		}
		return err
	})
	return cluster, err
}
