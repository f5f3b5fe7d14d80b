package node

import (
	"os"
	"syscall"
	"testing"

	"talos.internal/internal/supervise/child"
)

// launcher starts nothing and counts numbers up.
type launcher struct{ next int }

type fakeProcess int

func (p fakeProcess) PID() int                  { return int(p) }
func (fakeProcess) Signal(syscall.Signal) error { return nil }
func (fakeProcess) Kill() error                 { return nil }
func (fakeProcess) Exited() <-chan child.Exit   { return nil }

func (l *launcher) Start(child.Spec, *os.File) (child.Process, error) {
	l.next++
	return fakeProcess(l.next), nil
}

func TestServiceOfKnowsOnlyTheLastProcessOfAService(t *testing.T) {
	p := &processes{Launcher: &launcher{next: 100}}
	start := func(name string, uid uint32) {
		t.Helper()
		if _, err := p.Start(child.Spec{Name: name, User: &child.User{UID: uid}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	start("apid", 50)      // 101
	start("trustd", 51)    // 102
	start("apid", 50)      // 103
	start("dashboard", 50) // 104
	p.Launcher = &launcher{next: 103}
	start("kubelet", 50) // 104 again: the dashboard has ended
	for _, tc := range []struct {
		name string
		pid  int32
		uid  uint32
		want string
	}{
		{"one that got the number of another of the same user", 104, 50, "kubelet"},
		{"running", 103, 50, "apid"},
		{"another service", 102, 51, "trustd"},
		{"of an earlier run", 101, 50, ""},
		{"another user with that number", 103, 0, ""},
		{"a stranger", 7, 50, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := p.serviceOf(tc.pid, tc.uid); got != tc.want || ok != (tc.want != "") {
				t.Errorf("serviceOf(%d, %d) = %q, %t; want %q", tc.pid, tc.uid, got, ok, tc.want)
			}
		})
	}
}

func TestOnlyWhatContainerdItselfHasStartedCountsAsContainerd(t *testing.T) {
	parents := map[int32]int32{200: 101, 201: 200, 202: 102, 203: 1}
	p := &processes{Launcher: &launcher{next: 100}, parent: func(pid int32) (int32, error) {
		if at, ok := parents[pid]; ok {
			return at, nil
		}
		return 0, os.ErrNotExist
	}}
	for _, spec := range []child.Spec{{Name: "containerd"}, {Name: "apid", User: &child.User{UID: 50}}} { // 101, 102
		if _, err := p.Start(spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		pid  int32
		uid  uint32
		want string
	}{
		{"its child", 200, 0, "containerd"},
		{"its child under another user", 200, 50, ""},
		{"its grandchild", 201, 0, ""},
		{"a child of another service", 202, 0, ""},
		{"a stranger", 203, 0, ""},
		{"one that is gone", 204, 0, ""},
	} {
		if got, ok := p.serviceOf(tc.pid, tc.uid); got != tc.want || ok != (tc.want != "") {
			t.Errorf("%s: serviceOf(%d, %d) = %q, %t; want %q", tc.name, tc.pid, tc.uid, got, ok, tc.want)
		}
	}
	if got, err := parentOf(int32(os.Getpid())); err != nil || int(got) != os.Getppid() {
		t.Errorf("parentOf = %d, %v; want %d", got, err, os.Getppid())
	}
}
