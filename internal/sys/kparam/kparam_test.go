package kparam

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestValuesAreReadAndWritten(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "proc/sys/net/ipv4/conf/eth0.1/forwarding")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree := Tree{Root: root}
	const path = "proc/sys/net/ipv4/conf/eth0.1/forwarding"
	if got, err := tree.Read(path); err != nil || got != "0" {
		t.Errorf("Read(%s) = %q, %v; want 0", path, got, err)
	}
	if err := tree.Write(path, "1"); err != nil {
		t.Fatal(err)
	}
	if got, err := tree.Read(path); err != nil || got != "1" {
		t.Errorf("Read(%s) after Write = %q, %v; want 1", path, got, err)
	}
	if err := tree.Write("proc/sys/net/ipv4/none", "1"); !errors.Is(err, fs.ErrNotExist) || !Missing(err) {
		t.Errorf("Write of a parameter that is not there = %v; want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(filepath.Join(root, "proc/sys/net/ipv4/none")); err == nil {
		t.Error("Write has made a file")
	}
}

func TestPathsStayBelowTheKernelsDirectories(t *testing.T) {
	tree := Tree{Root: t.TempDir()}
	for _, path := range []string{"", "/proc/sys/a", "proc/sys", "proc/sys/../../etc/passwd", "sys/../etc/passwd", "etc/passwd", "proc/1/mem", "sys", "proc/sys/a/", "sys//a"} {
		if _, err := tree.Read(path); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Read(%q) = %v; want EINVAL", path, err)
		}
		if err := tree.Write(path, ""); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Write(%q) = %v; want EINVAL", path, err)
		}
	}
}

func TestSame(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want bool
	}{
		{"1", "1", true},
		{"1", "0", false},
		{"4096 87380 6291456", "4096\t87380\t6291456", true},
		{"mq-deadline", "[mq-deadline] none", true},
		{"none", "[mq-deadline] none", false},
		{"[]", "[]", true},
		{"1", "Y", true},
		{"0", "N", true},
		{"Y", "N", false},
	} {
		if got := Same(test.a, test.b); got != test.want {
			t.Errorf("Same(%q, %q) = %t; want %t", test.a, test.b, got, test.want)
		}
	}
	if got := Chosen("mq-deadline kyber [none]"); got != "none" {
		t.Errorf("Chosen = %q; want none", got)
	}
}

func TestModuleParam(t *testing.T) {
	if got := ModuleParam("nvme-tcp", "wq_unbound"); got != "sys/module/nvme_tcp/parameters/wq_unbound" {
		t.Errorf("ModuleParam = %s", got)
	}
}
