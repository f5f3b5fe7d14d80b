package server

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/clusterpb"
	"talos.internal/api/commonpb"
	"talos.internal/api/inspectpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/storagepb"
	"talos.internal/api/timepb"
	"talos.internal/client/talosconfig"
	"talos.internal/controller"
	"talos.internal/controller/graph"
	"talos.internal/resource/block"
	"talos.internal/resource/network"
	"talos.internal/resource/secrets"
	"talos.internal/secret"
	"talos.internal/state"
)

// withAuthority gives the node what it issues certificates from.
func withAuthority(t testing.TB, r *rig) {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	pair := secrets.CertificateAndKey{Crt: a.CertificatePEM(), Key: a.Key().PEM()}
	if _, err := state.Create(t.Context(), r.store, secrets.OSRootID, secrets.OSRoot{IssuingCA: &pair, AcceptedCAs: []secrets.Certificate{{Crt: pair.Crt}}}); err != nil {
		t.Fatal(err)
	}
}

func TestGenerateClientConfiguration(t *testing.T) {
	r := newRig(t, controlPlane(t))
	c := machinepb.NewMachineServiceClient(r.conn)
	ask := func(in *machinepb.GenerateClientConfigurationRequest) (*machinepb.GenerateClientConfigurationResponse, error) {
		return c.GenerateClientConfiguration(as(t, admin), in)
	}
	_, err := ask(&machinepb.GenerateClientConfigurationRequest{Roles: []string{reader}})
	wantCode(t, "before there is an authority", err, codes.FailedPrecondition)
	withAuthority(t, r)
	for _, tc := range []struct {
		name string
		in   *machinepb.GenerateClientConfigurationRequest
	}{
		{"no role", &machinepb.GenerateClientConfigurationRequest{}},
		{"an impersonator", &machinepb.GenerateClientConfigurationRequest{Roles: []string{"os:impersonator"}}},
		{"a role that is none", &machinepb.GenerateClientConfigurationRequest{Roles: []string{"admin"}}},
		{"no time", &machinepb.GenerateClientConfigurationRequest{Roles: []string{reader}, CrtTtl: durationpb.New(-time.Hour)}},
		{"for ever", &machinepb.GenerateClientConfigurationRequest{Roles: []string{reader}, CrtTtl: &durationpb.Duration{Seconds: 1 << 62}}},
	} {
		_, err := ask(tc.in)
		wantCode(t, tc.name, err, codes.InvalidArgument)
	}

	out, err := ask(&machinepb.GenerateClientConfigurationRequest{Roles: []string{reader, operator, reader}, CrtTtl: durationpb.New(2 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	m := out.GetMessages()[0]
	file, _, err := talosconfig.Load(m.GetTalosconfig())
	if err != nil {
		t.Fatal(err)
	}
	name, context, err := file.Lookup("")
	if err != nil || name != "lab" {
		t.Fatalf("context %q, %v; want lab", name, err)
	}
	id, err := context.Identity()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(id.Roles, []string{reader, operator}) {
		t.Errorf("roles %q", id.Roles)
	}
	if left := time.Until(id.NotAfter); left < 119*time.Minute || left > 2*time.Hour {
		t.Errorf("it lives for %v; want 2 h", left)
	}
	pair, err := secret.ParsePair(m.GetCrt(), m.GetKey())
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	if err := pair.Certificate().CheckSignatureFrom(a.Certificate()); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(m.GetCa(), a.CertificatePEM()) {
		t.Errorf("the authority is not that of the node:\n%s", m.GetCa())
	}
}

func TestKubeconfigIsAnArchiveWithOneFile(t *testing.T) {
	r := newRig(t, controlPlane(t))
	if _, err := state.Create(t.Context(), r.store, secrets.KubernetesID, secrets.Kubernetes{AdminKubeconfig: "kind: Config\n"}); err != nil {
		t.Fatal(err)
	}
	c := machinepb.NewMachineServiceClient(r.conn)
	_, err := receive(c.Kubeconfig(as(t, operator), &emptypb.Empty{}))
	wantCode(t, "Kubeconfig as operator", err, codes.PermissionDenied)
	out, err := receive(c.Kubeconfig(as(t, admin), &emptypb.Empty{}))
	if err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(strings.NewReader(text(out)))
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(zip)
	h, err := files.Next()
	if err != nil || h.Name != "kubeconfig" || h.Mode != 0o600 {
		t.Fatalf("header %+v, %v", h, err)
	}
	if b, err := io.ReadAll(files); err != nil || string(b) != "kind: Config\n" {
		t.Errorf("content %q, %v", b, err)
	}
	if _, err := files.Next(); err != io.EOF {
		t.Errorf("after it: %v; want %v", err, io.EOF)
	}
}

func TestEtcd(t *testing.T) {
	r := newRig(t, func(r *rig) { full(r); controlPlane(t)(r) })
	c := machinepb.NewMachineServiceClient(r.conn)
	_, err := c.Bootstrap(as(t, admin), &machinepb.BootstrapRequest{RecoverEtcd: true})
	wantCode(t, "recovery without a snapshot", err, codes.FailedPrecondition)
	_, err = c.Bootstrap(as(t, admin), &machinepb.BootstrapRequest{RecoverSkipHashCheck: true})
	wantCode(t, "skipping a check of nothing", err, codes.InvalidArgument)

	s, err := c.EtcdRecover(as(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"snap", "", "shot"} {
		if err := s.Send(&commonpb.Data{Bytes: []byte(part)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	out, err := receive(c.EtcdSnapshot(as(t, "os:etcd:backup"), &machinepb.EtcdSnapshotRequest{}))
	if err != nil || text(out) != "snapshot" {
		t.Errorf("EtcdSnapshot: %q, %v", text(out), err)
	}
	_, err = receive(c.EtcdSnapshot(as(t, reader), &machinepb.EtcdSnapshotRequest{}))
	wantCode(t, "EtcdSnapshot as reader", err, codes.PermissionDenied)
	_, err = c.Bootstrap(as(t, admin), &machinepb.BootstrapRequest{RecoverEtcd: true, RecoverSkipHashCheck: true})
	wantCode(t, "recovery", err, codes.OK)
	members, err := c.EtcdMemberList(as(t, reader), &machinepb.EtcdMemberListRequest{QueryLocal: true})
	if err != nil || members.GetMessages()[0].GetMembers()[0].GetId() != 7 || !slices.Equal(members.GetMessages()[0].GetLegacyMembers(), []string{"cp-1"}) {
		t.Errorf("EtcdMemberList: %v, %v", members, err)
	}
	e := r.deps.Etcd.(*etcd)
	if _, err := c.EtcdRemoveMemberByID(as(t, admin), &machinepb.EtcdRemoveMemberByIDRequest{MemberId: 9}); err != nil || e.removed != 9 {
		t.Errorf("removed %d, %v; want 9", e.removed, err)
	}
	if e.booted != "recover=true skip=true" {
		t.Errorf("bootstrap %q", e.booted)
	}
}

func TestContainersAndImages(t *testing.T) {
	r := newRig(t, full)
	c, i := machinepb.NewMachineServiceClient(r.conn), machinepb.NewImageServiceClient(r.conn)
	list, err := c.Containers(as(t, reader), &machinepb.ContainersRequest{Namespace: "k8s.io", Driver: commonpb.ContainerDriver_CRI})
	if err != nil || list.GetMessages()[0].GetContainers()[0].GetNamespace() != "k8s.io" {
		t.Errorf("Containers: %v, %v", list, err)
	}
	stats, err := c.Stats(as(t, reader), &machinepb.StatsRequest{})
	if err != nil || stats.GetMessages()[0].GetStats()[0].GetNamespace() != "system" {
		t.Errorf("Stats: %v, %v", stats, err)
	}
	_, err = c.Restart(as(t, operator), &machinepb.RestartRequest{Namespace: "k8s.io", Id: "nothing"})
	wantCode(t, "restart of nothing", err, codes.NotFound)
	_, err = c.Restart(as(t, operator), &machinepb.RestartRequest{Namespace: "k8s.io", Id: "kubelet"})
	wantCode(t, "restart", err, codes.OK)

	instance := &commonpb.ContainerdInstance{Namespace: commonpb.ContainerdNamespace_NS_CRI}
	pulled, err := receive(i.Pull(as(t, operator), &machinepb.ImageServicePullRequest{Containerd: instance, ImageRef: "a:2"}))
	if err != nil || len(pulled) != 2 || pulled[0].GetPullProgress().GetLayerId() != "layer" || pulled[1].GetName() != "pulled" {
		t.Errorf("Pull: %v, %v", pulled, err)
	}
	_, err = receive(i.Pull(as(t, reader), &machinepb.ImageServicePullRequest{Containerd: instance, ImageRef: "a:2"}))
	wantCode(t, "pull as reader", err, codes.PermissionDenied)
	_, err = c.ImagePull(as(t, operator), &machinepb.ImagePullRequest{Reference: "a:2"})
	wantCode(t, "the old pull", err, codes.OK)
	old, err := receive(c.ImageList(as(t, reader), &machinepb.ImageListRequest{}))
	images, err2 := receive(i.List(as(t, reader), &machinepb.ImageServiceListRequest{Containerd: instance}))
	if err != nil || err2 != nil || len(old) != 2 || len(images) != 2 {
		t.Errorf("lists of %d and %d images, %v, %v; want 2", len(old), len(images), err, err2)
	}
	_, err = i.Remove(as(t, admin), &machinepb.ImageServiceRemoveRequest{Containerd: instance, ImageRef: "pulled"})
	wantCode(t, "remove", err, codes.OK)
	_, err = i.Remove(as(t, admin), &machinepb.ImageServiceRemoveRequest{Containerd: instance, ImageRef: "pulled"})
	wantCode(t, "remove again", err, codes.NotFound)
	_, err = i.Remove(as(t, admin), &machinepb.ImageServiceRemoveRequest{Containerd: &commonpb.ContainerdInstance{Namespace: 9}, ImageRef: "pulled"})
	wantCode(t, "remove from nowhere", err, codes.InvalidArgument)
	verified, err := i.Verify(as(t, "os:image:verifier"), &machinepb.ImageServiceVerifyRequest{ImageRef: "a:1"})
	if err != nil || !verified.GetVerified() {
		t.Errorf("Verify: %v, %v", verified, err)
	}

	s, err := i.Import(as(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*machinepb.ImageServiceImportRequest{
		{Request: &machinepb.ImageServiceImportRequest_Containerd{Containerd: instance}},
		{Request: &machinepb.ImageServiceImportRequest_ImageChunk{ImageChunk: &commonpb.Data{Bytes: make([]byte, 100_000)}}},
		{Request: &machinepb.ImageServiceImportRequest_ImageChunk{ImageChunk: &commonpb.Data{Bytes: make([]byte, 1)}}},
	} {
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	imported, err := s.CloseAndRecv()
	if err != nil || imported.GetName() != "imported 100001 bytes" {
		t.Errorf("Import: %v, %v", imported, err)
	}
}

func TestInstallerAndDebug(t *testing.T) {
	r := newRig(t, full)
	l := machinepb.NewLifecycleServiceClient(r.conn)
	out, err := receive(l.Install(as(t, admin), &machinepb.LifecycleServiceInstallRequest{
		Source: &machinepb.InstallArtifactsSource{ImageName: "installer"}, Destination: &machinepb.InstallDestination{Disk: "/dev/vda"},
	}))
	if err != nil || len(out) != 2 || out[0].GetProgress().GetMessage() != "installer to /dev/vda" || out[1].GetProgress().GetExitCode() != 3 {
		t.Errorf("Install: %v, %v", out, err)
	}
	up, err := receive(l.Upgrade(as(t, admin), &machinepb.LifecycleServiceUpgradeRequest{Source: &machinepb.InstallArtifactsSource{ImageName: "installer"}}))
	if err != nil || len(up) != 2 {
		t.Errorf("Upgrade: %v, %v", up, err)
	}
	s, err := machinepb.NewDebugServiceClient(r.conn).ContainerRun(as(t, admin))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&machinepb.DebugContainerRunRequest{Request: &machinepb.DebugContainerRunRequest_StdinData{StdinData: []byte("echo")}}); err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err != nil || string(m.GetStdoutData()) != "echo" {
		t.Errorf("ContainerRun: %v, %v", m, err)
	}
}

func TestHealthCheckSaysWhatItWaitsFor(t *testing.T) {
	r := newRig(t, full)
	c := clusterpb.NewClusterServiceClient(r.conn)
	out, err := receive(c.HealthCheck(as(t, reader), &clusterpb.HealthCheckRequest{}))
	if err != nil || len(out) != 2 {
		t.Errorf("HealthCheck: %v, %v", out, err)
	}
	_, err = receive(c.HealthCheck(as(t, reader), &clusterpb.HealthCheckRequest{
		WaitTimeout: durationpb.New(20 * time.Millisecond), ClusterInfo: &clusterpb.ClusterInfo{ForceEndpoint: "never"},
	}))
	wantCode(t, "one that does not become healthy", err, codes.DeadlineExceeded)
	if err != nil && !strings.Contains(err.Error(), "waiting for etcd") {
		t.Errorf("the error does not say what was waited for: %v", err)
	}
}

func TestInspectShowsTheGraph(t *testing.T) {
	r := newRig(t, nil)
	s := r.deps.Graph.(*controller.Scheduler)
	if err := s.Register(controller.Transform[network.HostnameStatus, network.NodeAddress]{ControllerName: "test.Controller"}); err != nil {
		t.Fatal(err)
	}
	out, err := inspectpb.NewInspectServiceClient(r.conn).ControllerRuntimeDependencies(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	var got []graph.Edge
	for _, e := range out.GetMessages()[0].GetEdges() {
		got = append(got, graph.Edge{
			Controller: e.GetControllerName(), Type: graph.EdgeType(e.GetEdgeType()), Namespace: e.GetResourceNamespace(), ResourceType: e.GetResourceType(), ID: e.GetResourceId(),
		})
	}
	if want := s.Graph(); len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("edges %v; want %v", got, want)
	}
}

func TestDisks(t *testing.T) {
	r := newRig(t, nil)
	for id, d := range map[string]block.Disk{
		"vda":     {DevPath: "/dev/vda", Size: 1, Rotational: true},
		"nvme0n1": {DevPath: "/dev/nvme0n1", Transport: "nvme"},
		"sr0":     {DevPath: "/dev/sr0", CDROM: true, Readonly: true},
		"mmcblk0": {DevPath: "/dev/mmcblk0"},
		"vdb":     {DevPath: "/dev/vdb", Model: "m"},
	} {
		if _, err := state.Create(t.Context(), r.store, id, d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := state.Create(t.Context(), r.store, block.SystemDiskID, block.SystemDisk{DiskID: "vda", DevPath: "/dev/vda"}); err != nil {
		t.Fatal(err)
	}
	out, err := storagepb.NewStorageServiceClient(r.conn).Disks(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]storagepb.Disk_DiskType{}
	for _, d := range out.GetMessages()[0].GetDisks() {
		got[d.GetName()] = d.GetType()
		if d.GetSystemDisk() != (d.GetName() == "vda") {
			t.Errorf("%s: system disk %t", d.GetName(), d.GetSystemDisk())
		}
	}
	want := map[string]storagepb.Disk_DiskType{
		"vda": storagepb.Disk_HDD, "nvme0n1": storagepb.Disk_NVME, "sr0": storagepb.Disk_CD, "mmcblk0": storagepb.Disk_SD, "vdb": storagepb.Disk_SSD,
	}
	for name, kind := range want {
		if got[name] != kind {
			t.Errorf("%s is a %v; want %v", name, got[name], kind)
		}
	}
	f := newRig(t, full)
	_, err = storagepb.NewStorageServiceClient(f.conn).BlockDeviceWipe(as(t, admin), &storagepb.BlockDeviceWipeRequest{Devices: []*storagepb.BlockDeviceWipeDescriptor{{Device: "busy"}}})
	wantCode(t, "wipe of a busy device", err, codes.FailedPrecondition)
	_, err = machinepb.NewLVMServiceClient(f.conn).VolumeGroupRemove(as(t, admin), &machinepb.LVMServiceVolumeGroupRemoveRequest{VolumeGroup: "vg"})
	wantCode(t, "VolumeGroupRemove", err, codes.OK)
}

func TestTime(t *testing.T) {
	r := newRig(t, nil)
	c := timepb.NewTimeServiceClient(r.conn)
	out, err := c.Time(as(t, reader), &emptypb.Empty{})
	if err != nil || out.GetMessages()[0].GetServer() != "" || time.Since(out.GetMessages()[0].GetLocaltime().AsTime()).Abs() > time.Minute {
		t.Errorf("Time without servers: %v, %v", out, err)
	}
	if _, err := state.Create(t.Context(), r.store, network.TimeServerStatusID, network.TimeServerStatus{Servers: []string{"time.example.org"}}); err != nil {
		t.Fatal(err)
	}
	out, err = c.Time(as(t, reader), &emptypb.Empty{})
	if err != nil {
		t.Fatal(err)
	}
	m := out.GetMessages()[0]
	if ahead := m.GetRemotetime().AsTime().Sub(m.GetLocaltime().AsTime()); m.GetServer() != "time.example.org" || ahead < 59*time.Minute || ahead > 61*time.Minute {
		t.Errorf("Time: %v; want %s to be one hour ahead", m, "time.example.org")
	}
	_, err = c.TimeCheck(as(t, reader), &timepb.TimeRequest{Server: "other.example.org"})
	wantCode(t, "a server that does not answer", err, codes.Unavailable)
	_, err = c.TimeCheck(as(t, reader), &timepb.TimeRequest{Server: "/dev/ptp0"})
	wantCode(t, "a device", err, codes.InvalidArgument)
}

// ntpServer answers one request, with a clock that is ahead (RFC 5905, section 7.3).
func ntpServer(t *testing.T, ahead time.Duration) string {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		in := make([]byte, 512)
		n, from, err := conn.ReadFrom(in)
		if err != nil || n < 48 {
			return
		}
		now := time.Now().Add(ahead)
		stamp := func(at []byte) {
			binary.BigEndian.PutUint32(at, uint32(now.Unix()+2208988800))
			binary.BigEndian.PutUint32(at[4:], uint32(uint64(now.Nanosecond())<<32/1e9))
		}
		out := make([]byte, 48)
		out[0], out[1], out[3] = 4<<3|4, 1, 0xec // version 4, server; stratum 1
		copy(out[12:], "TEST")
		stamp(out[16:])
		copy(out[24:32], in[40:48])
		stamp(out[32:])
		stamp(out[40:])
		_, _ = conn.WriteTo(out, from)
	}()
	return conn.LocalAddr().String()
}

func TestTimeCheckSpeaksNTP(t *testing.T) {
	r := newRig(t, func(r *rig) { r.deps.QueryTime = nil })
	out, err := timepb.NewTimeServiceClient(r.conn).TimeCheck(as(t, reader), &timepb.TimeRequest{Server: ntpServer(t, 10*time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	m := out.GetMessages()[0]
	if ahead := m.GetRemotetime().AsTime().Sub(m.GetLocaltime().AsTime()); ahead < 9*time.Minute || ahead > 11*time.Minute {
		t.Errorf("the server is %v ahead; want 10 min", ahead)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := queryNTP(ctx, ntpServer(t, 0)+"1"); err == nil || time.Since(start) > 3*time.Second {
		t.Errorf("a server that does not exist: %v after %v", err, time.Since(start))
	}
}
