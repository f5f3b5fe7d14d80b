package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/buildinfo"
	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
	"talos.internal/secret"
)

// web is a server on the workers, with a service, and a pod on a machine of the control plane from which it is called.
const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: probe, image: ` + probeRef + `, imagePullPolicy: Never, args: [serve], ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
`

// pod is a pod of the probe on a machine.
func pod(name, node string) string {
	return `
apiVersion: v1
kind: Pod
metadata: {name: ` + name + `, namespace: default}
spec:
  nodeName: ` + node + `
  terminationGracePeriodSeconds: 1
  containers:
  - {name: probe, image: ` + probeRef + `, imagePullPolicy: Never, args: [serve]}
`
}

func TestKubernetes(t *testing.T) {
	c := newCluster(t, "e2e-kube", 53, shape{controls: 1, workers: 1, control: []string{machineAccess}})
	api := c.api(c.control())
	for _, n := range c.nodesReady(api) {
		if want := "Talos (" + buildinfo.Version + ")"; n.Status.NodeInfo.OSImage != want {
			t.Errorf("the OS image of %s is %q; want %q", n.Metadata.Name, n.Status.NodeInfo.OSImage, want)
		}
	}
	t.Logf("bootstrap → nodes Ready: %.1f s", time.Since(c.began).Seconds())
	c.available(api, "kube-system", "coredns")
	t.Logf("bootstrap → CoreDNS available: %.1f s", time.Since(c.began).Seconds())

	for _, sub := range []struct {
		name string
		test func(*kubeLab, kubeAPI)
	}{
		{"a service answers by its name from a pod on another machine", (*kubeLab).service},
		{"kubectl port-forward", (*kubeLab).portForward},
		{"a privileged pod is refused where baseline is enforced", (*kubeLab).admission},
		{"a pod calls the machine API with what its account was given", (*kubeLab).machineAPI},
		{"secrets are encrypted in etcd's files", (*kubeLab).encryption},
		{"every listener is known", (*kubeLab).listeners},
		{"memory", (*kubeLab).memory},
		{"nobody is forgotten because of the network", func(c *kubeLab, _ kubeAPI) { c.faults(1) }},
		{"a new control plane begins with a snapshot", (*kubeLab).recovery},
	} {
		if !t.Run(sub.name, func(t *testing.T) { sub.test(c.on(t), api) }) {
			break // what follows builds on it
		}
	}
}

// service calls the server of the worker by its name, from a pod of the control plane. kubectl exec and logs show it.
func (c *kubeLab) service(api kubeAPI) {
	c.importProbe()
	c.apply(web + "---" + pod("client", c.control().Name))
	c.available(api, "default", "web")
	c.podReady(api, "default", "client")
	where, _, err := c.run("", "get", "pods", "-l", "app=web", "-o", "jsonpath={.items[0].spec.nodeName}")
	if err != nil || where != c.worker().Name {
		c.t.Errorf("the server runs on %q, %v; want %s", where, err, c.worker().Name)
	}
	for _, name := range []string{"web", "web.default.svc.cluster.local"} {
		c.wait("an answer of "+name, func(context.Context) error {
			out, errs, err := c.run("", "exec", "client", "--", "/probe", "get", "http://"+name+"/"+name)
			if err != nil || !strings.HasPrefix(out, "web-") {
				return fmt.Errorf("kubectl exec: %w: %s%s", err, out, errs)
			}
			return nil
		})
	}
	out, errs, err := c.run("", "logs", "deployment/web")
	if want := "request for /web.default.svc.cluster.local\n"; err != nil || !strings.Contains(out, want) {
		c.t.Errorf("kubectl logs: %v\n%s%s; want the line %q", err, out, errs, want)
	}
}

// portForward reaches the server of the worker through kubectl.
func (c *kubeLab) portForward(kubeAPI) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.kubectl, "--kubeconfig", c.kubeconfig, "port-forward", "--address", "127.0.0.1", "deployment/web", ":8080")
	cmd.Env = append(os.Environ(), "HOME="+c.t.TempDir())
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	port := regexp.MustCompile(`^Forwarding from 127\.0\.0\.1:(\d+) -> 8080`).FindStringSubmatch(line)
	if port == nil {
		cancel()
		c.t.Fatalf("kubectl port-forward says %q, %v\n%s", line, err, errs.String())
	}
	here := kubeAPI{base: "http://127.0.0.1:" + port[1], http: http.DefaultClient}
	if err := here.call(ctx, http.MethodGet, "/forwarded", nil, nil); err != nil {
		c.t.Errorf("through kubectl port-forward: %v\n%s", err, errs.String())
	}
}

// admission asks for a privileged pod in a namespace that says nothing about it, and in one that allows it.
func (c *kubeLab) admission(kubeAPI) {
	privileged := strings.Replace(pod("privileged", c.worker().Name), "args: [serve]", "args: [serve], securityContext: {privileged: true}", 1)
	out, errs, err := c.run(privileged, "create", "-f", "-")
	if want := `violates PodSecurity "baseline:latest": privileged (container "probe" must not set securityContext.privileged=true)`; err == nil || !strings.Contains(errs, want) {
		c.t.Errorf("kubectl create: %v\n%s%s; want it refused: %s", err, out, errs, want)
	}
	const allowing = `
apiVersion: v1
kind: Namespace
metadata: {name: allowing, labels: {pod-security.kubernetes.io/enforce: privileged}}
`
	c.apply(allowing)
	if out, errs, err := c.run(strings.Replace(privileged, "namespace: default", "namespace: allowing", 1), "create", "--dry-run=server", "-f", "-"); err != nil {
		c.t.Errorf("in a namespace that allows it: %v\n%s%s", err, out, errs)
	}
}

// encryption looks for the value of a Secret in etcd's files. That of a ConfigMap is found there, so the search is good.
func (c *kubeLab) encryption(kubeAPI) {
	const hidden, open = "value-that-nobody-may-read-a8f1", "value-that-anybody-may-read-77c3"
	c.apply(`
apiVersion: v1
kind: Secret
metadata: {name: hidden, namespace: default}
stringData: {key: ` + hidden + `}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: open, namespace: default}
data: {key: ` + open + `}
`)
	count := map[string]int{hidden: 0, open: 0, "k8s:enc:secretbox:v1:": 0, "/registry/secrets/default/hidden": 0}
	dir := filepath.Join(c.dir, c.name, "nodes", c.control().Name, "var", "lib", "etcd")
	err := filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(file)
		for text := range count {
			count[text] += bytes.Count(data, []byte(text))
		}
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	for text, n := range count {
		if (n > 0) != (text != hidden) {
			c.t.Errorf("etcd's files have %q %d times", text, n)
		}
	}
	value, errs, err := c.run("", "get", "secret", "hidden", "-o", "jsonpath={.data.key}")
	if err != nil || value == "" {
		c.t.Errorf("kubectl get secret: %q, %v\n%s", value, err, errs)
	}
}

// ofKubernetes are ports on which a machine of a cluster with the default network may be called from outside besides those that
// are documented for all.
var ofKubernetes = map[uint16]string{
	2383: "etcd's metrics and health, for its clients", 4789: "flannel's tunnel (VXLAN), in the kernel",
	10256: "health of kube-proxy, for load balancers",
}

// listeners compares the ports beyond the loopback interface with the list.
func (c *kubeLab) listeners(kubeAPI) {
	seen := map[string]map[uint16]bool{}
	c.lab.reflect()
	for _, n := range c.nodes {
		sockets, err := proc.Reader{}.Sockets(n.PID, proc.TCP, proc.TCP6, proc.UDP, proc.UDP6, proc.Raw, proc.Raw6)
		if err != nil {
			c.t.Fatal(err)
		}
		ports := map[uint16]bool{}
		seen[n.Name] = ports
		for _, s := range sockets {
			udp := s.Protocol == proc.UDP || s.Protocol == proc.UDP6
			local := netip.AddrPortFrom(s.Local.Addr().Unmap(), s.Local.Port())
			if s.State != proc.Listen && !(udp && s.State == proc.Close) || local.Addr().IsLoopback() || onlyPods[local] != "" {
				continue
			}
			ports[local.Port()] = true
			if documented[local.Port()] == "" && ofKubernetes[local.Port()] == "" {
				c.t.Errorf("%s: something listens on %s %s", n.Name, s.Protocol, s.Local)
			}
		}
	}
	for _, n := range c.nodes {
		control := n.Type == provision.ControlPlane
		for port, want := range map[uint16]bool{50000: true, 50001: control, 2379: control, 2380: control, 2383: control, 6443: control, 10250: true} {
			if seen[n.Name][port] != want {
				c.t.Errorf("%s: listens on %d = %t; want %t", n.Name, port, seen[n.Name][port], want)
			}
		}
		c.t.Logf("%s: %v", n.Name, slices.Sorted(maps.Keys(seen[n.Name])))
	}
	c.unknown()
}

// unknown calls, without a certificate, the ports that are not for everybody.
func (c *kubeLab) unknown() {
	nobody := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	for _, url := range []string{
		"https://" + c.control().Endpoint + ":2379/health", "https://" + c.control().Endpoint + ":2380/members",
		"https://" + c.control().Endpoint + ":2383/metrics", "https://" + c.control().Endpoint + ":6443/api/v1/nodes",
		"https://" + c.control().Endpoint + ":10250/pods", "https://" + c.worker().Endpoint + ":10250/pods",
	} {
		err := kubeAPI{base: url, http: nobody}.call(c.context(), http.MethodGet, "", nil, nil)
		if err == nil || !regexp.MustCompile(`tls: certificate required|tls: bad certificate|401 Unauthorized`).MatchString(err.Error()) {
			c.t.Errorf("%s without a certificate: %v; want it refused", url, err)
		}
	}
}

// memory logs what the processes of the machines have in memory. Pages that several have count for each.
func (c *kubeLab) memory(kubeAPI) {
	c.lab.reflect()
	for _, n := range c.nodes {
		all, err := processes(n)
		if err != nil || len(all) == 0 {
			c.t.Fatalf("processes of %s: %d, %v", n.Name, len(all), err)
		}
		sum, each := uint64(0), map[string]uint64{}
		for _, p := range all {
			sum += p.Resident
			each[program(p)] += p.Resident >> 20
		}
		c.t.Logf("%s: %d processes, %d MiB resident: %v", n.Name, len(all), sum>>20, each)
	}
}

// recovery takes a snapshot of etcd, removes the machine of the control plane with all its data, and gives the snapshot to a new
// one. The worker stays, and finds its cluster again.
func (c *kubeLab) recovery(api kubeAPI) {
	const marks = `{apiVersion: v1, kind: ConfigMap, metadata: {name: NAME, namespace: default}}`
	c.apply(strings.Replace(marks, "NAME", "before", 1))
	var before object
	if err := api.call(c.context(), http.MethodGet, "/api/v1/namespaces/default/configmaps/before", nil, &before); err != nil {
		c.t.Fatal(err)
	}
	file := filepath.Join(c.t.TempDir(), "etcd.snapshot")
	if out, errs, code := c.talosctl("-n", c.control().Endpoint, "etcd", "snapshot", file); code != 0 {
		c.t.Fatalf("talosctl etcd snapshot: %d\n%s%s", code, out, errs)
	}
	c.apply(strings.Replace(marks, "NAME", "after", 1))

	old := c.control()
	if err := c.p.RemoveNode(c.context(), c.name, old.Name, nil); err != nil {
		c.t.Fatal(err)
	}
	if err := c.p.AddNode(c.context(), c.name, provision.NodeRequest{
		Name: old.Name, Type: provision.ControlPlane, Address: old.Address, Config: c.machine("controlplane", "https://"+old.Endpoint+":6443"),
	}, nil); err != nil {
		c.t.Fatal(err)
	}
	admin := c.as(old, secret.RoleAdmin)
	c.wait("the new machine to answer", func(ctx context.Context) error { return version(ctx, admin) })
	c.begin("--recover-from", file)
	c.credentials()
	c.importProbe() // the new machine has no image of it

	var got object
	if err := api.call(c.context(), http.MethodGet, "/api/v1/namespaces/default/configmaps/before", nil, &got); err != nil || got.Metadata.UID != before.Metadata.UID {
		c.t.Errorf("what was made before the snapshot: %+v, %v; want UID %s", got, err, before.Metadata.UID)
	}
	if err := api.call(c.context(), http.MethodGet, "/api/v1/namespaces/default/configmaps/after", nil, nil); err == nil || !strings.Contains(err.Error(), "404") {
		c.t.Errorf("what was made after the snapshot: %v; want it not to be there", err)
	}
	if out, errs, err := c.run("", "get", "secret", "hidden", "-o", "jsonpath={.data.key}"); err != nil || out == "" {
		c.t.Errorf("the Secret is not read any more: %v\n%s", err, errs)
	}
	// The state of the nodes came from the snapshot, too. What runs shows that they are there.
	c.wait("both machines to run pods", func(ctx context.Context) error {
		var errs []error
		for _, n := range []provision.Node{old, c.worker()} {
			var p object
			err := api.call(ctx, http.MethodGet, "/api/v1/namespaces/default/pods/again-"+n.Name, nil, &p)
			if err != nil {
				_, text, err := c.run(pod("again-"+n.Name, n.Name), "create", "-f", "-")
				errs = append(errs, fmt.Errorf("make a pod on %s: %w: %s", n.Name, err, text))
				continue
			}
			errs = append(errs, p.is("Ready"))
		}
		return errors.Join(errs...)
	})
}
