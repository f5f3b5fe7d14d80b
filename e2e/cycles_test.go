package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/provision/provisiontest"
)

// TestTenClustersLeaveNothing creates and destroys a cluster ten times over, and compares the computer before and after: processes,
// mounts, interfaces, tables of nftables, forwarding, control groups, and the files of the person and of the folder for temporary ones.
//
// The clusters are not waited for: their nodes run, and etcd was told to begin, when they are destroyed. TestCluster's destroy is one of
// a whole cluster.
func TestTenClustersLeaveNothing(t *testing.T) {
	u := newPerson(t, "e2e-cycle", "10.65.0.0/24")
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	look := func() []string {
		t.Helper()
		machine, err := provisiontest.Machine()
		if err != nil {
			t.Fatal(err)
		}
		// Processes and groups of others come and go meanwhile.
		all := provisiontest.Of(machine, u.cluster)
		for _, dir := range []string{u.home, temp} {
			err := filepath.WalkDir(dir, func(name string, _ fs.DirEntry, err error) error {
				all = append(all, "file "+name)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	before := look()
	for i := range 10 {
		began := time.Now()
		if out, errs, code := u.talosctl(u.create("--wait=false", "--skip-kubeconfig")...); code != 0 {
			t.Fatalf("create %d: exit code %d\n%s%s", i+1, code, out, errs)
		}
		created := time.Since(began)
		during := look()
		for _, kind := range []string{"process ", "cgroup ", "link ", "table ", "file "} {
			if !slices.ContainsFunc(during, func(l string) bool { return strings.HasPrefix(l, kind) && !slices.Contains(before, l) }) {
				t.Errorf("there is no %sof a cluster that runs: this test could not find what is left", kind)
			}
		}
		if out, errs, code := u.talosctl("cluster", "destroy"); code != 0 {
			t.Fatalf("destroy %d: exit code %d\n%s%s", i+1, code, out, errs)
		}
		t.Logf("cycle %d: created in %.1f s, destroyed in %.1f s", i+1, created.Seconds(), (time.Since(began) - created).Seconds())
	}
	// What stays is the file of contexts, which has none, and the folder of clusters.
	kept := []string{".talos", ".talos/config", ".talos/clusters", ".talos/clusters/.lock"}
	after := slices.DeleteFunc(look(), func(l string) bool {
		name, ok := strings.CutPrefix(l, "file "+u.home+"/")
		return ok && slices.Contains(kept, name)
	})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("ten clusters left (-before +after):\n%s", diff)
	}
	if text, err := os.ReadFile(filepath.Join(u.home, ".talos", "config")); err != nil || strings.Contains(string(text), u.cluster) {
		t.Errorf("the talosconfig is %q, %v; want no context in it", text, err)
	}
}
