package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"talos.internal/client"
	"talos.internal/config/generate"
	"talos.internal/config/schema"
	"talos.internal/e2e/probe"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/image"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/native"
	"talos.internal/internal/sys/rtnl"
	"talos.internal/secret"
)

// patience bounds what a test of Kubernetes waits for. It takes seconds on a computer that has nothing else to do.
const patience = 4 * time.Minute

// probeRef is the image of the tests' own pods: testdata/probe and nothing else.
const probeRef = "talos.internal/probe:e2e"

// probeUser is whom the probe runs as.
const probeUser = "1000:1000"

// kubeLab is a lab with Kubernetes.
type kubeLab struct {
	*lab
	dir        string // the provisioner's, with what the nodes have on disk
	kubectl    string // the program, by the name by which it knows what it is
	kubeconfig string
	server     string    // what kubectl talks to; "" is what the kubeconfig has
	began      time.Time // when etcd was told to begin
}

// shape says of what machines a cluster is, and how their configs differ from the default.
type shape struct {
	controls, workers int
	patches           []string // of all machines
	control           []string // of the control plane, after those
}

// newCluster makes a cluster in the network 10.N.0.0/24, tells its first machine to begin, and removes it after the test. It waits
// for the API of the machines and for the one of Kubernetes, and for nothing else.
func newCluster(t testing.TB, name string, n byte, s shape) *kubeLab {
	t.Helper()
	c := makeCluster(t, name, n, s)
	c.begin()
	c.credentials()
	return c
}

// memoryOfNode is what "talosctl cluster create" gives to a node.
const memoryOfNode = 2 << 30

// makeCluster makes the machines, and waits until they answer.
func makeCluster(t testing.TB, name string, n byte, s shape) *kubeLab {
	t.Helper()
	p, missing := find()
	if missing != "" {
		lacks(t, missing)
	}
	kubectl, err := filepath.Abs("../_out/components/kubernetes/kubectl")
	if env := os.Getenv("TALOS_KUBECTL"); env != "" {
		kubectl = env
	}
	if err == nil {
		_, err = os.Stat(kubectl)
	}
	if err != nil {
		lacks(t, fmt.Sprintf("no kubectl (%v): build it with make components, or name it in TALOS_KUBECTL", err))
	}
	secrets, err := secrets()
	if err != nil {
		t.Fatal(err)
	}
	if err := loopback(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "clusters")
	prov, err := native.New(native.Options{Dir: dir, Images: p.images, Runc: p.runc})
	if err != nil {
		t.Fatal(err)
	}
	c := &kubeLab{lab: &lab{t: t, p: prov, name: name, secrets: secrets}, dir: dir, kubectl: kubectl}
	r := provision.ClusterRequest{
		Name: name, Image: image.NodeRef(buildinfo.Version),
		Network: provision.NetworkRequest{CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, n, 0, 0}), 24), MTU: 1500},
	}
	r.Network.Nameservers = []netip.Addr{r.Network.Gateway()}
	r.KubernetesEndpoint = "https://" + r.Network.Address(0).String() + ":6443"
	for i := range s.controls + s.workers {
		if i < s.controls {
			r.Nodes = append(r.Nodes, provision.NodeRequest{
				Name: provision.NodeName(name, provision.ControlPlane, i+1), Type: provision.ControlPlane, Address: r.Network.Address(i), Memory: memoryOfNode,
				Config: c.machine(schema.ControlPlane, r.KubernetesEndpoint, slices.Concat(s.patches, s.control)...),
			})
			continue
		}
		r.Nodes = append(r.Nodes, provision.NodeRequest{
			Name: provision.NodeName(name, provision.Worker, i+1-s.controls), Type: provision.Worker, Address: r.Network.Address(i), Memory: memoryOfNode,
			Config: c.machine(schema.Worker, r.KubernetesEndpoint, s.patches...),
		})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	t.Cleanup(func() {
		if t.Failed() {
			c.showConsoles()
			c.showKubernetes()
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := prov.Destroy(ctx, name, nil); err != nil {
			t.Error(err)
		}
	})
	made, err := prov.Create(ctx, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.nodes = made.Nodes
	for _, n := range c.nodes {
		admin := c.as(n, secret.RoleAdmin)
		c.wait(n.Name+" to answer", func(ctx context.Context) error { return version(ctx, admin) })
	}
	return c
}

// machine is the config of a machine. It is the default, after patches.
func (c *kubeLab) machine(role schema.Role, endpoint string, patches ...string) []byte {
	c.t.Helper()
	in := generate.Input{ClusterName: c.name, Secrets: c.secrets, Discovery: true}
	if err := in.Endpoint.UnmarshalText([]byte(endpoint)); err != nil {
		c.t.Fatal(err)
	}
	made, err := in.Config(role)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.patched(made, patches...)
}

// loopback brings up the loopback interface of the tests' network namespace: kubectl listens on it.
func loopback() error {
	c, err := rtnl.Open()
	if err != nil {
		return err
	}
	defer c.Close()
	lo, err := c.LinkByName("lo")
	if err != nil {
		return err
	}
	return c.SetUp(lo.Index, true)
}

// on is the same cluster for a subtest.
func (c *kubeLab) on(t testing.TB) *kubeLab {
	sub := *c
	sub.lab = c.lab.on(t)
	return &sub
}

// wait is [lab.until] with the patience that Kubernetes needs.
func (c *kubeLab) wait(what string, f func(ctx context.Context) error) {
	c.t.Helper()
	var last error
	start := time.Now()
	for time.Since(start) < patience {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		last = f(ctx)
		cancel()
		if last == nil {
			c.t.Logf("%s: after %.1f s", what, time.Since(start).Seconds())
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	c.t.Fatalf("waited %v for %s; last seen: %v", patience, what, last)
}

// begin tells the first machine to begin the cluster, by talosctl. It is refused until the machine's clock is set, so it is told
// again until it does.
func (c *kubeLab) begin(args ...string) {
	c.t.Helper()
	c.wait("bootstrap to be taken", func(context.Context) error {
		_, stderr, code := c.talosctl(append([]string{"-n", c.control().Endpoint, "bootstrap"}, args...)...)
		if code != 0 {
			return errors.New(strings.TrimSpace(stderr))
		}
		return nil
	})
	c.began = time.Now()
}

// credentials fetches the kubeconfig, and waits for the Kubernetes API of the first machine.
func (c *kubeLab) credentials() {
	c.t.Helper()
	c.kubeconfig = filepath.Join(c.t.TempDir(), "kubeconfig")
	c.wait("a kubeconfig", func(context.Context) error {
		_, stderr, code := c.talosctl("-n", c.control().Endpoint, "kubeconfig", "--merge=false", "--force", c.kubeconfig)
		if code != 0 {
			return errors.New(strings.TrimSpace(stderr))
		}
		return nil
	})
	api := c.api(c.control())
	c.wait("the Kubernetes API to be ready", func(ctx context.Context) error { return api.call(ctx, http.MethodGet, "/readyz", nil, nil) })
	c.t.Logf("bootstrap → Kubernetes API: %.1f s", time.Since(c.began).Seconds())
}

// kubeAPI calls the Kubernetes API of one machine as an administrator, without a library: tests ask it often.
type kubeAPI struct {
	base string
	http *http.Client
}

func (c *kubeLab) api(n provision.Node) kubeAPI {
	c.t.Helper()
	pair, err := c.secrets.Kubernetes.Issue(secret.KubeAdmin(time.Hour), time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.secrets.Kubernetes.Pool(), Certificates: []tls.Certificate{pair.TLS()}}}
	c.t.Cleanup(t.CloseIdleConnections)
	return kubeAPI{base: "https://" + n.Endpoint + ":6443", http: &http.Client{Transport: t}}
}

// call sends body, unless it is nil, as JSON, and decodes the answer into out, unless that is nil.
func (a kubeAPI) call(ctx context.Context, method, path string, body, out any) error {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base+path, in)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	reply, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	data, err := io.ReadAll(reply.Body)
	if err != nil {
		return err
	}
	if reply.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, reply.Status, data[:min(len(data), 300)])
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// run runs kubectl with the fetched kubeconfig, and a manifest on its standard input.
func (c *kubeLab) run(input string, args ...string) (stdout, stderr string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	flags := []string{"--kubeconfig", c.kubeconfig}
	if c.server != "" {
		flags = append(flags, "--server", c.server)
	}
	cmd := exec.CommandContext(ctx, c.kubectl, slices.Concat(flags, args)...)
	cmd.Env = append(os.Environ(), "HOME="+filepath.Dir(c.kubeconfig))
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// apply makes objects.
func (c *kubeLab) apply(manifest string) {
	c.t.Helper()
	if out, errs, err := c.run(manifest, "apply", "-f", "-"); err != nil {
		c.t.Fatalf("kubectl apply: %v\n%s%s", err, out, errs)
	}
}

// condition is a condition of an object's status.
type condition struct{ Type, Status, Reason, Message string }

// object is what is wanted of a Node, a Pod or a Deployment.
type object struct {
	Metadata struct{ Name, UID string }
	Spec     struct{ NodeName string }
	Status   struct {
		Phase, PodIP string
		Conditions   []condition
		NodeInfo     struct{ OSImage, KubeletVersion string }
	}
}

// is reports, by an error, whether a condition is "True".
func (o object) is(kind string) error {
	for _, c := range o.Status.Conditions {
		if c.Type == kind && c.Status == "True" {
			return nil
		}
	}
	return fmt.Errorf("%s is not %s: %s %+v", o.Metadata.Name, kind, o.Status.Phase, o.Status.Conditions)
}

// nodesReady waits until so many nodes as the cluster has are Ready.
func (c *kubeLab) nodesReady(api kubeAPI) []object {
	c.t.Helper()
	var all struct{ Items []object }
	c.wait("all nodes to be Ready", func(ctx context.Context) error {
		all.Items = nil
		if err := api.call(ctx, http.MethodGet, "/api/v1/nodes", nil, &all); err != nil {
			return err
		}
		if len(all.Items) != len(c.nodes) {
			return fmt.Errorf("%d of %d nodes are registered", len(all.Items), len(c.nodes))
		}
		var errs []error
		for _, n := range all.Items {
			errs = append(errs, n.is("Ready"))
		}
		return errors.Join(errs...)
	})
	return all.Items
}

// available waits for a Deployment.
func (c *kubeLab) available(api kubeAPI, namespace, name string) {
	c.t.Helper()
	c.wait("deployment "+name+" to be available", func(ctx context.Context) error {
		var d object
		if err := api.call(ctx, http.MethodGet, "/apis/apps/v1/namespaces/"+namespace+"/deployments/"+name, nil, &d); err != nil {
			return err
		}
		return d.is("Available")
	})
}

// podReady waits for a pod.
func (c *kubeLab) podReady(api kubeAPI, namespace, name string) object {
	c.t.Helper()
	var p object
	c.wait("pod "+name+" to be ready", func(ctx context.Context) error {
		p = object{}
		if err := api.call(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods/"+name, nil, &p); err != nil {
			return err
		}
		return p.is("Ready")
	})
	return p
}

// showKubernetes logs what kubelet said at last and what kubectl knows, after a failure.
func (c *kubeLab) showKubernetes() {
	for _, n := range c.nodes {
		out, errs, _ := c.talosctl("-n", n.Endpoint, "logs", "kubelet", "--tail", "40")
		c.t.Logf("end of the log of kubelet on %s:\n%s%s", n.Name, out, errs)
	}
	if c.kubeconfig == "" {
		return
	}
	for _, args := range [][]string{{"get", "nodes,pods,deployments,services", "-A", "-o", "wide"}, {"get", "events", "-A"}} {
		out, errs, err := c.run("", args...)
		c.t.Logf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
}

// probeImage is the archive of the probe's image.
var probeImage = sync.OnceValues(func() ([]byte, error) { return probe.Archive(probeRef, "./testdata/probe", probeUser) })

// importProbe gives the probe's image to the pods of all machines, through the machine API.
func (c *kubeLab) importProbe() {
	c.t.Helper()
	archive, err := probeImage()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range c.nodes {
		admin := c.as(n, secret.RoleAdmin)
		c.wait("the import of the probe into "+n.Name, func(ctx context.Context) error { return importProbe(ctx, admin, archive) })
	}
}

// importProbe gives the probe's image to the pods of the machine that a call with ctx is for.
func importProbe(ctx context.Context, c *client.Client, archive []byte) error {
	name, err := probe.Import(ctx, c, archive)
	if err == nil && name != probeRef {
		err = fmt.Errorf("the image is called %q; want %q", name, probeRef)
	}
	return err
}
