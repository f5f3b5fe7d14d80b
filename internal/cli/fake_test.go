package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/commonpb"
	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/api/statepb"
	"talos.internal/api/storagepb"
	"talos.internal/api/timepb"
	"talos.internal/client/talosconfig"
	"talos.internal/config"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/catalog"
	"talos.internal/resource/cluster"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/secret"
	"talos.internal/state"
	"talos.internal/state/memstate"
	"talos.internal/state/stategrpc"
)

// now is the time that it is in scripts.
var now = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)

// The machines of the cluster that scripts talk to. The third never answers.
const (
	first  = "10.5.0.2"
	second = "10.5.0.3"
	dead   = "10.5.0.9"
)

// fakeCluster is a server of the machine API that speaks for several machines. Their states are real ones behind the real
// service; of everything else there is as much as it takes to see what commands make of it.
type fakeCluster struct {
	address, maintenance string
	ca                   *secret.Authority
	machines             map[string]*fakeMachine
	fingerprint          secret.Fingerprint
}

type fakeMachine struct {
	name  string
	store *memstate.Store
	state *stategrpc.Server

	mu    sync.Mutex
	boots int
	off   bool
	calls []string
	files map[string]string
}

// call writes down what a command asked for.
func (m *fakeMachine) call(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls = append(m.calls, fmt.Sprintf(format, args...))
}

func newCluster(t testing.TB) *fakeCluster {
	t.Helper()
	ca, err := secret.NewAuthority(secret.OS, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeCluster{ca: ca, machines: map[string]*fakeMachine{}}
	for _, name := range []string{first, second} {
		c.machines[name] = newMachine(t, name)
	}
	names := secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, DNS: []string{"localhost"}}
	pair, err := ca.Issue(secret.NodeServer("node", names), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.fingerprint = secret.CertificateFingerprint(pair.Certificate())
	c.address = c.serve(t, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	})
	c.maintenance = c.serve(t, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.TLS()}})
	return c
}

func (c *fakeCluster) serve(t testing.TB, config *tls.Config) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	machinepb.RegisterMachineServiceServer(server, fakeMachineService{cluster: c})
	machinepb.RegisterImageServiceServer(server, fakeImages{cluster: c})
	machinepb.RegisterLifecycleServiceServer(server, fakeLifecycle{cluster: c})
	machinepb.RegisterStorageServiceServer(server, fakeFileSystems{})
	storagepb.RegisterStorageServiceServer(server, fakeDisks{cluster: c})
	statepb.RegisterStateServer(server, fakeState{cluster: c})
	membershippb.RegisterMembershipServiceServer(server, fakeMembership{cluster: c})
	timepb.RegisterTimeServiceServer(server, fakeTime{cluster: c})
	inspectpb.RegisterInspectServiceServer(server, fakeInspect{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // the error is that it was stopped
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return l.Addr().String()
}

// talosconfig is the client's configuration for the cluster.
func (c *fakeCluster) talosconfig(t testing.TB) []byte {
	t.Helper()
	pair, err := c.ca.Issue(secret.OSClient([]string{secret.RoleAdmin}, time.Hour), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&talosconfig.Config{Context: "lab", Contexts: map[string]*talosconfig.Context{
		"lab": talosconfig.NewContext([]string{c.address}, []string{first}, c.ca.CertificatePEM(), pair),
	}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// at returns the machine that a call is for. Without a node it is the first, as in maintenance mode.
func (c *fakeCluster) at(ctx context.Context) (*fakeMachine, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	name := strings.Join(md["node"], ",")
	if name == "" {
		name = first
	}
	m := c.machines[name]
	if m == nil {
		return nil, status.Errorf(codes.Unavailable, "no route to %s", name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, status.Errorf(codes.Unavailable, "%s is off", name)
	}
	return m, nil
}

func newMachine(t testing.TB, name string) *fakeMachine {
	t.Helper()
	registry, err := catalog.Registry()
	if err != nil {
		t.Fatal(err)
	}
	store := memstate.New(memstate.Options{})
	m := &fakeMachine{
		name: name, store: store, state: stategrpc.NewServer(store, registry),
		files: map[string]string{"/etc/os-release": "NAME=Talos\nID=" + name + "\n", "/var/log/a.log": "one\n"},
	}
	ctx := context.Background()
	for _, ns := range catalog.Namespaces() {
		if err := state.RegisterNamespace(ctx, store, ns.Name, ns.Description); err != nil {
			t.Fatal(err)
		}
	}
	if err := state.RegisterTypes(ctx, store, catalog.Types()...); err != nil {
		t.Fatal(err)
	}
	for id, address := range map[string]string{"demo-controlplane-1": first, "demo-worker-1": second} {
		alive := cluster.MemberAlive
		if address == second {
			alive = cluster.MemberGone
		}
		create(t, m, id, cluster.Member{
			State:  alive,
			NodeID: "id-of-" + id, Hostname: id, OperatingSystem: "Talos (v1.15.0)", MachineType: machineconfig.TypeWorker,
			Addresses: []netip.Addr{netip.MustParseAddr(address)},
		})
	}
	create(t, m, machineconfig.Active, machineconfig.Config{Text: "# The config of " + name + "\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: demo # a comment\n"})
	create(t, m, "EPHEMERAL", block.MountStatus{Source: "/dev/vda6", Target: "/var", Filesystem: block.FilesystemXFS, Request: block.MountRequest{VolumeID: "EPHEMERAL"}})
	create(t, m, runtime.BootIDID, runtime.BootID{Value: "boot-0"})
	create(t, m, runtime.MachineStatusID, runtime.MachineStatus{Stage: runtime.StageRunning, Status: runtime.Readiness{Ready: true}})
	return m
}

func create[S resource.Spec](t testing.TB, m *fakeMachine, id string, spec S) {
	t.Helper()
	if _, err := state.Create(context.Background(), m.store, id, spec); err != nil {
		t.Fatal(err)
	}
}

// fakeState is the service cosi.resource.State of the machine that a call is for.
type fakeState struct {
	statepb.UnimplementedStateServer
	cluster *fakeCluster
}

func (f fakeState) Get(ctx context.Context, in *statepb.GetRequest) (*statepb.GetResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	return m.state.Get(ctx, in)
}

func (f fakeState) List(in *statepb.ListRequest, stream grpc.ServerStreamingServer[statepb.ListResponse]) error {
	m, err := f.cluster.at(stream.Context())
	if err != nil {
		return err
	}
	return m.state.List(in, stream)
}

func (f fakeState) Watch(in *statepb.WatchRequest, stream grpc.ServerStreamingServer[statepb.WatchResponse]) error {
	m, err := f.cluster.at(stream.Context())
	if err != nil {
		return err
	}
	return m.state.Watch(in, stream)
}

type fakeTime struct {
	timepb.UnimplementedTimeServiceServer
	cluster *fakeCluster
}

func (f fakeTime) Time(ctx context.Context, _ *emptypb.Empty) (*timepb.TimeResponse, error) {
	return f.TimeCheck(ctx, &timepb.TimeRequest{Server: "time.cloudflare.com"})
}

func (f fakeTime) TimeCheck(_ context.Context, in *timepb.TimeRequest) (*timepb.TimeResponse, error) {
	return &timepb.TimeResponse{Messages: []*timepb.Time{{
		Server: in.GetServer(), Localtime: timestamppb.New(now), Remotetime: timestamppb.New(now.Add(1500 * time.Microsecond)),
	}}}, nil
}

type fakeInspect struct {
	inspectpb.UnimplementedInspectServiceServer
}

func (fakeInspect) ControllerRuntimeDependencies(context.Context, *emptypb.Empty) (*inspectpb.ControllerRuntimeDependenciesResponse, error) {
	edge := func(kind inspectpb.DependencyEdgeType, id string) *inspectpb.ControllerDependencyEdge {
		return &inspectpb.ControllerDependencyEdge{
			ControllerName: "cluster.MemberController", EdgeType: kind, ResourceNamespace: "cluster", ResourceType: "Members.cluster.talos.dev", ResourceId: id,
		}
	}
	return &inspectpb.ControllerRuntimeDependenciesResponse{Messages: []*inspectpb.ControllerRuntimeDependency{{Edges: []*inspectpb.ControllerDependencyEdge{
		edge(inspectpb.DependencyEdgeType_OUTPUT_EXCLUSIVE, ""), edge(inspectpb.DependencyEdgeType_INPUT_WEAK, "local"),
	}}}}, nil
}

type fakeFileSystems struct {
	machinepb.UnimplementedStorageServiceServer
}

func (fakeFileSystems) Statfs(_ context.Context, in *machinepb.StorageServiceStatfsRequest) (*machinepb.StorageServiceStatfsResponse, error) {
	if in.GetPath() != "/var" {
		return nil, status.Errorf(codes.NotFound, "statfs %s: no such file or directory", in.GetPath())
	}
	return &machinepb.StorageServiceStatfsResponse{Size: 10e9, Used: 4e9, Available: 6e9, Inodes: 1000, InodesUsed: 100, InodesFree: 900}, nil
}

type fakeDisks struct {
	storagepb.UnimplementedStorageServiceServer
	cluster *fakeCluster
}

func (f fakeDisks) BlockDeviceWipe(ctx context.Context, in *storagepb.BlockDeviceWipeRequest) (*storagepb.BlockDeviceWipeResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range in.GetDevices() {
		if d.GetDevice() == "sda" {
			return nil, status.Error(codes.FailedPrecondition, "wipe sda: the volume STATE is on it: busy")
		}
		m.call("wipe %s %s %t", d.GetDevice(), d.GetMethod(), d.GetDropPartition())
	}
	return &storagepb.BlockDeviceWipeResponse{Messages: []*storagepb.BlockDeviceWipe{{}}}, nil
}

// fakeMachineService answers what scripts ask for.
type fakeMachineService struct {
	machinepb.UnimplementedMachineServiceServer
	cluster *fakeCluster
}

func (f fakeMachineService) Version(ctx context.Context, _ *emptypb.Empty) (*machinepb.VersionResponse, error) {
	if _, err := f.cluster.at(ctx); err != nil {
		return nil, err
	}
	return &machinepb.VersionResponse{Messages: []*machinepb.Version{{
		Version:  &machinepb.VersionInfo{Tag: "v1.14.2", Sha: "abcdef", Built: "2026-11-01T00:00:00Z", GoVersion: "go1.26", Os: "linux", Arch: "amd64"},
		Features: &machinepb.FeaturesInfo{Rbac: true},
	}}}, nil
}

func (f fakeMachineService) Memory(ctx context.Context, _ *emptypb.Empty) (*machinepb.MemoryResponse, error) {
	if _, err := f.cluster.at(ctx); err != nil {
		return nil, err
	}
	return &machinepb.MemoryResponse{Messages: []*machinepb.Memory{{Meminfo: &machinepb.MemInfo{
		Memtotal: 8 << 20, Memfree: 1 << 20, Memavailable: 5 << 20, Buffers: 100 << 10, Cached: 3 << 20, Shmem: 20 << 10, Hugepagestotal: 3, Directmap4K: 512,
	}}}}, nil
}

func (f fakeMachineService) Mounts(ctx context.Context, _ *emptypb.Empty) (*machinepb.MountsResponse, error) {
	if _, err := f.cluster.at(ctx); err != nil {
		return nil, err
	}
	return &machinepb.MountsResponse{Messages: []*machinepb.Mounts{{Stats: []*machinepb.MountStat{
		{Filesystem: "/dev/vda6", Size: 10e9, Available: 6e9, MountedOn: "/var"},
		{Filesystem: "proc", MountedOn: "/a\x1b[31m\tb"},
	}}}}, nil
}

func (f fakeMachineService) Processes(ctx context.Context, _ *emptypb.Empty) (*machinepb.ProcessesResponse, error) {
	return &machinepb.ProcessesResponse{Messages: []*machinepb.Process{{Processes: []*machinepb.ProcessInfo{
		{Pid: 2, State: "S", Threads: 1, CpuTime: 0.5, Command: "kthreadd"},
		{Pid: 1, State: "S", Threads: 12, CpuTime: 3.25, VirtualMemory: 1300e6, ResidentMemory: 45e6, Executable: "/sbin/init", Args: "/sbin/init --now", Label: "system_u"},
		{Pid: 90, State: "R", Threads: 9, CpuTime: 99, VirtualMemory: 2e9, ResidentMemory: 1200, Executable: "/usr/bin/kubelet"},
	}}}}, nil
}

func (f fakeMachineService) Containers(ctx context.Context, in *machinepb.ContainersRequest) (*machinepb.ContainersResponse, error) {
	list := []*machinepb.ContainerInfo{
		{Namespace: in.GetNamespace(), Id: "etcd", Image: "registry.k8s.io/etcd:3.7.3", Pid: 300, Status: "RUNNING"},
	}
	if in.GetDriver() == commonpb.ContainerDriver_CRI {
		list = []*machinepb.ContainerInfo{
			{Namespace: in.GetNamespace(), Id: "kube-system/dns:coredns:abc", PodId: "kube-system/dns", Uid: "1", InternalId: "abc", Name: "coredns", Image: "coredns:1", Pid: 401, Status: "CONTAINER_RUNNING"},
			{Namespace: in.GetNamespace(), Id: "kube-system/dns", PodId: "kube-system/dns", Image: "pause:3.10", Pid: 400, Status: "SANDBOX_READY"},
		}
	}
	return &machinepb.ContainersResponse{Messages: []*machinepb.Container{{Containers: list}}}, nil
}

func (f fakeMachineService) Stats(_ context.Context, in *machinepb.StatsRequest) (*machinepb.StatsResponse, error) {
	return &machinepb.StatsResponse{Messages: []*machinepb.Stats{{Stats: []*machinepb.Stat{
		{Namespace: in.GetNamespace(), Id: "etcd", MemoryUsage: 52_428_800, CpuUsage: 123456},
	}}}}, nil
}

func (f fakeMachineService) Restart(ctx context.Context, in *machinepb.RestartRequest) (*machinepb.RestartResponse, error) {
	return &machinepb.RestartResponse{Messages: []*machinepb.Restart{{}}}, nil
}

func (f fakeMachineService) Netstat(_ context.Context, in *machinepb.NetstatRequest) (*machinepb.NetstatResponse, error) {
	list := []*machinepb.ConnectRecord{
		{L4Proto: "tcp", Localip: "127.0.0.1", Localport: 2379, Remoteip: "127.0.0.1", Remoteport: 40000, State: machinepb.ConnectRecord_ESTABLISHED, Rxqueue: 1, Txqueue: 2, Uid: 60, Inode: 77,
			Tr: machinepb.ConnectRecord_KEEPALIVE, Timerwhen: 250, Process: &machinepb.ConnectRecord_Process{Pid: 300, Name: "etcd"}},
	}
	if in.GetFilter() != machinepb.NetstatRequest_CONNECTED {
		list = append(list, &machinepb.ConnectRecord{L4Proto: "udp6", Localip: "::", Localport: 53, Remoteip: "::", State: machinepb.ConnectRecord_CLOSE, Netns: "pod"})
	}
	if !in.GetL4Proto().GetUdp() {
		list = slices.DeleteFunc(list, func(c *machinepb.ConnectRecord) bool { return strings.HasPrefix(c.GetL4Proto(), "udp") })
	}
	return &machinepb.NetstatResponse{Messages: []*machinepb.Netstat{{Connectrecord: list}}}, nil
}

func fakeServices() []*machinepb.ServiceInfo {
	event := func(state, msg string, ago time.Duration) *machinepb.ServiceEvent {
		return &machinepb.ServiceEvent{State: state, Msg: msg, Ts: timestamppb.New(now.Add(-ago))}
	}
	return []*machinepb.ServiceInfo{
		{Id: "kubelet", State: "Running", Health: &machinepb.ServiceHealth{Healthy: true, LastMessage: "ok"}, Events: &machinepb.ServiceEvents{Events: []*machinepb.ServiceEvent{
			event("Starting", "Starting the container", 3*time.Minute), event("Running", "Health check successful", 150*time.Second),
		}}},
		{Id: "apid", State: "Running", Health: &machinepb.ServiceHealth{Unknown: true}, Events: &machinepb.ServiceEvents{}},
		{Id: "etcd", State: "Failed", Health: &machinepb.ServiceHealth{LastMessage: "connection refused"}, Events: &machinepb.ServiceEvents{Events: []*machinepb.ServiceEvent{event("Failed", "exit\ncode 1", time.Second)}}},
	}
}

func (f fakeMachineService) ServiceList(ctx context.Context, _ *emptypb.Empty) (*machinepb.ServiceListResponse, error) {
	if _, err := f.cluster.at(ctx); err != nil {
		return nil, err
	}
	return &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{{Services: fakeServices()}}}, nil
}

func (f fakeMachineService) ServiceRestart(_ context.Context, in *machinepb.ServiceRestartRequest) (*machinepb.ServiceRestartResponse, error) {
	if in.GetId() != "kubelet" {
		return nil, status.Errorf(codes.FailedPrecondition, "service %q cannot be restarted by the API", in.GetId())
	}
	return &machinepb.ServiceRestartResponse{Messages: []*machinepb.ServiceRestart{{Resp: `Service "kubelet" restarting`}}}, nil
}

// send sends text in two parts, the first of which ends within a line.
func send(s grpc.ServerStreamingServer[commonpb.Data], text string) error {
	half := len(text) / 2
	for _, part := range []string{text[:half], text[half:]} {
		if err := s.Send(&commonpb.Data{Bytes: []byte(part)}); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeMachineService) Logs(in *machinepb.LogsRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	if in.GetId() == "missing" {
		return status.Errorf(codes.NotFound, "log %q was not registered", in.GetId())
	}
	return send(s, fmt.Sprintf("%s of %s in %s, tail %d\nunfinished", in.GetId(), m.name, in.GetNamespace(), in.GetTailLines()))
}

func (f fakeMachineService) LogsContainers(ctx context.Context, _ *emptypb.Empty) (*machinepb.LogsContainersResponse, error) {
	if _, err := f.cluster.at(ctx); err != nil {
		return nil, err
	}
	return &machinepb.LogsContainersResponse{Messages: []*machinepb.LogsContainer{{Ids: []string{"kubelet", "machined"}}}}, nil
}

func (f fakeMachineService) Dmesg(in *machinepb.DmesgRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	return send(s, "kern:    info: [2026-11-30T23:00:00Z]: Linux version\nkern:  notice: [2026-11-30T23:00:01Z]: Command line: x\n")
}

func (f fakeMachineService) Events(in *machinepb.EventsRequest, s grpc.ServerStreamingServer[machinepb.Event]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	m.call("events %d %q %d %q", in.GetTailEvents(), in.GetTailId(), in.GetTailSeconds(), in.GetWithActorId())
	for i, p := range []proto.Message{
		&machinepb.SequenceEvent{Sequence: "reboot", Action: machinepb.SequenceEvent_START},
		&machinepb.PhaseEvent{Phase: "stopServices", Action: machinepb.PhaseEvent_START},
		&machinepb.TaskEvent{Task: "stopAllServices", Action: machinepb.TaskEvent_STOP},
		&machinepb.ServiceStateEvent{Service: "kubelet", Action: machinepb.ServiceStateEvent_RUNNING, Message: "Started"},
		&machinepb.AddressEvent{Hostname: "demo", Addresses: []string{"10.5.0.2", "fd00::2"}},
		&machinepb.ConfigValidationErrorEvent{Error: "no such key"},
		&machinepb.RestartEvent{Cmd: 0x1234567},
		&machinepb.MachineStatusEvent{Stage: machinepb.MachineStatusEvent_REBOOTING, Status: &machinepb.MachineStatusEvent_MachineStatus{
			UnmetConditions: []*machinepb.MachineStatusEvent_MachineStatus_UnmetCondition{{Name: "services", Reason: "kubelet is not healthy"}},
		}},
	} {
		data, err := anypb.New(p)
		if err != nil {
			return err
		}
		if err := s.Send(&machinepb.Event{Id: fmt.Sprintf("event%d", i), ActorId: in.GetWithActorId(), Data: data}); err != nil {
			return err
		}
	}
	if m.boots > 0 && in.GetWithActorId() != "" {
		<-s.Context().Done() // a machine that restarts ends no connections: who listens has to find out
	}
	return nil // a real one goes on until the caller leaves, or the machine does
}

func (f fakeMachineService) Reboot(ctx context.Context, in *machinepb.RebootRequest) (*machinepb.RebootResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	m.boots++
	if _, err := state.Modify(ctx, m.store, runtime.BootIDID, func(_ *resource.Metadata, b *runtime.BootID) error {
		b.Value = fmt.Sprintf("boot-%d", m.boots)
		return nil
	}); err != nil {
		return nil, err
	}
	return &machinepb.RebootResponse{Messages: []*machinepb.Reboot{{ActorId: "actor-1"}}}, nil
}

func (f fakeMachineService) Shutdown(ctx context.Context, in *machinepb.ShutdownRequest) (*machinepb.ShutdownResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = true
	return &machinepb.ShutdownResponse{Messages: []*machinepb.Shutdown{{ActorId: "actor-2"}}}, nil
}

func (f fakeMachineService) Reset(context.Context, *machinepb.ResetRequest) (*machinepb.ResetResponse, error) {
	return nil, status.Error(codes.FailedPrecondition, "a machine in a container has no disks to erase")
}

func (f fakeMachineService) Bootstrap(ctx context.Context, in *machinepb.BootstrapRequest) (*machinepb.BootstrapResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	if in.GetRecoverEtcd() && m.files["snapshot"] == "" {
		return nil, status.Error(codes.FailedPrecondition, "there is no snapshot")
	}
	return &machinepb.BootstrapResponse{Messages: []*machinepb.Bootstrap{{}}}, nil
}

func (f fakeMachineService) EtcdRecover(s grpc.ClientStreamingServer[commonpb.Data, machinepb.EtcdRecoverResponse]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for {
		d, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		b.Write(d.GetBytes())
	}
	m.mu.Lock()
	m.files["snapshot"] = b.String()
	m.mu.Unlock()
	return s.SendAndClose(&machinepb.EtcdRecoverResponse{Messages: []*machinepb.EtcdRecover{{}}})
}

// archiveOf is a compressed tar archive of members.
func archiveOf(headers []tar.Header, contents ...string) []byte {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	w := tar.NewWriter(zip)
	for i, h := range headers {
		text := ""
		if i < len(contents) {
			text = contents[i]
		}
		h.Size = int64(len(text))
		_ = w.WriteHeader(&h) // to memory
		_, _ = io.WriteString(w, text)
	}
	_, _ = w.Close(), zip.Close()
	return b.Bytes()
}

func (f fakeMachineService) Kubeconfig(_ *emptypb.Empty, s grpc.ServerStreamingServer[commonpb.Data]) error {
	text := "apiVersion: v1\nkind: Config\nclusters:\n  - name: demo\n    cluster: {server: 'https://10.5.0.2:6443'}\nusers:\n  - name: admin@demo\n    user: {token: secret}\n" +
		"contexts:\n  - name: admin@demo\n    context: {cluster: demo, user: admin@demo}\ncurrent-context: admin@demo\n"
	return send(s, string(archiveOf([]tar.Header{{Name: "kubeconfig", Mode: 0o600, Typeflag: tar.TypeReg}}, text)))
}

func (f fakeMachineService) Copy(in *machinepb.CopyRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	switch in.GetRootPath() {
	case "/evil":
		return send(s, string(archiveOf([]tar.Header{{Name: "../../escaped", Mode: 0o644, Typeflag: tar.TypeReg}}, "x")))
	case "/evil-link":
		return send(s, string(archiveOf([]tar.Header{
			{Name: "out", Linkname: "..", Typeflag: tar.TypeSymlink}, {Name: "out/escaped", Mode: 0o644, Typeflag: tar.TypeReg},
		}, "", "x")))
	case "/sys/fs/cgroup":
		return send(s, string(archiveOf([]tar.Header{
			{Name: "cgroup/cgroup.controllers", Mode: 0o444, Typeflag: tar.TypeReg},
			{Name: "cgroup/kubepods/pod1/abc/memory.current", Mode: 0o444, Typeflag: tar.TypeReg},
		}, "memory\n", "1048576\n")))
	case "/missing":
		return status.Error(codes.NotFound, "stat /missing: no such file or directory")
	}
	return send(s, string(archiveOf([]tar.Header{
		{Name: "log/", Mode: 0o750, Typeflag: tar.TypeDir}, {Name: "log/a.log", Mode: 0o640, Typeflag: tar.TypeReg},
		{Name: "log/current", Linkname: "a.log", Typeflag: tar.TypeSymlink}, {Name: "log/pipe", Typeflag: tar.TypeFifo},
	}, "", "one\n")))
}

func (f fakeMachineService) Read(in *machinepb.ReadRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	text, ok := m.files[in.GetPath()]
	if !ok {
		return status.Errorf(codes.NotFound, "open %s: no such file or directory", in.GetPath())
	}
	return send(s, text)
}

func (f fakeMachineService) List(in *machinepb.ListRequest, s grpc.ServerStreamingServer[machinepb.FileInfo]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	m.call("list %s %t %d %v", in.GetRoot(), in.GetRecurse(), in.GetRecursionDepth(), in.GetTypes())
	for _, i := range []*machinepb.FileInfo{
		{Name: "/var", RelativeName: ".", Mode: uint32(os.ModeDir | 0o755), Size: 4096, IsDir: true, Modified: now.Add(-time.Hour).Unix()},
		{Name: "/var/a.log", RelativeName: "a.log", Mode: 0o640, Size: 1234567, Uid: 50, Gid: 51, Modified: now.Add(-time.Minute).Unix(),
			Xattrs: []*machinepb.Xattr{{Name: "security.selinux", Data: []byte("system_u:object_r:log_t:s0\x00")}}},
		{Name: "/var/current", RelativeName: "current", Mode: uint32(os.ModeSymlink | 0o777), Link: "a.log", Modified: now.Unix()},
		{Name: "/var/lost", Error: "permission denied"},
	} {
		if err := s.Send(i); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeMachineService) DiskUsage(in *machinepb.DiskUsageRequest, s grpc.ServerStreamingServer[machinepb.DiskUsageInfo]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	m.call("usage %d %t %d %v", in.GetRecursionDepth(), in.GetAll(), in.GetThreshold(), in.GetPaths())
	for _, p := range in.GetPaths() {
		if err := s.Send(&machinepb.DiskUsageInfo{Name: p, RelativeName: ".", Size: 2345678}); err != nil {
			return err
		}
	}
	return nil
}

func (f fakeMachineService) ApplyConfiguration(ctx context.Context, in *machinepb.ApplyConfigurationRequest) (*machinepb.ApplyConfigurationResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := config.Load("config", in.GetData()); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "%s", err)
	}
	details := "Applied configuration without a reboot"
	if in.GetDryRun() {
		details = "Dry run summary:\nApplied configuration without a reboot (skipped in dry-run).\nConfig diff:\n+ new\n"
	} else if _, err := state.Modify(ctx, m.store, machineconfig.Active, func(_ *resource.Metadata, c *machineconfig.Config) error {
		c.Text = string(in.GetData())
		return nil
	}); err != nil {
		return nil, err
	}
	if in.GetMode() == machinepb.ApplyConfigurationRequest_TRY {
		details += fmt.Sprintf("; it goes back in %s", in.GetTryModeTimeout().AsDuration())
	}
	return &machinepb.ApplyConfigurationResponse{Messages: []*machinepb.ApplyConfiguration{{Warnings: []string{"a key is deprecated"}, Mode: in.GetMode(), ModeDetails: details}}}, nil
}

func (f fakeMachineService) MetaWrite(ctx context.Context, in *machinepb.MetaWriteRequest) (*machinepb.MetaWriteResponse, error) {
	return &machinepb.MetaWriteResponse{Messages: []*machinepb.MetaWrite{{}}}, nil
}

func (f fakeMachineService) EtcdMemberList(context.Context, *machinepb.EtcdMemberListRequest) (*machinepb.EtcdMemberListResponse, error) {
	return &machinepb.EtcdMemberListResponse{Messages: []*machinepb.EtcdMembers{{Members: []*machinepb.EtcdMember{
		{Id: 0x1f34c02b0b9d1b26, Hostname: "demo-controlplane-1", PeerUrls: []string{"https://10.5.0.2:2380"}, ClientUrls: []string{"https://10.5.0.2:2379"}},
		{Id: 0xab, Hostname: "demo-controlplane-2", PeerUrls: []string{"https://10.5.0.4:2380"}, IsLearner: true},
	}}}}, nil
}

func (f fakeMachineService) EtcdStatus(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdStatusResponse, error) {
	m, err := f.cluster.at(ctx)
	if err != nil {
		return nil, err
	}
	if m.name == second {
		return nil, status.Error(codes.FailedPrecondition, "etcd does not run on a worker")
	}
	return &machinepb.EtcdStatusResponse{Messages: []*machinepb.EtcdStatus{{MemberStatus: &machinepb.EtcdMemberStatus{
		MemberId: 0x1f34c02b0b9d1b26, Leader: 0x1f34c02b0b9d1b26, DbSize: 3e6, DbSizeInUse: 1e6, RaftIndex: 100, RaftTerm: 2, RaftAppliedIndex: 99, ProtocolVersion: "3.7.3", StorageVersion: "3.7.0",
		Errors: []string{"alarm:NOSPACE"},
	}}}}, nil
}

func (f fakeMachineService) EtcdAlarmList(context.Context, *emptypb.Empty) (*machinepb.EtcdAlarmListResponse, error) {
	return &machinepb.EtcdAlarmListResponse{Messages: []*machinepb.EtcdAlarm{{MemberAlarms: []*machinepb.EtcdMemberAlarm{{MemberId: 0xab, Alarm: machinepb.EtcdMemberAlarm_NOSPACE}}}}}, nil
}

func (f fakeMachineService) EtcdDefragment(ctx context.Context, _ *emptypb.Empty) (*machinepb.EtcdDefragmentResponse, error) {
	return &machinepb.EtcdDefragmentResponse{Messages: []*machinepb.EtcdDefragment{{}}}, nil
}

func (f fakeMachineService) EtcdRemoveMemberByID(_ context.Context, in *machinepb.EtcdRemoveMemberByIDRequest) (*machinepb.EtcdRemoveMemberByIDResponse, error) {
	return &machinepb.EtcdRemoveMemberByIDResponse{Messages: []*machinepb.EtcdRemoveMemberByID{{}}}, nil
}

func (f fakeMachineService) EtcdForfeitLeadership(context.Context, *machinepb.EtcdForfeitLeadershipRequest) (*machinepb.EtcdForfeitLeadershipResponse, error) {
	return &machinepb.EtcdForfeitLeadershipResponse{Messages: []*machinepb.EtcdForfeitLeadership{{Member: "demo-controlplane-2"}}}, nil
}

func (f fakeMachineService) EtcdDowngradeValidate(_ context.Context, in *machinepb.EtcdDowngradeValidateRequest) (*machinepb.EtcdDowngradeValidateResponse, error) {
	return &machinepb.EtcdDowngradeValidateResponse{Messages: []*machinepb.EtcdDowngradeValidate{{ClusterDowngrade: &machinepb.EtcdClusterDowngrade{ClusterVersion: in.GetVersion() + ".0"}}}}, nil
}

// EtcdSnapshot sends a real file of bbolt with a key of etcd's, and its checksum; from the second machine a damaged one.
func (f fakeMachineService) EtcdSnapshot(_ *machinepb.EtcdSnapshotRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "snapshot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "db")
	db, err := bbolt.Open(name, 0o600, nil)
	if err != nil {
		return err
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		return b.Put(append(binary.BigEndian.AppendUint64(nil, 42), "_\x00\x00\x00\x00\x00\x00\x00\x00"...), []byte("value"))
	}); err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	if m.name == second {
		sum[0]++
	}
	return send(s, string(data)+string(sum[:]))
}

func (f fakeMachineService) GenerateClientConfiguration(_ context.Context, in *machinepb.GenerateClientConfigurationRequest) (*machinepb.GenerateClientConfigurationResponse, error) {
	pair, err := f.cluster.ca.Issue(secret.OSClient(in.GetRoles(), in.GetCrtTtl().AsDuration()), time.Now())
	if err != nil {
		return nil, err
	}
	return &machinepb.GenerateClientConfigurationResponse{Messages: []*machinepb.GenerateClientConfiguration{{
		Ca: f.cluster.ca.CertificatePEM(), Crt: pair.CertificatePEM(), Key: pair.Key().PEM(),
	}}}, nil
}

// PacketCapture sends a capture of one packet, an ARP question, and then waits.
func (f fakeMachineService) PacketCapture(in *machinepb.PacketCaptureRequest, s grpc.ServerStreamingServer[commonpb.Data]) error {
	m, err := f.cluster.at(s.Context())
	if err != nil {
		return err
	}
	for _, i := range in.GetBpfFilter() {
		m.call("pcap %s %#x %#x", in.GetInterface(), i.GetOp(), i.GetK())
	}
	head := []byte{0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0}
	packet := append([]byte("\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x08\x06"), "\x00\x01\x08\x00\x06\x04\x00\x01\x02\x00\x00\x00\x00\x01\x0a\x05\x00\x02\x00\x00\x00\x00\x00\x00\x0a\x05\x00\x03"...)
	rec := binary.LittleEndian.AppendUint32(nil, uint32(now.Unix()))
	for _, n := range []uint32{250, uint32(len(packet)), uint32(len(packet))} {
		rec = binary.LittleEndian.AppendUint32(rec, n)
	}
	return send(s, string(slices.Concat(head, rec, packet)))
}
