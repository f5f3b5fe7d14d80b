package boot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/proc"
)

const rootHash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func cmdline(t *testing.T, text string) []proc.Param {
	t.Helper()
	p, err := proc.ParseCmdline(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestThePlanOfTheInitramfs(t *testing.T) {
	steps, err := InitramfsPlan(cmdline(t, "console=ttyS0 roothash="+rootHash+" talos.verity=25600:0badcafe"))
	if err != nil {
		t.Fatal(err)
	}
	samePlan(t, "initramfs", steps)
	for _, bad := range []string{"", "roothash=" + rootHash, "roothash=" + rootHash + " talos.verity=1:00 roothash=1"} {
		if _, err := InitramfsPlan(cmdline(t, bad)); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "command line") {
			t.Errorf("InitramfsPlan(%q) = %v; want EINVAL about the command line", bad, err)
		}
	}
}

func TestTheRootIsLookedForInItsOrder(t *testing.T) {
	f := blockFacts{
		Names:  []string{"/dev/sr0", "/dev/vda", "/dev/vda2", "/dev/vdb1", "/dev/vdc"},
		UUIDs:  map[string]string{"/dev/vda2": "a", "/dev/vdb1": "b"},
		Labels: map[string]string{"/dev/sr0": "TALOS_V1", "/dev/vdc": "cidata"}, Image: true,
	}
	if d := cmp.Diff("[partition /dev/vda2 file /rootfs.img on the medium /dev/sr0 file /rootfs.img of the initramfs]", fmt.Sprint(places(f, "a"))); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
	f.Image = false
	if got := fmt.Sprint(places(f, "c")); got != "[file /rootfs.img on the medium /dev/sr0]" {
		t.Errorf("places(another version) = %s", got)
	}
}

// drive is what a fake device has on it.
type drive struct {
	uuid, label string
	content     []byte
	after       time.Duration // when it shows up
	rare        bool          // its driver is not among those that are loaded first
}

// fakeDevices are Devices in memory.
type fakeDevices struct {
	*recorder
	begin  time.Time
	drives map[string]drive
	files  map[string][]byte // what can be shown by a loop device, by its path
	image  bool
	stuck  error  // of LoadDrivers
	root   []byte // what the mapped device has
	every  bool   // the drivers of all devices are loaded
}

func (f *fakeDevices) LoadModules(_ context.Context, names ...string) error {
	return f.record("load %v", names)
}

func (f *fakeDevices) LoadDrivers(_ context.Context, all bool) ([]string, error) {
	if !all {
		return nil, nil
	}
	f.every = true
	return nil, f.stuck
}

func (f *fakeDevices) Wake(context.Context) (<-chan struct{}, func()) { return nil, func() {} }

func (f *fakeDevices) Blocks() (blockFacts, error) {
	b := blockFacts{UUIDs: map[string]string{}, Labels: map[string]string{}, Image: f.image}
	for name, d := range f.drives {
		if time.Since(f.begin) >= d.after && (f.every || !d.rare) {
			b.Names = append(b.Names, name)
			b.UUIDs[name], b.Labels[name] = d.uuid, d.label
		}
	}
	slices.Sort(b.Names)
	return b, nil
}

type blob struct{ *bytes.Reader }

func (blob) Close() error { return nil }

func (f *fakeDevices) Open(device string) (Blob, error) {
	content := f.drives[device].content
	if file, ok := strings.CutPrefix(device, "loop:"); ok {
		content = f.files[file]
	}
	if device == "/dev/dm-0" {
		content = f.root
	}
	return blob{bytes.NewReader(content)}, nil
}

func (f *fakeDevices) Loop(file string) (string, func(), error) {
	if _, ok := f.files[file]; !ok {
		return "", nil, syscall.ENOENT
	}
	return "loop:" + file, func() {}, nil
}

func (f *fakeDevices) Map(name string, table dm.Table) error {
	return f.record("map %s to %s", name, strings.Split(table[0].Params, " ")[1])
}
func (f *fakeDevices) Protect(device string) error           { return f.record("protect %s", device) }
func (f *fakeDevices) Unmap(prefix string) ([]string, error) { return []string{prefix + "STATE"}, nil }
func (f *fakeDevices) Mapped(string) (string, error)         { return "/dev/dm-0", nil }
func (f *fakeDevices) SwitchRoot(root string, _ ...string) error {
	return f.record("switch to %s", root)
}

// version returns content with a tree, and what a command line says of it.
func version(n byte) (content []byte, line string) {
	content = bytes.Repeat([]byte{n}, 3*dm.VerityBlock)
	copy(content, "hsqs")
	sum := sha256.Sum256(content[2*dm.VerityBlock:])
	return content, "roothash=" + hex.EncodeToString(sum[:]) + " talos.verity=2:"
}

func TestTheRootIsFound(t *testing.T) {
	right, line := version(1)
	wrong, _ := version(2)
	steps, err := InitramfsPlan(cmdline(t, line))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(steps, func(s Step) bool { _, ok := s.Do.(FindRoot); return ok })
	uuid := steps[i].Do.(FindRoot).Spec.PartitionUUID()
	const onMedium = Medium + RootImage
	for _, tc := range []struct {
		name string
		dev  fakeDevices
		want string // the source of the mapped device
		said []string
		took time.Duration
		err  []string
	}{
		{"on a partition", fakeDevices{drives: map[string]drive{"/dev/vda2": {uuid: uuid, content: right}}}, "/dev/vda2", []string{"found partition /dev/vda2"}, 0, nil},
		{"on a disk of another kind", fakeDevices{drives: map[string]drive{"/dev/sda2": {uuid: uuid, content: right, rare: true}}}, "/dev/sda2", nil, 0, nil},
		{"on a disk that takes its time", fakeDevices{drives: map[string]drive{"/dev/sda2": {uuid: uuid, content: right, after: 12 * time.Second}}},
			"/dev/sda2", []string{"still waiting; seen so far: no block device"}, 12 * time.Second, nil},
		{"on the second, as the first is damaged", fakeDevices{drives: map[string]drive{
			"/dev/vda2": {uuid: uuid, content: wrong}, "/dev/vdb2": {uuid: uuid, content: right},
		}}, "/dev/vdb2", []string{"not from partition /dev/vda2: its content has another root hash"}, 0, nil},
		{"on a medium", fakeDevices{drives: map[string]drive{"/dev/sr0": {label: "TALOS"}}, files: map[string][]byte{onMedium: right}}, "loop:" + onMedium, nil, 0, nil},
		{"in the initramfs, beside a medium of another version", fakeDevices{
			drives: map[string]drive{"/dev/sr0": {label: "TALOS"}}, image: true, files: map[string][]byte{onMedium: wrong, RootImage: right},
		}, "loop:" + RootImage, []string{"not from file /rootfs.img on the medium /dev/sr0: its content has another root hash"}, 0, nil},
		{"nowhere", fakeDevices{drives: map[string]drive{"/dev/vda": {}}, stuck: errors.New("load kernel module x: no")}, "",
			[]string{"load kernel module x: no"}, rootWait, []string{uuid, "seen: /dev/vda", "is the disk or medium attached", "not done after 1m30s"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{}
				tc.dev.recorder, tc.dev.begin, tc.dev.root = r, time.Now(), right
				m := mount.NewMemory("/dev", mount.ProcPoint, mount.SysPoint, "/run")
				h := host(m, r)
				h.Devices = &tc.dev
				var log bytes.Buffer
				_, err := Run(t.Context(), steps, h, slog.New(NewConsole(slog.LevelInfo, &log, &log, &log)))
				if took := time.Since(tc.dev.begin); took < tc.took || took > tc.took+time.Second {
					t.Errorf("it took %v; want %v", took, tc.took)
				}
				for _, text := range tc.said {
					if n := strings.Count(log.String(), text); n != 1 && !strings.HasPrefix(text, "still waiting") || n == 0 {
						t.Errorf("%q is said %d times:\n%s", text, n, &log)
					}
				}
				if tc.want == "" {
					for _, text := range tc.err {
						if err == nil || !strings.Contains(err.Error(), text) {
							t.Errorf("Run() = %v; want %q in it", err, text)
						}
					}
					return
				}
				if err != nil {
					t.Fatalf("Run() = %v\n%s", err, &log)
				}
				calls := r.calls()
				if tc.dev.every != (tc.name != "on a partition" && !strings.HasPrefix(tc.name, "on the second")) {
					t.Errorf("all drivers were loaded: %t; want that only if the usual ones do not show the root", tc.dev.every)
				}
				if !slices.Contains(calls, "map root to "+tc.want) || calls[len(calls)-1] != "switch to /root" || !slices.Contains(calls, "load [squashfs]") {
					t.Errorf("calls %q; want the root from %s", calls, tc.want)
				}
				if protected := slices.Contains(calls, "protect "+tc.want); protected == strings.HasPrefix(tc.want, "loop:") {
					t.Errorf("it is made read-only: %t; want that for a partition alone", protected)
				}
				table, err := m.Table()
				if err != nil {
					t.Fatal(err)
				}
				if got, ok := mount.Top(table, NewRoot); !ok || got.Type != "squashfs" || !got.HasOption("ro") {
					t.Errorf("the root is %+v; want a squashfs, read-only", got)
				}
				if _, ok := mount.Top(table, Medium); ok != strings.Contains(tc.want, Medium) {
					t.Errorf("the medium is mounted: %t", ok)
				}
			})
		})
	}
}

func TestTheConsoleIsForPeople(t *testing.T) {
	var info, warn, errs bytes.Buffer
	log := slog.New(NewConsole(slog.LevelInfo, &info, &warn, &errs)).With("part", "api")
	log.Debug("nothing")
	log.Info("find the root", "did", "found it")
	log.WithGroup("x").Info("find the root", "took", "2s")
	log.Warn("set a sysctl", "error", errors.New("no"), "lost", "nothing works")
	log.Error("the end", "code", 1)
	got := info.String() + warn.String() + errs.String()
	want := "talos: find the root part=api: found it\ntalos: find the root part=api (2s)\ntalos: set a sysctl part=api: no; nothing works\ntalos: the end part=api code=1\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the console (-want +got):\n%s", d)
	}
}
