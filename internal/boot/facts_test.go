package boot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGather(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"proc/thread-self/mountinfo":               "1 2 0:1 / / rw - t s o\n",
		fmt.Sprintf("proc/%d/cgroup", os.Getpid()): "0::/x\n",
		"proc/cpuinfo":                             "processor : 0\nflags : cx16 pni\n",
		"proc/cmdline":                             "slab_nomerge pti=on\n",
		"proc/sys/kernel/hostname":                 "node-1\n",
		"etc/hosts":                                "127.0.0.1 localhost\n",
		"etc/os-release":                           "ID=x\n",
		"etc/other":                                "not asked for\n",
		"etc/resolv.conf/a-directory-is-no-file-of-one": "",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"PLATFORM": "container", "TALOSSKU": "2CPU-2048RAM", "USERDATA": "YQ==\n"}
	getenv := func(name string) string { return env[name] }
	f, err := Gather(root, getenv)
	if err != nil {
		t.Fatal(err)
	}
	if f.Mode != Container || f.PID1 || len(f.Mounts) != 1 || len(f.Groups) != 1 || f.Groups[0].Path != "/x" || f.Hostname != "node-1" || f.SKU != "2CPU-2048RAM" {
		t.Errorf("Gather() = %+v", f)
	}
	if d := cmp.Diff(map[string][]byte{"hosts": []byte("127.0.0.1 localhost\n"), "os-release": []byte("ID=x\n")}, f.Files); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if b, err := f.MachineConfig(); string(b) != "a" || err != nil {
		t.Errorf("MachineConfig() = %q, %v; want a", b, err)
	}
	if b, err := (Facts{UserData: "secret!"}).MachineConfig(); b != nil || err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("MachineConfig(no base64) = %q, %v; want an error that does not show it", b, err)
	}
	if b, err := (Facts{}).MachineConfig(); b != nil || err != nil {
		t.Errorf("MachineConfig(none) = %q, %v", b, err)
	}

	env["PLATFORM"] = ""
	if f, err := Gather(root, getenv); f.Mode != Metal || len(f.CPUFlags) != 2 || len(f.Cmdline) != 2 || err != nil {
		t.Errorf("Gather(without PLATFORM) = %+v, %v; want metal", f, err)
	}
	if err := os.MkdirAll(filepath.Join(root, containerMarker), 0o755); err != nil {
		t.Fatal(err)
	}
	if f, err := Gather(root, getenv); f.Mode != Container || err != nil {
		t.Errorf("Gather(without PLATFORM, in the container image) = %s, %v; want container", f.Mode, err)
	}
	env["PLATFORM"] = "aws"
	if _, err := Gather(root, getenv); err == nil || !strings.Contains(err.Error(), "aws") {
		t.Errorf("Gather(PLATFORM aws) = %v; want an error that names it", err)
	}
}

func TestWhatIsMountedIsNotWiped(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"var/lib/etcd/member", "var/mnt/disk/data", "var/mnt/other", "var/lib/etcd2", "elsewhere/data"} {
		if err := os.MkdirAll(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(root, "elsewhere"), filepath.Join(root, "var/link")); err != nil {
		t.Fatal(err)
	}
	if err := rooted(root).Empty("/var", []string{"/var/mnt/disk", "/var/lib/etcd"}); err != nil {
		t.Fatal(err)
	}
	var left []string
	_ = filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(p, root))
		return err
	})
	want := []string{"", "/elsewhere", "/elsewhere/data", "/var", "/var/lib", "/var/lib/etcd", "/var/lib/etcd/member", "/var/mnt", "/var/mnt/disk", "/var/mnt/disk/data"}
	if d := cmp.Diff(want, left); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	if err := rooted(root).Empty("/none", nil); err != nil {
		t.Errorf("Empty(not there) = %v; want nil", err)
	}
}
