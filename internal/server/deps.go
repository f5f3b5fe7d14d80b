package server

import (
	"context"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"talos.internal/api/clusterpb"
	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/storagepb"
	"talos.internal/config/schema"
	"talos.internal/controller/graph"
	"talos.internal/internal/ctrl/discoveryctrl"
	"talos.internal/internal/event"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
	"talos.internal/resource"
	"talos.internal/state"
)

// Deps are the parts of a node that the API acts on. Those of the first group are required; all are safe for concurrent use.
type Deps struct {
	// State is the whole state; the server puts its policy before it. Registry knows its types.
	State    state.State
	Registry *resource.Registry
	// Supervisor runs the services, Logs has what they said, Events what happened.
	Supervisor Supervisor
	Logs       *logring.Set
	Events     *event.Stream
	// ServiceOf tells which service a process belongs to, or false. It is asked once for each connection, when it is made, and
	// must find the service by the number that the supervisor gave, not by anything that the process says of itself.
	ServiceOf func(pid int32, uid uint32) (service string, ok bool)
	// Configs has the machine config.
	Configs Configs
	// Lifecycle ends what the machine does now.
	Lifecycle Lifecycle
	// Capabilities says what the mode lacks.
	Capabilities Capabilities
	// Graph gives what depends on what among controllers.
	Graph Graph

	// Mode is the mode whose rules hold for a config; Platform and PlatformMode are what Version says.
	Mode         schema.Mode
	Platform     string
	PlatformMode string
	// Maintenance says whether the machine has no config yet and waits for one; nil means never.
	Maintenance func() bool
	// Root is put before every path that is read; empty means "/".
	Root string
	// Logger takes calls that change something, and panics; nil means none.
	Logger *slog.Logger
	// QueryTime asks a time server; nil means with NTP.
	QueryTime TimeQuery

	// Parts that a node may lack: nil.
	Etcd       Etcd
	Containers Containers
	Images     Images
	Installer  Installer
	Debug      Debug
	Health     Health
	Meta       Meta
	Disks      Disks
	// Members takes machines out of the cluster; a control-plane node has it.
	Members Members
}

// Members takes machines out of the cluster. discoveryctrl.Remover implements it.
type Members interface {
	// Remove tells say of each step, and returns why the machine is not removed.
	Remove(ctx context.Context, what discoveryctrl.Removal, say func(discoveryctrl.Step) error) error
}

// Supervisor runs services. *supervise.Supervisor implements it.
type Supervisor interface {
	List() []supervise.Status
	Status(id string) (supervise.Status, error)
	Start(ids ...string) error
	Stop(ctx context.Context, ids ...string) error
	Restart(ctx context.Context, id string) error
}

// Graph gives what depends on what. *controller.Scheduler implements it.
type Graph interface {
	Graph() []graph.Edge
}

// Configs has the machine config of the node. Texts are those that were sent, valid, and not empty. An error says that nothing
// changed.
type Configs interface {
	// Active returns the config that the machine acts on; false if there is none yet.
	Active(ctx context.Context) (text string, ok bool)
	// Apply makes the config active, and with persist the one of the next start, too. It ends a Try that is under way.
	Apply(ctx context.Context, text string, persist bool) error
	// Stage makes it the config of the next start alone.
	Stage(ctx context.Context, text string) error
	// Try makes it active, and after d the one before it again, unless Apply was called meanwhile. It returns at once.
	Try(ctx context.Context, text string, d time.Duration) error
}

// Action is an end of what the machine does now.
type Action string

// The actions. Each is the name of the capability that it needs, too.
const (
	Reboot   Action = "reboot"
	Shutdown Action = "shutdown"
	Reset    Action = "reset"
	Upgrade  Action = "upgrade"
	Rollback Action = "rollback"
)

// Names of capabilities other than those of actions.
const (
	CapabilityMeta    = "meta"
	CapabilityInstall = "install"
	CapabilityDisks   = "disks"
)

// Cause is why the machine is to end what it does, and how. Of the requests at most that of the action is set.
type Cause struct {
	Action Action
	// Actor is the id under which the caller finds the events that come of it. It is never empty.
	Actor    string
	Reboot   *machinepb.RebootRequest
	Shutdown *machinepb.ShutdownRequest
	Reset    *machinepb.ResetRequest
	Upgrade  *machinepb.UpgradeRequest
}

// Lifecycle ends what the machine does now.
type Lifecycle interface {
	// Request orders it and returns at once: with an error if it will not be done, such as one that is already under way
	// (a status FailedPrecondition).
	Request(ctx context.Context, c Cause) error
}

// Capabilities says what the machine can do in its mode.
type Capabilities interface {
	// Capable returns nil, or why the mode lacks the feature, as a person should read it. The features are the actions and the
	// names of capabilities of this package. One that the table does not know is lacking.
	Capable(feature string) error
}

// Meta is the partition of that name: values by key.
type Meta interface {
	Write(ctx context.Context, key uint8, value []byte) error
	// Delete returns an error that wraps fs.ErrNotExist if there is no such key.
	Delete(ctx context.Context, key uint8) error
}

// Etcd is the node's member of etcd and the cluster that it belongs to. Where there is no member now, methods return a status
// FailedPrecondition.
type Etcd interface {
	// Bootstrap makes the first member: from nothing, or from the snapshot that Recover brought.
	Bootstrap(ctx context.Context, recoverSnapshot, skipHashCheck bool) error
	// Recover keeps a snapshot for Bootstrap. It reads all of r, or fails and keeps nothing.
	Recover(ctx context.Context, r io.Reader) error
	Snapshot(ctx context.Context, w io.Writer) error
	// Members lists the members; local without asking a majority.
	Members(ctx context.Context, local bool) ([]*machinepb.EtcdMember, error)
	RemoveMember(ctx context.Context, id uint64) error
	Leave(ctx context.Context) error
	// ForfeitLeadership returns the name of the new leader, empty if this member was none.
	ForfeitLeadership(ctx context.Context) (string, error)
	Alarms(ctx context.Context) ([]*machinepb.EtcdMemberAlarm, error)
	DisarmAlarms(ctx context.Context) ([]*machinepb.EtcdMemberAlarm, error)
	Defragment(ctx context.Context) error
	Status(ctx context.Context) (*machinepb.EtcdMemberStatus, error)
	DowngradeValidate(ctx context.Context, version string) (*machinepb.EtcdClusterDowngrade, error)
	DowngradeEnable(ctx context.Context, version string) (*machinepb.EtcdClusterDowngrade, error)
	DowngradeCancel(ctx context.Context) (*machinepb.EtcdClusterDowngrade, error)
}

// Place is where containers and images are: a namespace of containerd ("system", "k8s.io"), seen through a driver.
type Place struct {
	Namespace string
	Driver    commonpb.ContainerDriver
}

// Containers are those that run here. Errors wrap fs.ErrNotExist for a container that is not there.
type Containers interface {
	List(ctx context.Context, p Place) ([]*machinepb.ContainerInfo, error)
	Stats(ctx context.Context, p Place) ([]*machinepb.Stat, error)
	// Restart ends a container so that who runs it starts it again.
	Restart(ctx context.Context, p Place, id string) error
	// Logs writes what a container said to w: the last tail lines, or all if tail is negative, and with follow what comes,
	// until ctx ends.
	Logs(ctx context.Context, p Place, id string, follow bool, tail int, w io.Writer) error
	// LogIDs lists the containers that have a log.
	LogIDs(ctx context.Context) ([]string, error)
}

// Images are those that containerd has. Errors wrap fs.ErrNotExist for an image that is not there.
type Images interface {
	// List calls f for each image and returns its error.
	List(ctx context.Context, p Place, f func(*machinepb.ImageServiceListResponse) error) error
	// Pull returns the name of the image; progress, which may be nil, is called by one goroutine at a time and its error
	// ends the pull.
	Pull(ctx context.Context, p Place, ref string, progress func(*machinepb.ImageServicePullProgress) error) (string, error)
	// Import reads an archive and returns the name of the image.
	Import(ctx context.Context, p Place, archive io.Reader) (string, error)
	Remove(ctx context.Context, p Place, ref string) error
	Verify(ctx context.Context, in *machinepb.ImageServiceVerifyRequest) (*machinepb.ImageServiceVerifyResponse, error)
}

// Installer runs the installer of an image. say takes a line of what it says; the result is its exit code.
type Installer interface {
	Install(ctx context.Context, p Place, image, disk string, say func(string) error) (int32, error)
	Upgrade(ctx context.Context, p Place, image string, say func(string) error) (int32, error)
}

// Debug runs a container that is thrown away.
type Debug interface {
	Run(stream grpc.BidiStreamingServer[machinepb.DebugContainerRunRequest, machinepb.DebugContainerRunResponse]) error
}

// Health asks whether a cluster works.
type Health interface {
	// Check calls say with what it waits for and what came of it, until all is well or ctx ends. The error is the reason.
	Check(ctx context.Context, cluster *clusterpb.ClusterInfo, say func(string) error) error
}

// Disks changes what is on disks.
type Disks interface {
	Wipe(ctx context.Context, devices []*storagepb.BlockDeviceWipeDescriptor) error
	RemoveLogicalVolume(ctx context.Context, group, volume string) error
	RemoveVolumeGroup(ctx context.Context, group string) error
	RemovePhysicalVolume(ctx context.Context, device string) error
	DestroyArray(ctx context.Context, device string) error
}

// TimeQuery asks a time server, a name or an address with or without a port, for the difference of its clock to ours.
type TimeQuery func(ctx context.Context, server string) (time.Duration, error)
