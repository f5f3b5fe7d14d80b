package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/e2e/probe"
	"talos.internal/internal/image/oci"
)

// TestSixMachines makes three control-plane nodes and three workers by one command, with patches in files that put another network plugin
// in the place of flannel and kube-proxy. The image cache has the plugin's image beside the usual ones.
func TestSixMachines(t *testing.T) {
	u := newPerson(t, "e2e-six", "10.66.0.0/24")
	dir := t.TempDir()
	images, err := oci.Read(u.parts.images)
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := probe.Image(dir, probeRef, "./testdata/probe", probeUser)
	if err != nil {
		t.Fatal(err)
	}
	u.parts.images = filepath.Join(dir, "images")
	if err := oci.WriteLayout(u.parts.images, append(images, plugin)); err != nil {
		t.Fatal(err)
	}
	all, control := filepath.Join(dir, "all.yaml"), filepath.Join(dir, "cp.yaml")
	patches := anotherNetwork()
	last := len(patches) - 1
	for file, text := range map[string]string{
		all:     "machine:\n  nodeLabels:\n    lab.example/of: six\n",
		control: strings.Join(patches[:last], "---\n") + "---\n" + patches[last],
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	u.must(u.create("--controlplanes", "3", "--workers", "3", "--config-patch", "@"+all, "--config-patch-control-plane", "@"+control,
		"--memory", "0", "--wait-timeout", patience.String())...)
	t.Logf("create of six machines, until all are healthy: %.1f s", time.Since(began).Seconds())
	out, err := u.kube("", "get", "nodes", "-l", "lab.example/of=six")
	if err != nil {
		t.Fatal(err)
	}
	nodes := rows(out, "NAME")
	for i := range 3 {
		for _, name := range []string{fmt.Sprintf("%s-controlplane-%d", u.cluster, i+1), u.worker(i + 1)} {
			if n := nodes[name]; n["STATUS"] != "Ready" {
				t.Errorf("%s is %q; want it Ready, with the label of the patch:\n%s", name, n["STATUS"], out)
			}
		}
	}
	out, err = u.kube("", "get", "daemonsets", "-A", "-o", "jsonpath={.items[*].metadata.name}")
	if err != nil || out != "probe" {
		t.Errorf("the DaemonSets are %q, %v; want probe alone: no flannel and no kube-proxy", out, err)
	}
}
