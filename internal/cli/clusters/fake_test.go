package clusters

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/membershippb"
	"talos.internal/api/statepb"
	"talos.internal/config"
	"talos.internal/config/generate"
	"talos.internal/internal/provision"
	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
)

// lab is a provisioner whose machines are entries of a map. What they would do is done by one server of the machine API and
// one of Kubernetes, each with the certificates that real ones of the cluster would have.
type lab struct {
	t     testing.TB
	store provision.Store

	mu       sync.Mutex
	machines map[string]*machine // by name
	removed  map[uint64]bool     // members of etcd
	nodes    map[string]string   // addresses of the Nodes of Kubernetes, by name
	pods     map[string]string   // names of the Nodes of pods, by name
	unsure   int                 // so many times the others are not sure yet that a machine is gone
	calls    []string
	begun    bool
	tries    int // of bootstrap
	bundle   *secret.Bundle
	endpoint string // of the machine API
	kube     string // of Kubernetes

	// What goes wrong.
	failStart string // the node whose start fails
	dies      string // the node that ends right after its start
	deaf      string // the node whose API never answers
	unwell    string // the node whose kubelet is not healthy
	onStart   func(node string)
	ctx       context.Context // of the next command, if it is to be interrupted
}

type machine struct {
	request provision.NodeRequest
	running bool
}

func newLab(t testing.TB, dir string) *lab {
	return &lab{t: t, store: provision.Store{Dir: dir}, machines: map[string]*machine{}, removed: map[uint64]bool{}, nodes: map[string]string{}, pods: map[string]string{}}
}

func (l *lab) call(format string, args ...any) {
	l.calls = append(l.calls, fmt.Sprintf(format, args...))
}

// Name implements provision.Provisioner.
func (l *lab) Name() string { return "native" }

// Create implements provision.Provisioner.
func (l *lab) Create(ctx context.Context, r provision.ClusterRequest, p provision.Progress) (*provision.Cluster, error) {
	if err := r.Check(); err != nil {
		return nil, err
	}
	if strings.Contains(r.Image, "missing") {
		return nil, fmt.Errorf("image %s: it is not in the image cache: %w", r.Image, fs.ErrNotExist)
	}
	state := &provision.State{
		Provisioner: l.Name(), Name: r.Name, Phase: provision.Creating, Created: time.Now().UTC(), Image: r.Image, KubernetesEndpoint: r.KubernetesEndpoint,
		Network: provision.StateNetwork{Name: "bridge0", CIDR: r.Network.CIDR, Gateway: r.Network.Gateway(), MTU: r.Network.MTU},
	}
	for _, n := range r.Nodes {
		state.Nodes = append(state.Nodes, provision.StateNode{Name: n.Name, Type: n.Type, Address: n.Address, CPUs: n.CPUs, Memory: n.Memory})
	}
	if err := os.MkdirAll(l.store.Path(r.Name), 0o700); err != nil {
		return nil, err
	}
	if err := l.store.Save(state); err != nil {
		return nil, err
	}
	if err := l.serve(r.Nodes[0].Config); err != nil {
		return nil, err
	}
	for _, n := range r.Nodes {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := p.Do("start node "+n.Name, func() error { return l.start(n) }); err != nil {
			return nil, err
		}
	}
	state.Phase = provision.Created
	if err := l.store.Save(state); err != nil {
		return nil, err
	}
	return l.Reflect(ctx, r.Name)
}

func (l *lab) start(n provision.NodeRequest) error {
	if l.onStart != nil {
		l.onStart(n.Name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n.Name == l.failStart {
		return errors.New("no such device")
	}
	l.machines[n.Name] = &machine{n, n.Name != l.dies}
	l.nodes[n.Name] = n.Address.String()
	delete(l.removed, memberID(l.machines[n.Name]))
	return nil
}

// Reflect implements provision.Provisioner.
func (l *lab) Reflect(_ context.Context, name string) (*provision.Cluster, error) {
	state, err := l.store.Load(name)
	if err != nil {
		return nil, err
	}
	c := l.store.Cluster(state)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range c.Nodes {
		n := &c.Nodes[i]
		if i == 0 {
			n.Endpoint = l.endpoint
		}
		if m := l.machines[n.Name]; m != nil {
			n.Status = provision.Stopped
			if m.running {
				n.Status = provision.Running
			}
		}
	}
	return c, nil
}

// Destroy implements provision.Provisioner.
func (l *lab) Destroy(_ context.Context, name string, p provision.Progress) error {
	state, err := l.store.Load(name)
	if err != nil {
		return err
	}
	return p.Do("remove files", func() error {
		for _, n := range state.Nodes {
			delete(l.machines, n.Name)
			delete(l.nodes, n.Name)
		}
		l.begun, l.tries = false, 0
		return os.RemoveAll(l.store.Path(name))
	})
}

// AddNode implements provision.Provisioner.
func (l *lab) AddNode(_ context.Context, cluster string, r provision.NodeRequest, p provision.Progress) error {
	state, err := l.store.Load(cluster)
	if err != nil {
		return err
	}
	if _, err := state.Node(r.Name); err == nil {
		return fmt.Errorf("add node %s: %w", r.Name, fs.ErrExist)
	}
	state.Nodes = append(state.Nodes, provision.StateNode{Name: r.Name, Type: r.Type, Address: r.Address, CPUs: r.CPUs, Memory: r.Memory})
	if err := l.store.Save(state); err != nil {
		return err
	}
	return p.Do("start node "+r.Name, func() error { return l.start(r) })
}

// RemoveNode implements provision.Provisioner.
func (l *lab) RemoveNode(_ context.Context, cluster, node string, p provision.Progress) error {
	state, err := l.store.Load(cluster)
	if err != nil {
		return err
	}
	i, err := state.Node(node)
	if err != nil {
		return err
	}
	state.Nodes = slices.Delete(state.Nodes, i, i+1)
	return p.Do("remove node "+node, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.machines, node)
		return l.store.Save(state)
	})
}

func (l *lab) power(node string, on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.machines[node]
	if m == nil {
		return fs.ErrNotExist
	}
	m.running = on
	return nil
}

// StartNode implements provision.Provisioner.
func (l *lab) StartNode(_ context.Context, _, node string) error { return l.power(node, true) }

// StopNode implements provision.Provisioner.
func (l *lab) StopNode(_ context.Context, _, node string) error { return l.power(node, false) }

// KillNode implements provision.Provisioner.
func (l *lab) KillNode(_ context.Context, _, node string) error { return l.power(node, false) }

// Config implements provision.Provisioner.
func (l *lab) Config(_ context.Context, _, node string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.machines[node]
	if m == nil {
		return nil, fs.ErrNotExist
	}
	return m.request.Config, nil
}

// Logs implements provision.Provisioner.
func (l *lab) Logs(_ context.Context, _, node string, o provision.LogOptions, w io.Writer) error {
	text := "boot\nready\n"
	if node == l.dies || node == l.deaf {
		text = "boot\npanic: \x1b[31mno disk\n"
	}
	if o.Tail == 1 {
		_, text, _ = strings.Cut(text, "\n")
	}
	_, err := io.WriteString(w, text)
	return err
}

// serve starts the servers of a cluster whose first node has a config.
func (l *lab) serve(text []byte) error {
	c, err := config.Load("config", text)
	if err != nil {
		return err
	}
	if l.bundle, err = generate.Secrets(c); err != nil {
		return err
	}
	names := secret.SANs{IPs: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}
	pair, err := l.bundle.OS.Issue(secret.NodeServer("node", names), time.Now())
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(l.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: l.bundle.OS.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	machinepb.RegisterMachineServiceServer(server, labMachines{l: l})
	membershippb.RegisterMembershipServiceServer(server, labMembership{l: l})
	statepb.RegisterStateServer(server, labState{l: l})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // the error is that it was stopped
	}()
	l.endpoint = listener.Addr().String()
	kube, err := l.bundle.Kubernetes.Issue(secret.NodeServer("kube-apiserver", names), time.Now())
	if err != nil {
		return err
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(l.serveKubernetes))
	api.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{kube.TLS()}, ClientCAs: l.bundle.Kubernetes.Pool(), ClientAuth: tls.RequireAndVerifyClientCert}
	api.StartTLS()
	l.kube = api.URL
	l.t.Cleanup(func() {
		server.Stop()
		<-done
		api.Close()
	})
	return nil
}

// running are the machines that run, sorted by name.
func (l *lab) running() []*machine {
	var out []*machine
	for _, m := range l.machines {
		if m.running {
			out = append(out, m)
		}
	}
	slices.SortFunc(out, func(a, b *machine) int { return strings.Compare(a.request.Name, b.request.Name) })
	return out
}

// at returns the machine that a call is for. The lock is held when it returns without an error.
func (l *lab) at(ctx context.Context) (*machine, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	target := strings.Join(md["node"], ",")
	l.mu.Lock()
	for _, m := range l.running() {
		if m.request.Address.String() == target && m.request.Name != l.deaf {
			return m, nil
		}
	}
	l.mu.Unlock()
	return nil, status.Errorf(codes.Unavailable, "no route to %s", target)
}

// memberID is the id of a machine in etcd.
func memberID(m *machine) uint64 { return uint64(m.request.Address.As4()[3]) }

type labMachines struct {
	machinepb.UnimplementedMachineServiceServer
	l *lab
}

func (s labMachines) Version(ctx context.Context, _ *emptypb.Empty) (*machinepb.VersionResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	return &machinepb.VersionResponse{Messages: []*machinepb.Version{{}}}, nil
}

func (s labMachines) Bootstrap(ctx context.Context, _ *machinepb.BootstrapRequest) (*machinepb.BootstrapResponse, error) {
	m, err := s.l.at(ctx)
	if err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	if s.l.tries++; s.l.tries == 1 {
		return nil, status.Error(codes.FailedPrecondition, "etcd is not there yet")
	}
	s.l.begun = true
	s.l.call("bootstrap %s", m.request.Name)
	return &machinepb.BootstrapResponse{Messages: []*machinepb.Bootstrap{{}}}, nil
}

func (s labMachines) ServiceList(ctx context.Context, _ *emptypb.Empty) (*machinepb.ServiceListResponse, error) {
	m, err := s.l.at(ctx)
	if err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	service := func(id string, healthy bool) *machinepb.ServiceInfo {
		return &machinepb.ServiceInfo{Id: id, State: "Running", Health: &machinepb.ServiceHealth{Healthy: healthy, LastMessage: "connection refused"}}
	}
	return &machinepb.ServiceListResponse{Messages: []*machinepb.ServiceList{{Services: []*machinepb.ServiceInfo{
		service("apid", true), service("etcd", s.l.begun), service("kubelet", m.request.Name != s.l.unwell),
	}}}}, nil
}

func (s labMachines) EtcdMemberList(ctx context.Context, _ *machinepb.EtcdMemberListRequest) (*machinepb.EtcdMemberListResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	out := &machinepb.EtcdMembers{}
	for _, m := range s.l.machines {
		if m.request.Type == provision.ControlPlane && !s.l.removed[memberID(m)] {
			out.Members = append(out.Members, &machinepb.EtcdMember{
				Id: memberID(m), Hostname: m.request.Name, PeerUrls: []string{"https://" + m.request.Address.String() + ":2380"},
			})
		}
	}
	return &machinepb.EtcdMemberListResponse{Messages: []*machinepb.EtcdMembers{out}}, nil
}

func (s labMachines) EtcdLeaveCluster(ctx context.Context, _ *machinepb.EtcdLeaveClusterRequest) (*machinepb.EtcdLeaveClusterResponse, error) {
	m, err := s.l.at(ctx)
	if err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	s.l.removed[memberID(m)] = true
	s.l.call("leave %s", m.request.Name)
	return &machinepb.EtcdLeaveClusterResponse{Messages: []*machinepb.EtcdLeaveCluster{{}}}, nil
}

func (s labMachines) EtcdRemoveMemberByID(ctx context.Context, in *machinepb.EtcdRemoveMemberByIDRequest) (*machinepb.EtcdRemoveMemberByIDResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	s.l.removed[in.GetMemberId()] = true
	s.l.call("remove member %d", in.GetMemberId())
	return &machinepb.EtcdRemoveMemberByIDResponse{Messages: []*machinepb.EtcdRemoveMemberByID{{}}}, nil
}

func (s labMachines) Memory(ctx context.Context, _ *emptypb.Empty) (*machinepb.MemoryResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	return &machinepb.MemoryResponse{Messages: []*machinepb.Memory{{Meminfo: &machinepb.MemInfo{Memtotal: 4 << 20}}}}, nil
}

func (s labMachines) Mounts(ctx context.Context, _ *emptypb.Empty) (*machinepb.MountsResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	return &machinepb.MountsResponse{Messages: []*machinepb.Mounts{{}}}, nil
}

func (s labMachines) Kubeconfig(_ *emptypb.Empty, stream grpc.ServerStreamingServer[commonpb.Data]) error {
	if _, err := s.l.at(stream.Context()); err != nil {
		return err
	}
	defer s.l.mu.Unlock()
	if !s.l.begun {
		return status.Error(codes.FailedPrecondition, "the kubeconfig is not there yet")
	}
	pair, err := s.l.bundle.Kubernetes.Issue(secret.KubeAdmin(time.Hour), time.Now())
	if err != nil {
		return err
	}
	text, err := kubeconfig.Spec{
		Cluster: "lab", User: "admin@lab", Context: "admin@lab", Server: s.l.kube, CA: secretCA(s.l.bundle), Client: pair,
	}.Marshal()
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zip)
	_ = archive.WriteHeader(&tar.Header{Name: "kubeconfig", Mode: 0o600, Typeflag: tar.TypeReg, Size: int64(len(text))}) // to memory
	_, _ = archive.Write(text)
	_, _ = archive.Close(), zip.Close()
	return stream.Send(&commonpb.Data{Bytes: packed.Bytes()})
}

type labMembership struct {
	membershippb.UnimplementedMembershipServiceServer
	l *lab
}

// Forget refuses a machine that runs, and for a while one that has just ended.
func (s labMembership) Forget(in *membershippb.ForgetRequest, stream grpc.ServerStreamingServer[membershippb.ForgetProgress]) error {
	if _, err := s.l.at(stream.Context()); err != nil {
		return err
	}
	defer s.l.mu.Unlock()
	m := s.l.machines[in.GetMember()]
	switch {
	case in.GetMember() == "stranger":
	case s.l.nodes[in.GetMember()] == "" && m == nil && !in.GetForce():
		return status.Errorf(codes.NotFound, "remove %s: no member of the cluster is called so", in.GetMember())
	case m != nil && m.running && !in.GetForce():
		return status.Errorf(codes.FailedPrecondition, "remove %s: the machine is not known to be gone (it is alive)", in.GetMember())
	case s.l.unsure > 0 && !in.GetForce():
		s.l.unsure--
		return status.Errorf(codes.FailedPrecondition, "remove %s: the machine is not known to be gone (it has been silent for a moment only)", in.GetMember())
	}
	s.l.call("forget %s %t %v", in.GetMember(), in.GetForce(), in.GetDrainTimeout().AsDuration())
	delete(s.l.nodes, in.GetMember())
	return stream.Send(&membershippb.ForgetProgress{Step: "membership", Message: "it was forgotten"})
}

type labState struct {
	statepb.UnimplementedStateServer
	l *lab
}

func (s labState) Get(ctx context.Context, in *statepb.GetRequest) (*statepb.GetResponse, error) {
	if _, err := s.l.at(ctx); err != nil {
		return nil, err
	}
	defer s.l.mu.Unlock()
	if !strings.HasPrefix(in.GetType(), "MachineStatuses.") {
		return nil, status.Errorf(codes.NotFound, "there is no %s", in.GetType())
	}
	return &statepb.GetResponse{Resource: &statepb.Resource{Spec: &statepb.Spec{YamlSpec: "stage: running\nstatus:\n  ready: true\n"}}}, nil
}

func (s labState) List(_ *statepb.ListRequest, stream grpc.ServerStreamingServer[statepb.ListResponse]) error {
	_, err := s.l.at(stream.Context())
	if err == nil {
		s.l.mu.Unlock()
	}
	return err
}

// serveKubernetes is as much of Kubernetes as the checks ask for.
func (l *lab) serveKubernetes(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	type object = map[string]any
	condition := []object{{"type": "Ready", "status": "True"}}
	var nodes, pods []object
	for name, address := range l.nodes {
		nodes = append(nodes, object{"metadata": object{"name": name}, "status": object{
			"conditions": condition, "addresses": []object{{"type": "InternalIP", "address": address}},
		}})
		for _, c := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
			pods = append(pods, object{"metadata": object{"name": c + "-" + name}, "status": object{"phase": "Running", "conditions": condition}})
		}
	}
	var out object
	onPod, isPod := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/default/pods/")
	switch name, isNode := strings.CutPrefix(r.URL.Path, "/api/v1/nodes/"); {
	case isNode && r.Method == http.MethodDelete:
		delete(l.nodes, name)
		l.call("delete Node %s", name)
	case isNode && r.Method == http.MethodPatch:
		l.call("cordon %s", name)
	case isNode && l.nodes[name] != "":
		out = object{"metadata": object{"name": name}}
	case isPod && r.Method != http.MethodGet:
		name, _ := strings.CutSuffix(onPod, "/eviction")
		l.call("%s pod %s of %s%s", strings.ToLower(r.Method), onPod, l.pods[name], r.URL.RawQuery)
		if name != "stubborn" {
			delete(l.pods, name)
		}
	case r.URL.Path == "/api/v1":
		out = object{"resources": []object{{"name": "nodes", "kind": "Node"}, {"name": "pods", "kind": "Pod", "namespaced": true}}}
	case r.URL.Path == "/api/v1/pods":
		var on []object
		for name, node := range l.pods {
			if r.URL.Query().Get("fieldSelector") == "spec.nodeName="+node {
				on = append(on, object{"metadata": object{"name": name, "namespace": "default"}, "spec": object{"nodeName": node}})
			}
		}
		out = object{"items": on}
	case r.URL.Path == "/api/v1/nodes":
		out = object{"items": nodes}
	case r.URL.Path == "/api/v1/namespaces/kube-system/pods":
		out = object{"items": pods}
	case strings.HasSuffix(r.URL.Path, "/daemonsets/kube-proxy"):
		out = object{"status": object{"desiredNumberScheduled": 1, "numberReady": 1}}
	case strings.HasSuffix(r.URL.Path, "/deployments/coredns"):
		out = object{"spec": object{"replicas": 2}, "status": object{"readyReplicas": 2}}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
	data, err := json.Marshal(out)
	if err != nil {
		l.t.Errorf("encode: %v", err)
	}
	_, _ = w.Write(data) // to a client that may have gone
}
