package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/commonpb"
	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/cli/nodes"
	"talos.internal/resource"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/network"
	"talos.internal/resource/runtime"
	"talos.internal/secret"
)

// Sample is how a machine did at one time.
type Sample struct {
	// Hostname and Version are empty if they are not known.
	Hostname, Version string
	// Stage is where the machine is in its life; Ready whether all runs that should, and Unmet what does not.
	Stage string
	Ready bool
	Unmet []string
	// Uptime is zero if it is not known.
	Uptime time.Duration
	// Load is the load average of one, five and fifteen minutes.
	Load [3]float64
	// CPU has the time since the start, in seconds of all processors together: what was used, and all there was.
	CPUUsed, CPUTotal float64
	// MemoryUsed and MemoryTotal are in bytes.
	MemoryUsed, MemoryTotal uint64
	Services                []Service
	// Log is the end of the log of LogOf.
	LogOf string
	Log   []string
	// Type is whether it is a control plane or a worker, Addresses is where it can be reached; empty as long as that is not known.
	Type      string
	Addresses []string
	// Fingerprint is that of the certificate which a machine without a config serves its API with.
	Fingerprint string
	// Problem is why some of it is missing; empty if nothing is.
	Problem string
}

// Service is a service of a machine.
type Service struct {
	ID, State, Health string
}

// answer is how long one question may take.
const answer = 5 * time.Second

// logLines is how many lines of a log are asked for.
const logLines = 100

// remote is the machines of a session.
type remote struct{ s *nodes.Session }

func (r remote) Machines() []string { return r.s.Nodes() }

// Sample implements Source.
func (r remote) Sample(ctx context.Context, machine, service string) Sample {
	return gather(questions(service, r.s.Env().Now()), func(q question) (func(*Sample), error) {
		return nodes.One(ctx, r.s, machine, answer, func(ctx context.Context, c *client.Client, _ string) (func(*Sample), error) { return q(ctx, c) })
	})
}

// local is the machine that the program runs on.
type local struct {
	c         *client.Client
	name, api string
}

// ownAPI is where a machine serves its API.
const ownAPI = "127.0.0.1:50000"

// Local returns the machine at the other end of c, of which the screen says that it is called name.
func Local(c *client.Client, name string) Source { return local{c, name, ownAPI} }

func (l local) Machines() []string { return []string{l.name} }

// Sample implements Source.
func (l local) Sample(ctx context.Context, _, service string) Sample {
	out := gather(questions(service, time.Now()), func(q question) (func(*Sample), error) {
		ctx, cancel := context.WithTimeout(ctx, answer)
		defer cancel()
		return q(ctx, l.c)
	})
	if out.Stage == runtime.StageMaintenance.String() {
		// A person compares it with what the client says. Until the API listens there is none.
		out.Fingerprint, _ = fingerprint(ctx, l.api)
	}
	return out
}

// fingerprint is that of the certificate that a server has.
func fingerprint(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	// The certificate itself is wanted, and nothing is said to whoever has it.
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return secret.CertificateFingerprint(c.(*tls.Conn).ConnectionState().PeerCertificates[0]).String(), nil
}

// gather asks all questions at once: a machine that answers one slowly answers the others.
func gather(questions []question, ask func(question) (func(*Sample), error)) Sample {
	var (
		out     Sample
		mu      sync.Mutex
		waiting sync.WaitGroup
	)
	for _, q := range questions {
		waiting.Go(func() {
			put, err := ask(q)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Problem = cmp.Or(out.Problem, nodes.OneLine(client.Explain(err)))
				return
			}
			put(&out)
		})
	}
	waiting.Wait()
	return out
}

type question = func(ctx context.Context, c *client.Client) (func(*Sample), error)

func questions(service string, now time.Time) []question {
	empty := &emptypb.Empty{}
	all := []question{
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().Version(ctx, empty))
			return func(s *Sample) { s.Version = m.GetVersion().GetTag() }, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().Hostname(ctx, empty))
			return func(s *Sample) { s.Hostname = m.GetHostname() }, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().LoadAvg(ctx, empty))
			return func(s *Sample) { s.Load = [3]float64{m.GetLoad1(), m.GetLoad5(), m.GetLoad15()} }, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().Memory(ctx, empty))
			return func(s *Sample) {
				i := m.GetMeminfo()
				s.MemoryTotal = i.GetMemtotal() << 10
				s.MemoryUsed = s.MemoryTotal - min(s.MemoryTotal, i.GetMemavailable()<<10)
			}, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().SystemStat(ctx, empty))
			return func(s *Sample) {
				t := m.GetCpuTotal()
				// The time of guests is in that of users already (proc_stat(5)).
				idle := t.GetIdle() + t.GetIowait()
				s.CPUUsed = t.GetUser() + t.GetNice() + t.GetSystem() + t.GetIrq() + t.GetSoftIrq() + t.GetSteal()
				s.CPUTotal = s.CPUUsed + idle
				if boot := m.GetBootTime(); boot != 0 {
					s.Uptime = now.Sub(time.Unix(int64(boot), 0)).Round(time.Second)
				}
			}, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			m, err := client.Only(c.Machine().ServiceList(ctx, empty))
			return func(s *Sample) {
				for _, i := range m.GetServices() {
					s.Services = append(s.Services, Service{i.GetId(), i.GetState(), health(i.GetHealth())})
				}
				slices.SortFunc(s.Services, func(a, b Service) int { return cmp.Compare(a.ID, b.ID) })
			}, err
		},
		machineStatus,
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			t, err := spec[machineconfig.Type](ctx, c, machineconfig.TypeID)
			return func(s *Sample) {
				if t.Type != machineconfig.TypeUnknown {
					s.Type = t.Type.String()
				}
			}, err
		},
		func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			a, err := spec[network.NodeAddress](ctx, c, network.NodeAddressDefault)
			return func(s *Sample) {
				for _, p := range a.Addresses {
					s.Addresses = append(s.Addresses, p.Addr().String())
				}
			}, err
		},
	}
	if service != "" {
		all = append(all, func(ctx context.Context, c *client.Client) (func(*Sample), error) {
			lines, err := logEnd(ctx, c, service)
			return func(s *Sample) { s.LogOf, s.Log = service, lines }, err
		})
	}
	return all
}

func health(h *machinepb.ServiceHealth) string {
	switch {
	case h == nil || h.GetUnknown():
		return "?"
	case h.GetHealthy():
		return "OK"
	}
	return "Fail"
}

// spec returns the spec of a resource, the zero one if there is none.
func spec[S resource.Spec](ctx context.Context, c *client.Client, id string) (S, error) {
	var out S
	kind := resource.KindOf[S]()
	r, err := c.State().Get(ctx, &statepb.GetRequest{Namespace: kind.Namespace, Type: kind.Type, Id: id})
	if status.Code(err) == codes.NotFound {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	return out, yaml.Unmarshal([]byte(r.GetResource().GetSpec().GetYamlSpec()), &out)
}

func machineStatus(ctx context.Context, c *client.Client) (func(*Sample), error) {
	m, err := spec[runtime.MachineStatus](ctx, c, runtime.MachineStatusID)
	if err != nil || m.Stage == runtime.StageUnknown {
		return func(*Sample) {}, err
	}
	return func(s *Sample) {
		s.Stage, s.Ready = m.Stage.String(), m.Status.Ready
		for _, u := range m.Status.UnmetConditions {
			s.Unmet = append(s.Unmet, u.Name+": "+u.Reason)
		}
	}, nil
}

func logEnd(ctx context.Context, c *client.Client, service string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Machine().Logs(ctx, &machinepb.LogsRequest{Namespace: "system", Driver: commonpb.ContainerDriver_CONTAINERD, Id: service, TailLines: logLines})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for b.Len() < 1<<20 {
		data, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b.Write(data.GetBytes())
	}
	var lines []string
	for line := range strings.Lines(b.String()) {
		lines = append(lines, nodes.Clean(strings.TrimRight(line, "\r\n")))
	}
	return lines, nil
}
