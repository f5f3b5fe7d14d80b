package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"talos.internal/api/clusterpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/storagepb"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/event"
	"talos.internal/internal/supervise"
	"talos.internal/internal/supervise/logring"
	"talos.internal/resource"
	"talos.internal/resource/catalog"
	"talos.internal/resource/machineconfig"
	"talos.internal/secret"
	"talos.internal/state"
	"talos.internal/state/memstate"
)

var update = flag.Bool("update", false, "write golden files")

const (
	admin    = secret.RoleAdmin
	operator = secret.RoleOperator
	reader   = secret.RoleReader
)

// rig is a machine whose API is served on a unix socket.
type rig struct {
	deps      Deps
	server    *grpc.Server
	conn      *grpc.ClientConn
	socket    string
	store     *memstate.Store
	configs   *configs
	lifecycle *lifecycle
	log       *lockedBuffer
	// service is what this process counts as.
	service atomic.Value
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newRig serves a machine in a container that has none of the optional parts, as change leaves it.
func newRig(t testing.TB, change func(*rig)) *rig {
	t.Helper()
	r := &rig{store: memstate.New(memstate.Options{}), lifecycle: &lifecycle{}, log: &lockedBuffer{}}
	r.service.Store("apid")
	r.configs = &configs{st: r.store}
	ctx := context.Background()
	for _, n := range catalog.Namespaces() {
		if err := state.RegisterNamespace(ctx, r.store, n.Name, n.Description); err != nil {
			t.Fatal(err)
		}
	}
	if err := state.RegisterTypes(ctx, r.store, catalog.Types()...); err != nil {
		t.Fatal(err)
	}
	registry, err := catalog.Registry()
	if err != nil {
		t.Fatal(err)
	}
	logs, err := logring.NewSet(0)
	if err != nil {
		t.Fatal(err)
	}
	supervisor := supervise.New(logs)
	if err := supervisor.Load(
		supervise.Service{ID: "machined", Runner: say("machined is here")},
		supervise.Service{ID: "kubelet", Runner: say("kubelet 1\nkubelet 2\nkubelet 3"), Allow: supervise.MayStart | supervise.MayRestart},
		supervise.Service{ID: "ext-lab", Runner: say("lab"), Allow: supervise.MayStart | supervise.MayStop | supervise.MayRestart},
		supervise.Service{ID: "silent", Runner: say("")},
	); err != nil {
		t.Fatal(err)
	}
	if err := supervisor.Start("machined", "kubelet", "ext-lab"); err != nil {
		t.Fatal(err)
	}
	waiting, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := supervisor.WaitUp(waiting, "machined", "kubelet", "ext-lab"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"machined", "kubelet", "ext-lab"} { // up does not say that it has spoken
		for deadline := time.Now().Add(10 * time.Second); len(logs.Tail(id, 1)) == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("service %s has said nothing within 10 s", id)
			}
		}
	}
	t.Cleanup(func() { supervisor.Shutdown(context.Background(), 5*time.Second) })

	r.deps = Deps{
		State: r.store, Registry: registry, Supervisor: supervisor, Logs: logs, Events: event.New(100),
		ServiceOf: func(pid int32, uid uint32) (string, bool) {
			service := r.service.Load().(string)
			return service, service != "" && pid == int32(os.Getpid()) && uid == uint32(os.Getuid())
		},
		Configs: r.configs, Lifecycle: r.lifecycle, Capabilities: lacking{
			"reboot": "a container cannot reboot", "shutdown": "a container cannot shut down", "upgrade": "a container is replaced, not upgraded",
			"rollback": "a container has no slots", "meta": "a container has no META partition", "install": "a container is not installed",
			"disks": "a container has no disks of its own",
		},
		Graph: controller.New(r.store, slog.New(slog.DiscardHandler), controller.Options{}),
		Mode:  schema.Container, Platform: "container", PlatformMode: "container", Root: t.TempDir(),
		Logger: slog.New(slog.NewTextHandler(r.log, nil)),
		QueryTime: func(_ context.Context, server string) (time.Duration, error) {
			if server == "time.example.org" {
				return time.Hour, nil
			}
			return 0, fmt.Errorf("no answer from %q", server)
		},
	}
	if change != nil {
		change(r)
	}
	if r.server, err = New(r.deps); err != nil {
		t.Fatal(err)
	}
	r.socket = filepath.Join(t.TempDir(), "machine.sock")
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.server.Serve(l) }()
	t.Cleanup(func() {
		r.server.Stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	r.conn = r.dial(t)
	return r
}

// dial makes a connection of its own: what the process counts as is found out anew.
func (r *rig) dial(t testing.TB) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+r.socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// full gives the machine all optional parts, and the capabilities for them.
func full(r *rig) {
	e := &etcd{}
	c := &containerd{images: map[string]bool{"docker.io/library/a:1": true}}
	r.deps.Etcd, r.deps.Containers, r.deps.Images, r.deps.Meta, r.deps.Disks = e, c, images{c}, &metaStore{}, disks{}
	r.deps.Installer, r.deps.Debug, r.deps.Health = installer{}, debugger{}, health{}
	r.deps.Capabilities = lacking{}
}

// controlPlane gives the machine a config.
func controlPlane(t testing.TB) func(*rig) {
	return func(r *rig) { r.configs.set(t, configText(t, "controlplane", "lab")) }
}

func as(t testing.TB, roles ...string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return with(ctx, roles...)
}

func with(ctx context.Context, roles ...string) context.Context {
	for _, r := range roles {
		ctx = metadata.AppendToOutgoingContext(ctx, keyRoles, r)
	}
	return ctx
}

func wantCode(t testing.TB, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %v; want %s", what, err, want)
	}
}

// receive reads a stream to its end.
func receive[T any](stream grpc.ServerStreamingClient[T], err error) ([]*T, error) {
	if err != nil {
		return nil, err
	}
	var out []*T
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, m)
	}
}

var authority = sync.OnceValues(func() (*secret.Authority, error) { return secret.NewAuthority(secret.OS, time.Now()) })

func configText(t testing.TB, role, cluster string) string {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	key := ""
	if role == "controlplane" {
		key = "        key: " + base64.StdEncoding.EncodeToString(a.Key().PEM()) + "\n"
	}
	return fmt.Sprintf(`version: v1alpha1
machine:
    type: %s
    token: 328hom.uqjzh6jnn2eie9oi
    ca:
        crt: %s
%scluster:
    token: wlzjyw.bei2zfylhs2by0wd
    clusterName: %s
    controlPlane:
        endpoint: https://10.5.0.2:6443
`, role, base64.StdEncoding.EncodeToString(a.CertificatePEM()), key, cluster)
}

func say(text string) supervise.Func {
	return func(ctx context.Context, log io.Writer) error {
		if text != "" {
			fmt.Fprintln(log, text)
		}
		<-ctx.Done()
		return nil
	}
}

// lacking is the capability table: what is in it is lacking, for the reason.
type lacking map[string]string

func (l lacking) Capable(feature string) error {
	if reason, ok := l[feature]; ok {
		return errors.New(reason)
	}
	return nil
}

// lifecycle notes what is asked of it.
type lifecycle struct {
	mu     sync.Mutex
	causes []Cause
	err    error
}

func (l *lifecycle) Request(_ context.Context, c Cause) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.causes = append(l.causes, c)
	return nil
}

func (l *lifecycle) last() Cause {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.causes) == 0 {
		return Cause{}
	}
	return l.causes[len(l.causes)-1]
}

// configs keeps the config in the state.
type configs struct {
	st    state.State
	mu    sync.Mutex
	calls []string
	err   error
}

func (c *configs) write(ctx context.Context, call, id, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.calls = append(c.calls, call)
	_, err := state.Modify(ctx, c.st, id, func(_ *resource.Metadata, s *machineconfig.Config) error { s.Text = text; return nil })
	return err
}

func (c *configs) Active(ctx context.Context) (string, bool) {
	r, err := state.Get[machineconfig.Config](ctx, c.st, machineconfig.Active)
	if err != nil {
		return "", false
	}
	return r.Spec().Text, true
}

func (c *configs) Apply(ctx context.Context, text string, persist bool) error {
	return c.write(ctx, fmt.Sprintf("apply persist=%t", persist), machineconfig.Active, text)
}

func (c *configs) Stage(ctx context.Context, text string) error {
	return c.write(ctx, "stage", machineconfig.Persistent, text)
}

func (c *configs) Try(ctx context.Context, text string, d time.Duration) error {
	return c.write(ctx, "try "+d.String(), machineconfig.Active, text)
}

func (c *configs) set(t testing.TB, text string) {
	t.Helper()
	if err := c.write(context.Background(), "set", machineconfig.Active, text); err != nil {
		t.Fatal(err)
	}
	c.calls = nil
}

// metaStore is a META partition in memory.
type metaStore struct {
	mu     sync.Mutex
	values map[uint8][]byte
}

func (m *metaStore) Write(_ context.Context, key uint8, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[uint8][]byte{}
	}
	m.values[key] = slices.Clone(value)
	return nil
}

func (m *metaStore) Delete(_ context.Context, key uint8) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.values[key]; !ok {
		return fmt.Errorf("delete META key %d: %w", key, fs.ErrNotExist)
	}
	delete(m.values, key)
	return nil
}

// etcd is a cluster of one member in memory.
type etcd struct {
	mu       sync.Mutex
	booted   string
	snapshot []byte
	removed  uint64
}

func (e *etcd) Bootstrap(_ context.Context, recoverSnapshot, skip bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if recoverSnapshot && e.snapshot == nil {
		return status.Error(codes.FailedPrecondition, "there is no snapshot")
	}
	e.booted = fmt.Sprintf("recover=%t skip=%t", recoverSnapshot, skip)
	return nil
}

func (e *etcd) Recover(_ context.Context, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.snapshot = b
	return nil
}

func (e *etcd) Snapshot(_ context.Context, w io.Writer) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := w.Write(e.snapshot)
	return err
}

func (e *etcd) Members(_ context.Context, local bool) ([]*machinepb.EtcdMember, error) {
	return []*machinepb.EtcdMember{{Id: 7, Hostname: "cp-1", IsLearner: local}}, nil
}

func (e *etcd) RemoveMember(_ context.Context, id uint64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = id
	return nil
}

func (e *etcd) Leave(context.Context) error                       { return nil }
func (e *etcd) ForfeitLeadership(context.Context) (string, error) { return "cp-2", nil }
func (e *etcd) Alarms(context.Context) ([]*machinepb.EtcdMemberAlarm, error) {
	return []*machinepb.EtcdMemberAlarm{{MemberId: 7, Alarm: machinepb.EtcdMemberAlarm_NOSPACE}}, nil
}
func (e *etcd) DisarmAlarms(ctx context.Context) ([]*machinepb.EtcdMemberAlarm, error) {
	return e.Alarms(ctx)
}
func (e *etcd) Defragment(context.Context) error { return nil }
func (e *etcd) Status(context.Context) (*machinepb.EtcdMemberStatus, error) {
	return &machinepb.EtcdMemberStatus{MemberId: 7}, nil
}
func (e *etcd) DowngradeValidate(_ context.Context, v string) (*machinepb.EtcdClusterDowngrade, error) {
	return &machinepb.EtcdClusterDowngrade{ClusterVersion: v}, nil
}
func (e *etcd) DowngradeEnable(_ context.Context, v string) (*machinepb.EtcdClusterDowngrade, error) {
	return &machinepb.EtcdClusterDowngrade{ClusterVersion: v}, nil
}
func (e *etcd) DowngradeCancel(context.Context) (*machinepb.EtcdClusterDowngrade, error) {
	return &machinepb.EtcdClusterDowngrade{ClusterVersion: "3.7"}, nil
}

// containerd has one container and images in memory.
type containerd struct {
	mu        sync.Mutex
	images    map[string]bool
	restarted []string
}

func (c *containerd) List(_ context.Context, p Place) ([]*machinepb.ContainerInfo, error) {
	return []*machinepb.ContainerInfo{{Namespace: p.Namespace, Id: "kubelet"}}, nil
}

func (c *containerd) Stats(_ context.Context, p Place) ([]*machinepb.Stat, error) {
	return []*machinepb.Stat{{Namespace: p.Namespace, Id: "kubelet", MemoryUsage: 1}}, nil
}

func (c *containerd) Restart(_ context.Context, p Place, id string) error {
	if id != "kubelet" {
		return fmt.Errorf("restart container %q: %w", id, fs.ErrNotExist)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.restarted = append(c.restarted, p.Namespace+"/"+id)
	return nil
}

func (c *containerd) Logs(_ context.Context, p Place, id string, follow bool, tail int, w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s/%s follow=%t tail=%d\n", p.Namespace, id, follow, tail)
	return err
}

func (c *containerd) LogIDs(context.Context) ([]string, error) {
	return []string{"kube-system/pod:c"}, nil
}

type images struct{ *containerd }

func (i images) List(_ context.Context, _ Place, f func(*machinepb.ImageServiceListResponse) error) error {
	i.mu.Lock()
	names := slices.Sorted(maps.Keys(i.images))
	i.mu.Unlock()
	for _, n := range names {
		if err := f(&machinepb.ImageServiceListResponse{Name: n}); err != nil {
			return err
		}
	}
	return nil
}

func (i images) Pull(_ context.Context, _ Place, ref string, progress func(*machinepb.ImageServicePullProgress) error) (string, error) {
	if progress != nil {
		if err := progress(&machinepb.ImageServicePullProgress{LayerId: "layer"}); err != nil {
			return "", err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.images["pulled"] = true
	return "pulled", nil
}

func (i images) Import(_ context.Context, _ Place, archive io.Reader) (string, error) {
	n, err := io.Copy(io.Discard, archive)
	return fmt.Sprintf("imported %d bytes", n), err
}

func (i images) Remove(_ context.Context, _ Place, ref string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.images[ref] {
		return fmt.Errorf("remove image %q: %w", ref, fs.ErrNotExist)
	}
	delete(i.images, ref)
	return nil
}

func (i images) Verify(_ context.Context, in *machinepb.ImageServiceVerifyRequest) (*machinepb.ImageServiceVerifyResponse, error) {
	return &machinepb.ImageServiceVerifyResponse{Verified: true, DigestedImageRef: in.GetImageRef() + "@sha256:0"}, nil
}

type installer struct{}

func (installer) Install(_ context.Context, _ Place, image, disk string, line func(string) error) (int32, error) {
	return 3, line(image + " to " + disk)
}

func (installer) Upgrade(_ context.Context, _ Place, image string, line func(string) error) (int32, error) {
	return 0, line(image)
}

type debugger struct{}

func (debugger) Run(stream grpc.BidiStreamingServer[machinepb.DebugContainerRunRequest, machinepb.DebugContainerRunResponse]) error {
	for {
		in, err := stream.Recv()
		if err != nil {
			return endOfFile(err)
		}
		out := &machinepb.DebugContainerRunResponse{Resp: &machinepb.DebugContainerRunResponse_StdoutData{StdoutData: in.GetStdinData()}}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

type health struct{}

func (health) Check(ctx context.Context, c *clusterpb.ClusterInfo, line func(string) error) error {
	if err := line("waiting for etcd to be healthy: ..."); err != nil {
		return err
	}
	if c.GetForceEndpoint() == "never" {
		<-ctx.Done()
		return ctx.Err()
	}
	return line("waiting for etcd to be healthy: OK")
}

type disks struct{}

func (disks) Wipe(_ context.Context, list []*storagepb.BlockDeviceWipeDescriptor) error {
	if list[0].GetDevice() == "busy" {
		return fmt.Errorf("wipe %s: %w", list[0].GetDevice(), syscall.EBUSY)
	}
	return nil
}
func (disks) RemoveLogicalVolume(context.Context, string, string) error { return nil }
func (disks) RemoveVolumeGroup(context.Context, string) error           { return nil }
func (disks) RemovePhysicalVolume(context.Context, string) error        { return nil }
func (disks) DestroyArray(context.Context, string) error                { return nil }
