package vitals

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"talos.internal/resource/runtime"
)

// rig answers from facts, which a test may change.
type rig struct {
	mu    sync.Mutex
	facts *Facts
	hang  string // the machine that does not answer
	asked map[string]Question
}

func newRig() *rig { return &rig{facts: healthy(), asked: map[string]Question{}} }

func (r *rig) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *rig) Observe(ctx context.Context, n Node, q Question) Observation {
	r.mu.Lock()
	hang := r.hang == n.Target
	r.asked[n.Target] = q
	o := r.facts.Machines[n.Target]
	r.mu.Unlock()
	if hang {
		<-ctx.Done()
		err := status.Error(codes.DeadlineExceeded, "context deadline exceeded")
		return Observation{Status: Answer[runtime.MachineStatus]{Err: err}, Services: Answer[[]Service]{Err: err}, Memory: Answer[uint64]{Err: err},
			Disk: Answer[uint64]{Err: err}, Diagnostics: Answer[[]string]{Err: err}, Parts: Answer[Parts]{Err: err}, Members: Answer[[]Member]{Err: err}}
	}
	return o
}

type rigKubernetes struct{ r *rig }

func (k rigKubernetes) Observe(context.Context, Question) KubeObservation {
	k.r.mu.Lock()
	defer k.r.mu.Unlock()
	return k.r.facts.Kubernetes
}

func (r *rig) options() Options {
	return Options{Nodes: r.facts.Nodes, Machines: r, Kubernetes: func(context.Context) (Kubernetes, error) { return rigKubernetes{r}, nil }}
}

func TestRunEndsWhenAllHavePassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.facts.Kubernetes.Nodes.Value[2].Ready = false
		fails := 2
		o := r.options()
		o.Kubernetes = func(context.Context) (Kubernetes, error) {
			if fails--; fails >= 0 {
				return nil, errors.New("no certificates yet")
			}
			return rigKubernetes{r}, nil
		}
		o.Skip = map[string]string{DNSReady: "no network"}
		go func() {
			time.Sleep(10500 * time.Millisecond)
			r.change(func() {
				all := slices.Clone(r.facts.Kubernetes.Nodes.Value) // the old one has been answered
				all[2].Ready = true
				r.facts.Kubernetes.Nodes.Value = all
			})
		}()
		var passed, lines []string
		began := time.Now()
		err := Run(t.Context(), o, func(e Event) {
			if e.State != Waiting {
				passed = append(passed, e.Check)
			}
			if e.Check == NodesReady {
				lines = append(lines, fmt.Sprintf("%v %s", time.Since(began).Round(time.Second), e.Line()))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(passed)
		want := slices.Sorted(slices.Values(Names()))
		if !slices.Equal(passed, want) {
			t.Errorf("passed or skipped: %q; want each once: %q", passed, want)
		}
		wantLines := []string{
			"0s waiting for all k8s nodes to report ready: no answer yet",
			"0s waiting for all k8s nodes to report ready: no access to Kubernetes yet: no certificates yet",
			"2s waiting for all k8s nodes to report ready: w-1 (10.5.0.4): its Node is not ready",
			"11s waiting for all k8s nodes to report ready: OK",
		}
		if wantLines = wantLines[len(wantLines)-len(lines):]; len(lines) < 3 || !slices.Equal(lines, wantLines) {
			t.Errorf("lines %q; want %q", lines, wantLines)
		}
		// What has passed is not asked again.
		if q := r.asked["10.5.0.4"]; q != AskParts {
			t.Errorf("the last question was %b; want only what the last check needs, %b", q, AskParts)
		}
	})
}

func TestAMachineThatDoesNotAnswerIsNamedWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.hang = "10.5.0.4"
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("--wait-timeout of 1m is over"))
		defer cancel()
		began := time.Now()
		var named, back time.Duration
		etcd := time.Duration(-1)
		go func() {
			time.Sleep(30 * time.Second)
			r.change(func() { r.hang = "" })
		}()
		err := Run(ctx, r.options(), func(e Event) {
			switch at := time.Since(began); {
			case e.Check == EtcdHealthy && e.State == Passed:
				etcd = at
			case e.Node == "w-1 (10.5.0.4)" && e.Text != "" && named == 0:
				named = at
				if !strings.Contains(e.Text, "is the machine up") {
					t.Errorf("%q does not say what to look at", e.Line())
				}
			case e.Node == "w-1 (10.5.0.4)" && e.Text == "":
				back = at
			}
		})
		if named == 0 || named > 5*time.Second {
			t.Errorf("named after %v; want at most 5s", named)
		}
		if etcd != 0 {
			t.Errorf("etcd passed after %v; the machine that does not answer has none, and holds up nobody", etcd)
		}
		if back == 0 {
			t.Error("nobody was told that it answers again")
		}
		if err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

func TestTheEndOfTheTimeSaysWhatWasWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig()
		r.hang = "10.5.0.4"
		r.facts.Kubernetes.DNS.Value.Ready = 0
		cause := errors.New("--wait-timeout of 1m is over")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, cause)
		defer cancel()
		err := Run(ctx, r.options(), func(Event) {})
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, cause) {
			t.Fatalf("Run = %v; want an *Error because of %v", err, cause)
		}
		if len(e.Mute) != 1 || e.Mute[0].Node != "w-1 (10.5.0.4)" {
			t.Errorf("Mute = %v; want w-1", e.Mute)
		}
		for _, want := range []string{
			"the cluster is not healthy (--wait-timeout of 1m is over):\n  w-1 (10.5.0.4) does not answer: ",
			"\n  waiting for coredns to report ready: Deployment coredns: 0 of 2 pods are ready",
			"\n  waiting for apid to be ready, all nodes memory sizes, all nodes disk sizes, no diagnostics, kubelet to be healthy, ",
			": w-1 (10.5.0.4): no answer in 3.5s",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q; want %q in it", err, want)
			}
		}
		if strings.Contains(err.Error(), EtcdHealthy) {
			t.Errorf("error %q names a check that has passed", err)
		}
	})
}

func TestWithoutAControlPlaneThereIsNothingToCheck(t *testing.T) {
	if err := Run(t.Context(), Options{Nodes: []Node{NewNode("10.5.0.4", false)}}, func(Event) {}); err == nil {
		t.Error("Run without a node of the control plane = nil; want an error")
	}
}
