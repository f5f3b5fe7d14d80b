package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// another is a network plugin that is no part of the system: a bridge and routes, from the CNI plugins that a machine has, and what
// leads pods to the Kubernetes API where there is no kube-proxy. Its namespace comes last, and still is made first.
const another = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: probe, namespace: probe-system}
spec:
  selector: {matchLabels: {app: probe}}
  template:
    metadata: {labels: {app: probe}}
    spec:
      hostNetwork: true
      serviceAccountName: probe
      tolerations: [{operator: Exists}]
      containers:
      - name: probe
        image: ` + probeRef + `
        imagePullPolicy: IfNotPresent
        args: [cni]
        env:
        - {name: API_SERVER, value: "localhost:7445"}
        - {name: API_SERVICE, value: "10.96.0.1:443"}
        - {name: CNI_DIR, value: /host/net.d}
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        securityContext: {privileged: true, runAsUser: 0}
        volumeMounts: [{name: settings, mountPath: /host/net.d}]
      volumes: [{name: settings, hostPath: {path: /etc/cni/net.d, type: DirectoryOrCreate}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: probe}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: probe}
subjects: [{kind: ServiceAccount, name: probe, namespace: probe-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: probe}
rules: [{apiGroups: [""], resources: [nodes], verbs: [list]}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: probe, namespace: probe-system}
---
apiVersion: v1
kind: Namespace
metadata: {name: probe-system, labels: {pod-security.kubernetes.io/enforce: privileged}}
`

// inline is a patch with a manifest of at least so many bytes: what is not the plugin is ballast beside it.
func inline(manifest string, size int) string {
	var b strings.Builder
	for i := 0; b.Len()+len(manifest) < size; i++ {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ballast-%d, namespace: probe-system}\ndata:\n  text: |\n", i)
		for line := range 100 {
			fmt.Fprintf(&b, "    line %d of the text, as long as lines of dashboards and certificates are wont to be, %[1]d\n", line)
		}
		b.WriteString("---\n")
	}
	text := "apiVersion: v1alpha1\nkind: KubeInlineManifestConfig\nname: probe\nmanifest: |\n"
	for line := range strings.Lines(b.String() + strings.TrimPrefix(manifest, "\n")) {
		text += "    " + line
	}
	return text
}

// anotherNetwork are the patches that take flannel and kube-proxy out of a config, and put another plugin in.
func anotherNetwork() []string {
	return []string{
		"apiVersion: v1alpha1\nkind: KubeFlannelCNIConfig\n$patch: delete\n",
		"apiVersion: v1alpha1\nkind: KubeProxyConfig\nenabled: false\n",
		inline(another, 200<<10),
	}
}

// TestAnotherNetwork makes a cluster whose config has neither flannel nor kube-proxy, and has another plugin in its place. Nothing
// else is done to it.
func TestAnotherNetwork(t *testing.T) {
	patches := anotherNetwork()
	if manifest := patches[len(patches)-1]; len(manifest) < 200<<10 {
		t.Fatalf("the patch has %d bytes", len(manifest))
	}
	c := makeCluster(t, "e2e-cni", 55, shape{controls: 1, workers: 1, control: patches})
	c.importProbe() // elsewhere the image cache or a registry has the plugin's image
	c.begin()
	c.credentials()
	api := c.api(c.control())
	c.nodesReady(api)
	c.available(api, "kube-system", "coredns")
	t.Logf("bootstrap → nodes Ready and CoreDNS available: %.1f s", time.Since(c.began).Seconds())

	out, errs, err := c.run("", "get", "daemonsets", "-A", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil || out != "probe" {
		t.Errorf("the DaemonSets are %q, %v\n%s; want probe alone: no flannel and no kube-proxy", out, err, errs)
	}
	out, errs, err = c.run("", "get", "configmaps", "-n", "probe-system", "-o", "name")
	if n := strings.Count(out, "configmap/ballast-"); err != nil || n < 15 {
		t.Errorf("%d of the manifest's ConfigMaps are there, %v\n%s", n, err, errs)
	}
	c.apply(pod("server", c.worker().Name) + "---" + pod("client", c.control().Name))
	server := c.podReady(api, "default", "server")
	c.podReady(api, "default", "client")
	c.wait("a pod to reach one on the other machine", func(context.Context) error {
		out, errs, err := c.run("", "exec", "client", "--", "/probe", "get", "http://"+server.Status.PodIP+":8080/")
		if err != nil || out != "server\n" {
			return fmt.Errorf("kubectl exec: %w: %s%s", err, out, errs)
		}
		return nil
	})
}
