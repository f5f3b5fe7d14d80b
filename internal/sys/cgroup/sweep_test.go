package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSweepRemovesAGroupFromEveryHierarchy(t *testing.T) {
	root := t.TempDir()
	const mounts = `20 1 0:20 / /sys/fs/cgroup rw - tmpfs tmpfs rw
21 20 0:21 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
22 20 0:22 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
23 20 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`
	self := filepath.Join(root, "proc", "thread-self")
	if err := os.MkdirAll(self, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(self, "mountinfo"), []byte(mounts), 0o600); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, h := range []string{"memory", "blkio"} {
		dir := filepath.Join(root, "sys/fs/cgroup", h, "lab")
		if err := os.MkdirAll(filepath.Join(dir, "node", "pods"), 0o755); err != nil {
			t.Fatal(err)
		}
		want = append(want, dir)
	}
	if err := os.MkdirAll(filepath.Join(root, "sys/fs/cgroup/unified/other"), 0o755); err != nil {
		t.Fatal(err)
	}
	got, err := Everywhere(root, "lab")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Everywhere: %v (-want +got):\n%s", err, diff)
	}
	for range 2 { // the second time there is none
		if err := Sweep(root, "/lab"); err != nil {
			t.Error(err)
		}
	}
	if got, err := Everywhere(root, "lab"); err != nil || len(got) != 0 {
		t.Errorf("Everywhere after Sweep = %v, %v; want none", got, err)
	}
	for _, p := range []string{"/", "", ".."} {
		if err := Sweep(root, p); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Sweep(%q) = %v; want EINVAL", p, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "sys/fs/cgroup/unified/other")); err != nil {
		t.Errorf("another group: %v", err)
	}
}
