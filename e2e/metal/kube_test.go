package metal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"talos.internal/client"
	"talos.internal/e2e/probe"
	"talos.internal/internal/provision"
)

// probeRef is the image of the tests' own pods: testdata/probe and nothing else.
const probeRef = "talos.internal/probe:metal"

// kubernetesMemory is that of a machine of the control plane that has pods beside.
const kubernetesMemory = 3 << 30

// kubernetesLimit bounds each step of Kubernetes in a machine. To start the API server takes nine seconds of a processor of this kind of computer, etcd,
// kubelet and unpacking images as much again, and QEMU's translation twenty times that.
const kubernetesLimit = 20 * time.Minute

// probeImage is the archive of the probe's image.
var probeImage = sync.OnceValues(func() ([]byte, error) { return probe.Archive(probeRef, "./testdata/probe", "") })

// importProbe gives the probe's image to the pods of the machine, through its API.
func (m *machine) importProbe() {
	m.t.Helper()
	archive, err := probeImage()
	if err != nil {
		m.t.Fatal(err)
	}
	c, err := client.New(client.Options{Context: m.context()})
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	m.until("the import of the probe", func(context.Context) error {
		ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
		defer cancel()
		_, err := probe.Import(ctx, c, archive)
		return err
	})
}

// kubectl is a machine's Kubernetes, as its administrator sees it.
type kubectl struct {
	m                           *machine
	program, kubeconfig, server string
}

// kubernetes begins the cluster and waits for its API.
func (m *machine) kubernetes() *kubectl {
	m.t.Helper()
	program, err := filepath.Abs("../../_out/components/kubernetes/kubectl")
	if env := os.Getenv("TALOS_KUBECTL"); env != "" {
		program, err = env, nil
	}
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		m.t.Skipf("no kubectl (%v): build it with make components, or name it in TALOS_KUBECTL", err)
	}
	k := &kubectl{m: m, program: program, kubeconfig: filepath.Join(m.t.TempDir(), "kubeconfig"), server: "https://" + m.node().Published[6443]}
	m.t.Cleanup(m.tells)
	m.limit = kubernetesLimit
	m.until("bootstrap to be taken", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, "bootstrap")
		if err != nil && strings.Contains(err.Error(), "AlreadyExists") {
			return nil // the answer was lost
		}
		return err
	})
	m.until("a kubeconfig", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, "kubeconfig", "--merge=false", "--force", k.kubeconfig)
		return err
	})
	k.until("the Kubernetes API to be ready", func(out string) bool { return out == "ok" }, "get", "--raw", "/readyz")
	return k
}

// tells logs what a machine whose test failed says of what runs on it: the console has little of that.
func (m *machine) tells() {
	if !m.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // that of the test has ended
	defer cancel()
	for _, args := range [][]string{{"services"}, {"containers", "-k"}, {"processes"}, {"logs", "kubelet", "--tail", "40"}, {"logs", "etcd", "--tail", "20"}} {
		out, err := m.talosctl(ctx, args...)
		m.t.Logf("talosctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// run runs kubectl; input is what it reads.
func (k *kubectl) run(ctx context.Context, input string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, k.program, append([]string{"--kubeconfig", k.kubeconfig, "--server", k.server, "--request-timeout", "30s"}, args...)...)
	cmd.Env, cmd.Stdin = append(os.Environ(), "HOME="+filepath.Dir(k.kubeconfig)), strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// until waits until the output of kubectl is as wanted.
func (k *kubectl) until(what string, wanted func(out string) bool, args ...string) {
	k.m.t.Helper()
	// kubectl is a large program: to run it over and over again takes the processor from the machine that is waited for.
	defer func(was time.Duration) { k.m.pause = was }(k.m.pause)
	k.m.pause = 3 * time.Second
	k.m.until(what, func(ctx context.Context) error {
		out, err := k.run(ctx, "", args...)
		if err == nil && !wanted(out) {
			err = fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), out)
		}
		return err
	})
}

// has returns a test for a text.
func has(text string) func(string) bool {
	return func(out string) bool { return strings.Contains(out, text) }
}

func (k *kubectl) apply(manifest string) {
	k.m.t.Helper()
	k.m.until("a manifest to be taken", func(ctx context.Context) error {
		_, err := k.run(ctx, manifest, "apply", "--validate=false", "-f", "-")
		return err
	})
}

// Pods of the tests. The machine has no network beyond its bridge: their images are in the cache or were imported.
const (
	hog = `
apiVersion: v1
kind: Pod
metadata: {name: hog, namespace: default}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: ` + probeRef + `
    imagePullPolicy: Never
    args: [fill, /data/file, "40"]
    resources: {limits: {ephemeral-storage: 16Mi}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
`
	burglar = `
apiVersion: v1
kind: Pod
metadata: {name: burglar, namespace: kube-system}
spec:
  hostPID: true
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: ` + probeRef + `
    imagePullPolicy: Never
    args: [break, /host]
    securityContext: {privileged: true}
    volumeMounts: [{name: host, mountPath: /host}]
  volumes: [{name: host, hostPath: {path: /}}]
`
)

// ready waits for a node of Kubernetes.
func (k *kubectl) ready(node string) {
	k.m.t.Helper()
	k.until("node "+node+" to be Ready", has("True"), "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
}

func TestKubernetesInMachines(t *testing.T) {
	if _, err := os.Stat(built(t, "imagecache.img")); err != nil {
		t.Fatal(err)
	}
	m := newCluster(t, shape{
		name: "metal-kube", image: built(t, "talos.qcow2", "talos.raw"), options: direct(t), cpus: 2, memory: kubernetesMemory,
		documents: []string{withoutTimeServer, "cluster: {allowSchedulingOnControlPlanes: true}\n"},
	})
	m.answers()
	m.shows("imagecacheconfig", "status: ready", "/system/imagecache/disk")
	k := m.kubernetes()
	k.ready(m.node().Name)
	k.until("CoreDNS to be there", has("1"), "get", "deployment", "-n", "kube-system", "coredns", "-o", "jsonpath={.status.availableReplicas}")
	m.rootIsClosed()

	m.importProbe()
	k.apply(burglar)
	k.until("the burglar to be through", has("tried everything"), "logs", "-n", "kube-system", "burglar")
	if out, err := k.run(t.Context(), "", "logs", "-n", "kube-system", "burglar"); err != nil || strings.Contains(out, "BROKEN") {
		t.Errorf("a privileged pod says %v:\n%s", err, out)
	}
	k.apply(hog)
	k.until("the hog to be stopped at its limit", has("Failed"), "get", "pod", "hog", "-o", "jsonpath={.status.phase} {.status.reason} {.status.message}")

	worker := provision.NodeName(m.cluster.Name, provision.Worker, 1)
	if err := m.p.AddNode(t.Context(), m.cluster.Name, provision.NodeRequest{
		Name: worker, Type: provision.Worker, Address: m.network.Address(1), CPUs: 1, Memory: leastWorker, Config: m.worker,
	}, nil); err != nil {
		t.Fatal(err)
	}
	k.ready(worker)
}
