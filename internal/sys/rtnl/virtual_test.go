package rtnl

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestBridgesAndVethPairs(t *testing.T) {
	c, _, _ := isolated(t)
	// A process in a namespace of its own, to make one end there. It waits for its input to end.
	cat := exec.Command("cat")
	cat.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	input, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = input.Close(); _ = cat.Wait() }()

	if err := c.AddBridge("bridge", 1400); err != nil {
		t.Fatal(err)
	}
	if err := c.AddBridge("bridge", 1400); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddBridge again = %v; want fs.ErrExist", err)
	}
	bridge, err := c.LinkByName("bridge")
	if err != nil || bridge.Kind != "bridge" || bridge.MTU != 1400 {
		t.Fatalf("bridge = %+v, %v", bridge, err)
	}
	pair := Veth{Name: "port", MTU: 1400, Master: bridge.Index, Peer: "eth0", PeerPID: cat.Process.Pid}
	if err := c.AddVeth(pair); err != nil {
		t.Fatal(err)
	}
	if err := c.AddVeth(pair); !errors.Is(err, fs.ErrExist) {
		t.Errorf("AddVeth again = %v; want fs.ErrExist", err)
	}
	if port, err := c.LinkByName("port"); err != nil || port.Kind != "veth" || port.Master != bridge.Index || port.MTU != 1400 {
		t.Errorf("port = %+v, %v", port, err)
	}
	if _, err := c.LinkByName("eth0"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("eth0 in the namespace of the bridge: %v; want it in the other one", err)
	}
	other, err := OpenProcess(cat.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if eth0, err := other.LinkByName("eth0"); err != nil || eth0.MTU != 1400 {
		t.Errorf("eth0 = %+v, %v", eth0, err)
	}
	if _, err := OpenProcess(os.Getpid() << 20); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenProcess of no process = %v; want fs.ErrNotExist", err)
	}
	for _, name := range []string{"port", "port", "bridge", "bridge"} { // the second time there is none
		if err := c.RemoveLink(name); err != nil {
			t.Error(err)
		}
	}
	if _, err := other.LinkByName("eth0"); !errors.Is(err, syscall.ENODEV) {
		t.Errorf("eth0 after its peer is removed: %v; want it gone", err)
	}
}
