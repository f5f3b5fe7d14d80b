package container

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Labels that the CRI plugin puts on the containers of pods.
const (
	labelKind         = "io.cri-containerd.kind" // sandbox or container
	labelPod          = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodUID       = "io.kubernetes.pod.uid"
	labelContainer    = "io.kubernetes.container.name"
)

// Info is a container that containerd has.
type Info struct {
	// Namespace is containerd's.
	Namespace string
	// ID is what it is called: that of a system service as it is, that of a pod's container NAMESPACE/POD:CONTAINER, and that of
	// a pod's sandbox NAMESPACE/POD. Two runs of one pod's container have the same ID; see InternalID.
	ID string
	// UID is the pod's, InternalID containerd's own.
	UID, InternalID string
	// Name is that of the container within its pod, empty for a sandbox; for a system service, its ID.
	Name string
	// PodID is NAMESPACE/POD; for a system service, its ID.
	PodID string
	Image string
	// PID is that of its first process, 0 if it does not run.
	PID uint32
	// Status is that of containerd in upper case, RUNNING, STOPPED, CREATED, or for a container without a process UNKNOWN.
	Status string
	// NetworkNamespace is the path or, for the host's, empty.
	NetworkNamespace string
	// Sandbox tells that it is the sandbox of a pod.
	Sandbox bool
}

// Stats is what a container uses.
type Stats struct {
	Namespace, ID, PodID, Name string
	// Memory is the bytes in use without file cache that can be given up at once. CPU is since its start.
	Memory uint64
	CPU    time.Duration
}

// describe names a container.
func describe(namespace string, r containers.Container) Info {
	i := Info{Namespace: namespace, ID: r.ID, InternalID: r.ID, Name: r.ID, PodID: r.ID, Image: r.Image, Status: "UNKNOWN"}
	pod := r.Labels[labelPod]
	if pod == "" {
		return i
	}
	i.UID = r.Labels[labelPodUID]
	i.PodID = r.Labels[labelPodNamespace] + "/" + pod
	i.Name = r.Labels[labelContainer]
	i.Sandbox = r.Labels[labelKind] == "sandbox"
	i.ID = i.PodID
	if !i.Sandbox {
		i.ID += ":" + i.Name
	}
	return i
}

// Containers lists the containers of a namespace, by ID, a sandbox before its containers. A namespace that is not there has none.
func (c *Client) Containers(ctx context.Context, namespace string) ([]Info, error) {
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	records, err := conn.ContainerService().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list containers in %s: %w", namespace, err)
	}
	running, err := conn.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("list the processes of containers in %s: %w", namespace, errgrpc.ToNative(err))
	}
	processes := map[string]*task.Process{}
	for _, p := range running.Tasks {
		processes[p.ID] = p
	}
	out := make([]Info, 0, len(records))
	for _, r := range records {
		i := describe(namespace, r)
		if p := processes[r.ID]; p != nil {
			i.Status = p.Status.String()
			if p.Status != task.Status_STOPPED {
				i.PID = p.Pid
			}
		}
		i.NetworkNamespace = networkNamespace(r)
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Info) int {
		if d := strings.Compare(a.ID, b.ID); d != 0 {
			return d
		}
		return strings.Compare(a.InternalID, b.InternalID)
	})
	return out, nil
}

// networkNamespace returns the path of the network namespace that a container was given.
func networkNamespace(r containers.Container) string {
	if r.Spec == nil {
		return ""
	}
	var s specs.Spec
	if err := typeurl.UnmarshalTo(r.Spec, &s); err != nil || s.Linux == nil {
		return ""
	}
	for _, n := range s.Linux.Namespaces {
		if n.Type == specs.NetworkNamespace {
			return n.Path
		}
	}
	return ""
}

// find returns the container that an operator calls id: its ID as [Client.Containers] has it, or its InternalID. Of several runs
// of a pod's container it is the one that runs, otherwise the last in the list.
func (c *Client) find(ctx context.Context, namespace, id string) (Info, error) {
	list, err := c.Containers(ctx, namespace)
	if err != nil {
		return Info{}, err
	}
	var found *Info
	for i := range list {
		if l := &list[i]; (l.ID == id || l.InternalID == id) && (found == nil || found.PID == 0) {
			found = l
		}
	}
	if found == nil {
		return Info{}, fmt.Errorf("container %s in %s: %w", id, namespace, ErrNotFound)
	}
	return *found, nil
}

// Kill sends a signal to the program of a container, for an operator who wants it restarted: whoever runs it starts it again.
func (c *Client) Kill(ctx context.Context, namespace, id string, signal syscall.Signal) error {
	i, err := c.find(ctx, namespace, id)
	if err != nil {
		return err
	}
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return err
	}
	if _, err := conn.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: i.InternalID, Signal: uint32(signal)}); err != nil {
		return fmt.Errorf("send %s to container %s: %w", signal, id, errgrpc.ToNative(err))
	}
	return nil
}

// Stats measures the containers of a namespace that run, by ID.
func (c *Client) Stats(ctx context.Context, namespace string) ([]Stats, error) {
	list, err := c.Containers(ctx, namespace)
	if err != nil {
		return nil, err
	}
	ctx, conn, err := c.in(ctx, namespace)
	if err != nil {
		return nil, err
	}
	byID := map[string]*types.Metric{}
	r, err := conn.TaskService().Metrics(ctx, &tasks.MetricsRequest{})
	if err != nil {
		return nil, fmt.Errorf("measure containers in %s: %w", namespace, errgrpc.ToNative(err))
	}
	for _, m := range r.Metrics {
		byID[m.ID] = m
	}
	var out []Stats
	for _, i := range list {
		m := byID[i.InternalID]
		if i.PID == 0 || m == nil {
			continue
		}
		s := Stats{Namespace: i.Namespace, ID: i.ID, PodID: i.PodID, Name: i.Name}
		s.Memory, s.CPU, err = usage(m)
		if err != nil {
			return nil, fmt.Errorf("measure container %s: %w", i.ID, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// usage reads what the shim has measured, in the form of cgroup v1 or v2.
func usage(m *types.Metric) (memory uint64, cpu time.Duration, err error) {
	v, err := typeurl.UnmarshalAny(m.Data)
	if err != nil {
		return 0, 0, err
	}
	without := func(all, inactive uint64) uint64 { return all - min(all, inactive) }
	switch v := v.(type) {
	case *cgroup1.Metrics:
		memory = without(v.GetMemory().GetUsage().GetUsage(), v.GetMemory().GetTotalInactiveFile())
		cpu = time.Duration(v.GetCPU().GetUsage().GetTotal())
	case *cgroup2.Metrics:
		memory = without(v.GetMemory().GetUsage(), v.GetMemory().GetInactiveFile())
		cpu = time.Duration(v.GetCPU().GetUsageUsec()) * time.Microsecond
	default:
		return 0, 0, fmt.Errorf("metrics of the unknown type %s", m.Data.GetTypeUrl())
	}
	return memory, cpu, nil
}

// LogFile returns the file that has the log of a pod's container, the newest if there are several; logs is the directory that
// kubelet was given for them, /var/log/pods. Its lines have a time, the stream and a tag before the text, as the CRI says.
func (c *Client) LogFile(ctx context.Context, logs, id string) (string, error) {
	i, err := c.find(ctx, Pods, id)
	if err != nil {
		return "", err
	}
	if i.Sandbox || i.UID == "" {
		return "", fmt.Errorf("log of container %s: %w: a pod's sandbox has none, name one of its containers", id, ErrNotFound)
	}
	return newestLog(logs, i)
}

// newestLog finds LOGS/NAMESPACE_POD_UID/CONTAINER/N.log with the highest N.
func newestLog(logs string, i Info) (string, error) {
	namespace, pod, _ := strings.Cut(i.PodID, "/")
	dir := filepath.Join(logs, fmt.Sprintf("%s_%s_%s", namespace, pod, i.UID), i.Name)
	if !filepath.IsLocal(i.Name) || filepath.Dir(filepath.Dir(dir)) != filepath.Clean(logs) {
		return "", fmt.Errorf("log of container %s: its labels are no names of directories", i.ID)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("log of container %s: %w", i.ID, err)
	}
	newest, last := "", -1
	for _, f := range files {
		number, ok := strings.CutSuffix(f.Name(), ".log")
		if n, err := strconv.Atoi(number); ok && err == nil && n > last {
			newest, last = filepath.Join(dir, f.Name()), n
		}
	}
	if newest == "" {
		return "", fmt.Errorf("log of container %s in %s: %w", i.ID, dir, ErrNotFound)
	}
	return newest, nil
}
