package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/client"
	"talos.internal/client/talosconfig"
	"talos.internal/config/defaults"
	"talos.internal/internal/image/oci"
	"talos.internal/internal/provision"
)

// What may fail of the requests to a service while everything under it is upgraded, and how long no answer may come.
const (
	mayFail  = 5
	mayPause = 3 * time.Second
)

// olderKubernetes is the version to upgrade from that this tree builds. The test is skipped where the image cache does not have it.
func olderKubernetes(t testing.TB, images string) string {
	t.Helper()
	text, err := os.ReadFile("../components/versions")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^kubernetes-1\.\d+\s+v(\S+)`).FindSubmatch(text)
	if found == nil {
		t.Fatal("components/versions has no version to upgrade from")
	}
	version := string(found[1])
	all, err := oci.Read(images)
	if err != nil {
		t.Fatal(err)
	}
	if want := defaults.ImagesOf(version).Kubelet; !slices.ContainsFunc(all, func(img oci.Image) bool { return img.Ref == want }) {
		lacks(t, fmt.Sprintf("the image cache at %s has no %s: build it with make image, or run make e2e", images, want))
	}
	return version
}

// TestKubernetesUpgrade brings a cluster from one minor version of Kubernetes to the next, while a service on it is called all the time.
func TestKubernetesUpgrade(t *testing.T) {
	u := newPerson(t, "e2e-k8s", "10.75.0.0/24")
	from, to := olderKubernetes(t, u.parts.images), defaults.Kubernetes
	u.must(u.create("--kubernetes-version", from)...)
	u.runs(from)
	u.importProbe()
	counter := strings.Replace(pod("counter", u.cluster+"-controlplane-1"), "args: [serve]", "args: [count, 'http://web']", 1)
	if _, err := u.kube(web+"---"+counter, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	u.until(patience, "answers of the service", func() error {
		n, err := u.counted()
		if err == nil && n.Total < 10 {
			err = fmt.Errorf("there were %d", n.Total)
		}
		return err
	})

	for version, want := range map[string]string{"1.35.9": "older minor version", "1.38.0": "the machines do not know it"} {
		if out, errs, code := u.talosctl("upgrade-k8s", "--to", version, "-n", u.control()); code != 1 || !strings.Contains(errs, want) || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("to %s: exit code %d\n%s%s; want it refused: %s", version, code, out, errs, want)
		}
	}
	out, _ := u.must("upgrade-k8s", "--to", to, "--dry-run", "-n", u.control())
	for _, want := range []string{"from v" + from + " to v" + to, "kubelet to " + defaults.ImagesOf(to).Kubelet, "update DaemonSet kube-system/kube-proxy", "Nothing was changed."} {
		if !strings.Contains(out, want) {
			t.Errorf("the dry run does not say %q:\n%s", want, out)
		}
	}
	u.runs(from)

	_, steps := u.must("upgrade-k8s", "--to", to, "-n", u.control())
	t.Logf("steps:\n%s", steps)
	u.runs(to)
	n, err := u.counted()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests to the service, %d failed, longest pause %d ms; last error: %q", n.Total, n.Failed, n.Pause, n.Last)
	if pause := time.Duration(n.Pause) * time.Millisecond; n.Failed > mayFail || pause > mayPause {
		t.Errorf("of %d requests %d failed, the longest pause was %s; want at most %d and %s", n.Total, n.Failed, pause, mayFail, mayPause)
	}

	// There is nothing left to do.
	out, errs := u.must("upgrade-k8s", "--to", to, "-n", u.control())
	if strings.Contains(errs, "fetch") || !strings.Contains(errs, "(its config has it already)") || strings.Contains(out, "@@") {
		t.Errorf("a second upgrade:\n%s%s", out, errs)
	}
}

// control is the address of the machine of the control plane.
func (u *person) control() string {
	u.t.Helper()
	return u.node(u.cluster + "-controlplane-1").Endpoint
}

// runs checks that every part of Kubernetes is of a version.
func (u *person) runs(version string) {
	u.t.Helper()
	out, err := u.kube("", "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.nodeInfo.kubeletVersion} {end}`)
	if err != nil {
		u.t.Fatal(err)
	}
	nodes := strings.Fields(out)
	for _, n := range nodes {
		if !strings.HasSuffix(n, "=v"+version) {
			u.t.Errorf("kubelet: %s; want v%s", n, version)
		}
	}
	if len(nodes) != len(u.provisioned().Nodes) {
		u.t.Errorf("the nodes are %q", out)
	}
	if out, err = u.kube("", "get", "--raw", "/version"); err != nil || !strings.Contains(out, `"gitVersion": "v`+version+`"`) {
		u.t.Errorf("the API server is %s, %v; want v%s", out, err, version)
	}
	out, err = u.kube("", "get", "pods", "-n", "kube-system", "-o", `jsonpath={range .items[*]}{.metadata.name}={.spec.containers[0].image} {end}`)
	if err != nil {
		u.t.Fatal(err)
	}
	seen := 0
	for p := range strings.FieldsSeq(out) {
		if strings.Contains(p, "=registry.k8s.io/kube-") {
			seen++
			if !strings.HasSuffix(p, ":v"+version) {
				u.t.Errorf("%s; want v%s", p, version)
			}
		}
	}
	if want := 3 + len(nodes); seen != want { // and kube-proxy on each
		u.t.Errorf("%d pods have images of Kubernetes; want %d: %s", seen, want, out)
	}
}

// counted is what the pod counter says.
func (u *person) counted() (n struct {
	Total, Failed int
	Pause         int64
	Last          string
}, err error) {
	out, err := u.kube("", "exec", "counter", "--", "/probe", "get", "http://127.0.0.1:8080/")
	if err == nil {
		err = json.Unmarshal([]byte(out), &n)
	}
	return n, err
}

// importProbe gives the probe's image to the pods of all machines.
func (u *person) importProbe() {
	u.t.Helper()
	archive, err := probeImage()
	if err != nil {
		u.t.Fatal(err)
	}
	conf, _, err := talosconfig.Open(filepath.Join(u.home, ".talos", "config"))
	if err != nil {
		u.t.Fatal(err)
	}
	_, context, err := conf.Lookup("")
	if err != nil {
		u.t.Fatal(err)
	}
	c, err := client.New(client.Options{Context: context})
	if err != nil {
		u.t.Fatal(err)
	}
	defer c.Close()
	for _, n := range u.provisioned().Nodes {
		u.until(patience, "the import of the probe into "+n.Name, func() error { return importProbe(client.WithNode(u.t.Context(), address(n)), c, archive) })
	}
}

// address is what a machine is called by through the endpoint.
func address(n provision.Node) string { return n.Address.String() }
