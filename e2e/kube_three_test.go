package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/internal/provision"
	"talos.internal/secret"
)

// writer makes objects through the balancer of its machine, and counts what was acknowledged.
const writer = `
apiVersion: v1
kind: Namespace
metadata: {name: writer, labels: {pod-security.kubernetes.io/enforce: privileged}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: writer, namespace: writer}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer, namespace: writer}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [create]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writer, namespace: writer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}
subjects: [{kind: ServiceAccount, name: writer, namespace: writer}]
---
apiVersion: v1
kind: Pod
metadata: {name: writer, namespace: writer}
spec:
  nodeName: NODE
  hostNetwork: true
  serviceAccountName: writer
  containers:
  - name: probe
    image: ` + probeRef + `
    imagePullPolicy: Never
    args: [write]
    env: [{name: API_SERVER, value: "127.0.0.1:7445"}, {name: NAMESPACE, value: writer}]
`

// TestThreeControlPlanes kills one of three machines, the one that the cluster began with and that its endpoint names. Then it parts the
// third from the others, with other faults of the network before that. Whatever happens, no acknowledged write is lost.
func TestThreeControlPlanes(t *testing.T) {
	c := newCluster(t, "e2e-three", 56, shape{controls: 3})
	killed, second, third := c.nodes[0], c.nodes[1], c.nodes[2]
	c.members(killed)
	t.Logf("bootstrap → three members: %.1f s", time.Since(c.began).Seconds())
	c.server = "https://" + second.Endpoint + ":6443"
	api := c.api(second)
	for _, n := range []provision.Node{second, third} {
		api := c.api(n)
		c.wait("the Kubernetes API of "+n.Name, func(ctx context.Context) error { return api.call(ctx, http.MethodGet, "/readyz", nil, nil) })
	}
	c.nodesReady(api)
	t.Logf("bootstrap → three nodes Ready: %.1f s", time.Since(c.began).Seconds())
	c.importProbe()
	c.apply(strings.Replace(writer, "NODE", second.Name, 1))
	before := c.written(10)

	if err := c.p.KillNode(c.context(), c.name, killed.Name); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for _, n := range []provision.Node{second, third} {
		api := c.api(n)
		c.wait("the Kubernetes API of "+n.Name+" to answer without the first machine", func(ctx context.Context) error {
			return api.call(ctx, http.MethodGet, "/api/v1/namespaces/writer", nil, nil)
		})
	}
	c.written(len(before) + 50)
	t.Logf("50 writes more were acknowledged %.1f s after the machine was killed", time.Since(start).Seconds())

	if err := c.p.StartNode(c.context(), c.name, killed.Name); err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	index, err := c.etcdStatus(c.context(), second)
	if err != nil {
		t.Fatal(err)
	}
	c.wait("etcd of the machine to be in sync", func(ctx context.Context) error {
		got, err := c.etcdStatus(ctx, killed)
		if err == nil && (got.GetRaftAppliedIndex() < index.GetRaftIndex() || got.GetLeader() == 0 || got.GetIsLearner() || len(got.GetErrors()) > 0) {
			err = fmt.Errorf("%v; want an applied index of %d", got, index.GetRaftIndex())
		}
		return err
	})
	t.Logf("started → etcd in sync: %.1f s", time.Since(start).Seconds())
	c.members(killed)
	first := c.api(killed)
	c.wait("the Kubernetes API of the machine", func(ctx context.Context) error { return first.call(ctx, http.MethodGet, "/readyz", nil, nil) })
	t.Logf("started → Kubernetes API: %.1f s", time.Since(start).Seconds())

	if !t.Run("nobody is forgotten because of the network", func(t *testing.T) { c.on(t).faults(2) }) {
		return
	}
	acknowledged := c.written(len(c.written(0)) + 10)
	var all struct{ Items []object }
	if err := first.call(c.context(), http.MethodGet, "/api/v1/namespaces/writer/configmaps", nil, &all); err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, o := range all.Items {
		there[o.Metadata.Name] = true
	}
	longest := 0
	for _, a := range acknowledged {
		longest = max(longest, a.pause)
		if name := fmt.Sprintf("written-%d", a.n); !there[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	t.Logf("%d writes were acknowledged, with a pause of at most %d ms", len(acknowledged), longest)
	if longest > int(limit.Milliseconds()) {
		t.Errorf("for %d ms no write was acknowledged; want at most %v", longest, limit)
	}
}

// ack is a write that was acknowledged, and how long after the one before in milliseconds.
type ack struct{ n, pause int }

// written waits until so many writes were acknowledged, and returns all that were.
func (c *kubeLab) written(least int) []ack {
	c.t.Helper()
	var all []ack
	c.wait(fmt.Sprintf("%d acknowledged writes", least), func(context.Context) error {
		out, errs, err := c.run("", "logs", "-n", "writer", "writer")
		if err != nil {
			return fmt.Errorf("kubectl logs: %w: %s", err, errs)
		}
		all = nil
		last := "nothing"
		for line := range strings.Lines(out) {
			var w ack
			if n, _ := fmt.Sscanf(line, "acknowledged %d %d\n", &w.n, &w.pause); n == 2 {
				all = append(all, w)
			}
			last = line
		}
		if len(all) < least {
			return fmt.Errorf("%d were; the writer's last line is %q", len(all), last)
		}
		return nil
	})
	return all
}

// members waits until all machines of the control plane are voting members of etcd, as one of them sees it.
func (c *kubeLab) members(n provision.Node) {
	c.t.Helper()
	admin := c.as(n, secret.RoleAdmin)
	c.wait("all of the control plane to be members of etcd", func(ctx context.Context) error {
		reply, err := client.Only(admin.Machine().EtcdMemberList(ctx, &machinepb.EtcdMemberListRequest{}))
		if err != nil {
			return err
		}
		var errs []error
		for _, m := range reply.GetMembers() {
			if m.GetIsLearner() {
				errs = append(errs, fmt.Errorf("%s is a learner", m.GetHostname()))
			}
		}
		controls := 0
		for _, n := range c.nodes {
			if n.Type == provision.ControlPlane {
				controls++
			}
		}
		if len(reply.GetMembers()) != controls {
			errs = append(errs, fmt.Errorf("there are %d members: %v", len(reply.GetMembers()), reply.GetMembers()))
		}
		return errors.Join(errs...)
	})
}

// etcdStatus is what etcd of a machine says of itself.
func (c *kubeLab) etcdStatus(ctx context.Context, n provision.Node) (*machinepb.EtcdMemberStatus, error) {
	reply, err := client.Only(c.as(n, secret.RoleAdmin).Machine().EtcdStatus(ctx, &emptypb.Empty{}))
	return reply.GetMemberStatus(), err
}
