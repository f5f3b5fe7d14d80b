package blockctrl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/diskkey"
	"talos.internal/internal/gpt"
	"talos.internal/internal/install"
	"talos.internal/internal/pe"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/internal/sys/dm"
	"talos.internal/internal/sys/mount"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

// assets are small, and belong together.
func assets() install.Assets {
	line := "roothash=" + strings.Repeat("ab", 32)
	stub, err := os.ReadFile("../../pe/testdata/stub.efi")
	var uki bytes.Buffer
	if err := errors.Join(err, pe.Append(&uki, stub, []pe.Part{{Name: ".cmdline", Data: []byte(line)}})); err != nil {
		panic(err) // the stub is there, or no test is of use
	}
	blob := func(b []byte) install.Blob {
		return install.Blob{Reader: bytes.NewReader(b), Size: int64(len(b)), SHA256: sha256.Sum256(b)}
	}
	return install.Assets{UKI: blob(uki.Bytes()), Root: blob(bytes.Repeat([]byte("root"), 3000)), BootLoader: blob([]byte("loader"))}
}

type nothingToClose struct{}

func (nothingToClose) Close() error { return nil }

// rig is a machine with all controllers.
type rig struct {
	*controllertest.Harness
	m       *machine
	mounts  *mount.Memory
	meta    *Meta
	persist int
	reboots []string

	measured []string
}

func run(t *testing.T, setup func(*machine), test func(r *rig)) {
	t.Helper()
	m := newMachine()
	setup(m)
	start(t, m, nil, test)
}

// start starts a machine with the disks that it has. keys are those of its encrypted volumes.
func start(t *testing.T, m *machine, keys *diskkey.Keeper, test func(r *rig)) {
	t.Helper()
	startMeasured(t, m, keys, func(int, []byte) error { return nil }, test)
}

// startMeasured has a TPM as well.
func startMeasured(t *testing.T, m *machine, keys *diskkey.Keeper, measure func(int, []byte) error, test func(r *rig)) {
	t.Helper()
	r := &rig{m: m}
	deps := Deps{
		Kernel: kernelOf{r},
		Watch:  func(ctx context.Context, changed func(string)) error { return r.m.watch(ctx, changed) },
		Assets: func(context.Context) (install.Assets, io.Closer, error) { return assets(), nothingToClose{}, nil },
		Persist: func(context.Context) error {
			r.persist++
			return nil
		},
		Reboot: func(reason string) { r.reboots = append(r.reboots, reason) },
	}
	r.meta = NewMeta(deps.Kernel)
	deps.Meta = r.meta
	r.mounts = mount.NewMemory("/var", "/system/state", "/var/mnt")
	deps.Mounts, deps.Keys = r.mounts, keys
	deps.Measure = func(register int, data []byte) error {
		r.measured = append(r.measured, fmt.Sprintf("%d: %s", register, data[:5]))
		return measure(register, data)
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		r.Harness = h
		test(r)
	}, Controllers(deps)...)
}

// kernelOf is the machine of a rig.
type kernelOf struct{ r *rig }

func (k kernelOf) List() ([]blockdev.Disk, error)                       { return k.r.m.List() }
func (k kernelOf) Open(name string, how Access) (Device, error)         { return k.r.m.Open(name, how) }
func (k kernelOf) Map(n, u string, s dm.CryptSpec) (string, error)      { return k.r.m.Map(n, u, s) }
func (k kernelOf) Unmap(n string) error                                 { return k.r.m.Unmap(n) }
func (k kernelOf) SwapOn(name string) error                             { return k.r.m.SwapOn(name) }
func (k kernelOf) SwapOff(name string) error                            { return k.r.m.SwapOff(name) }
func (k kernelOf) Grow(p string, f block.FilesystemType, s int64) error { return k.r.m.Grow(p, f, s) }
func (k kernelOf) Format(ctx context.Context, n string, f block.FilesystemSpec, s int64) error {
	return k.r.m.Format(ctx, n, f, s)
}

// installed puts the system on a disk.
func installed(m *machine, disk string) {
	if err := Install(context.Background(), m, disk, false, assets(), nil); err != nil {
		m.log = append(m.log, err.Error())
		return
	}
	m.log = nil
}

const root = "version: v1alpha1\nmachine:\n  type: worker\n  token: abcdef.0123456789abcdef\n  ca:\n    crt: \"\"\n  features:\n    diskQuotaSupport: true\n"

func (r *rig) config(text string) {
	controllertest.Modify(r.Harness, machineconfig.Active, func(s *machineconfig.Config) { s.Text = text })
}

func (r *rig) wantVolume(id, what string, met func(s block.VolumeStatus) bool) block.VolumeStatus {
	r.T.Helper()
	return controllertest.WantThat(r.Harness, id, what, func(v *resource.Typed[block.VolumeStatus]) bool { return met(v.Spec()) }).Spec()
}

func ready(s block.VolumeStatus) bool { return s.Phase == block.PhaseReady }

func says(text string) func(block.VolumeStatus) bool {
	return func(s block.VolumeStatus) bool { return strings.Contains(s.ErrorMessage, text) }
}

func TestAnInstalledDiskGetsItsVolumesOnTheFirstBoot(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		installed(m, "vda")
	}, func(r *rig) {
		controllertest.Want(r.Harness, block.SystemDiskID, block.SystemDisk{DiskID: "vda", DevPath: "/dev/vda"})
		// Whether it is to be encrypted is not known before there is a config.
		r.wantVolume("STATE", "missing", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseMissing && strings.Contains(s.ErrorMessage, "made when there is a machine config")
		})
		controllertest.WantNever[block.VolumeStatus](r.Harness, "EPHEMERAL")
		r.config(root)
		state := r.wantVolume("STATE", "ready", ready)
		if state.Location != "/dev/vda5" || state.Filesystem != block.FilesystemXFS || state.Size != install.SizeState {
			t.Errorf("STATE = %+v", state)
		}
		controllertest.WantThat(r.Harness, "STATE", "mounted at /system/state", func(m *resource.Typed[block.MountStatus]) bool { return m.Spec().Target == "/system/state" })
		ephemeral := r.wantVolume("EPHEMERAL", "ready", ready)
		if ephemeral.Location != "/dev/vda6" || ephemeral.Size < 7<<30 {
			t.Errorf("EPHEMERAL = %+v", ephemeral)
		}
		m := controllertest.WantThat(r.Harness, "EPHEMERAL", "mounted", func(m *resource.Typed[block.MountStatus]) bool { return m.Spec().Target == "/var" }).Spec()
		if !m.ProjectQuotaSupport || m.Source != "/dev/vda6" {
			t.Errorf("EPHEMERAL is mounted as %+v", m)
		}
		controllertest.WantThat(r.Harness, requester+"-EPHEMERAL", "told to who asked", func(m *resource.Typed[block.VolumeMountStatus]) bool { return m.Spec().Target == "/var" })
		r.wantVolume("META", "ready", ready)
		want := []string{`format vda5 as xfs "STATE"`, "add vda6: 7577 MiB", `format vda6 as xfs "EPHEMERAL"`}
		if diff := cmp.Diff(want, r.m.did()); diff != "" {
			t.Errorf("done (-want +got):\n%s", diff)
		}
		if log := strings.Join(r.mounts.Log(), "\n"); !strings.Contains(log, "/dev/vda6") || !strings.Contains(log, "prjquota") {
			t.Errorf("mounts:\n%s", log)
		}
	})
}

func TestWithoutAnInstallationNothingIsMade(t *testing.T) {
	run(t, func(m *machine) { m.add("vda", 10<<30, nil) }, func(r *rig) {
		r.wantVolume("STATE", "missing", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseMissing && s.ErrorMessage == "the system is not installed on a disk"
		})
		r.config(root + "---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nprovisioning:\n  diskSelector:\n    match: '!system_disk'\n  minSize: 1GiB\n")
		r.wantVolume("u-data", "waiting for the installation", says("not installed on a disk yet"))
		r.wantVolume("EPHEMERAL", "waiting for the installation", says("not installed on a disk yet"))
		if did := r.m.did(); len(did) > 0 {
			t.Errorf("done: %v; want nothing", did)
		}
	})
}

func TestBeforeTheDisksAreLookedAtNothingIsMissing(t *testing.T) {
	run(t, func(*machine) {}, func(r *rig) {
		r.Settle()
		s, err := state.Get[block.VolumeStatus](t.Context(), r.State, "META")
		if err != nil || s.Spec().Phase != block.PhaseWaiting {
			t.Errorf("META at once = %v, %v; want waiting", s, err)
		}
		controllertest.WantNever[block.VolumeStatus](r.Harness, "STATE") // how it is opened is in META
		r.Advance(5 * time.Second)
		r.wantVolume("STATE", "missing", func(s block.VolumeStatus) bool { return s.Phase == block.PhaseMissing })
	})
}

const volumesConfig = root + `---
apiVersion: v1alpha1
kind: VolumeConfig
name: EPHEMERAL
provisioning:
  maxSize: 3GiB
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: data
provisioning:
  diskSelector:
    match: disk.serial == "S2"
  minSize: 1GiB
  maxSize: 2GiB
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: whole
volumeType: disk
provisioning:
  diskSelector:
    match: disk.serial == "S3"
---
apiVersion: v1alpha1
kind: UserVolumeConfig
name: dir
volumeType: directory
---
apiVersion: v1alpha1
kind: RawVolumeConfig
name: ceph
provisioning:
  diskSelector:
    match: disk.serial == "S2"
  maxSize: 2GiB
---
apiVersion: v1alpha1
kind: SwapVolumeConfig
name: swap
provisioning:
  diskSelector:
    match: system_disk
  maxSize: 1GiB
---
apiVersion: v1alpha1
kind: ExistingVolumeConfig
name: archive
discovery:
  volumeSelector:
    match: volume.label == "ARCHIVE"
mount:
  readOnly: true
---
apiVersion: v1alpha1
kind: ExternalVolumeConfig
name: shared
filesystemType: virtiofs
mount:
  virtiofs:
    tag: share
`

func serial(s string) func(*blockdev.Disk) { return func(d *blockdev.Disk) { d.Serial = s } }

func TestAllKindsOfVolumes(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		m.add("vdb", 5<<30, serial("S2"))
		m.add("vdc", 1<<30, serial("S3"))
		m.add("vdd", 1<<30, nil)
		installed(m, "vda")
		m.put("vdd", 0, super(block.FilesystemExt4, "ARCHIVE", 1<<30))
	}, func(r *rig) {
		r.config(volumesConfig)
		locations := map[string]string{}
		for _, id := range []string{"EPHEMERAL", "u-data", "u-whole", "u-dir", "r-ceph", "s-swap", "e-archive", "x-shared"} {
			locations[id] = r.wantVolume(id, "ready", ready).Location
		}
		want := map[string]string{"EPHEMERAL": "/dev/vda6", "u-data": "/dev/vdb2", "u-whole": "/dev/vdc", "u-dir": "/var/mnt/dir", "r-ceph": "/dev/vdb1",
			"s-swap": "/dev/vda7", "e-archive": "/dev/vdd", "x-shared": "share"}
		// Which of two volumes on one disk is first does not matter.
		if locations["u-data"] == "/dev/vdb1" {
			want["u-data"], want["r-ceph"] = "/dev/vdb1", "/dev/vdb2"
		}
		if diff := cmp.Diff(want, locations); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for _, id := range []string{"u-data", "u-whole", "u-dir", "e-archive", "x-shared", "s-swap"} {
			controllertest.WantThat(r.Harness, id, "mounted", func(*resource.Typed[block.MountStatus]) bool { return true })
		}
		r.Settle()
		did := r.m.did()
		for _, want := range []string{`format vdc as xfs "u-whole"`, `format vda7 as swap "s-swap"`, "swap on vda7", "add vda6: 3072 MiB"} {
			if !slices.Contains(did, want) {
				t.Errorf("done: %q; want %q", did, want)
			}
		}
		for _, not := range []string{"vdd", "format " + strings.TrimPrefix(locations["r-ceph"], "/dev/")} {
			if slices.ContainsFunc(did, func(s string) bool { return strings.Contains(s, not) }) {
				t.Errorf("done: %q; want nothing on %s", did, not)
			}
		}
		// A document that goes takes the volume off, and leaves the data.
		r.config(root)
		controllertest.WantGone[block.MountStatus](r.Harness, "u-data")
		controllertest.WantGone[block.VolumeStatus](r.Harness, "u-data")
		controllertest.WantGone[block.MountStatus](r.Harness, "s-swap")
		if table, err := readTable(r.m, "vdb"); err != nil || len(table.Partitions) != 2 {
			t.Errorf("table of vdb: %v, %v; want both partitions", table, err)
		}
	})
}

func TestWhatIsNotPossibleIsSaidAndNothingIsDestroyed(t *testing.T) {
	user := func(match, rest string) string {
		return root + "---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\n" + rest + "provisioning:\n  diskSelector:\n    match: " + match + "\n"
	}
	for _, tc := range []struct {
		name   string
		config string
		want   string
	}{
		{"someone else's disk", user(`disk.serial == "NTFS"`, "") + "  minSize: 1GiB\n", "vdb has ntfs, which is not overwritten"},
		{"someone else's whole disk", user(`disk.serial == "NTFS"`, "volumeType: disk\n"), "vdb has ntfs, and the volume is to have xfs: it is not overwritten"},
		{"too small", user(`disk.serial == "SMALL"`, "") + "  minSize: 2GiB\n", "vdc has 1.2 GB free in one piece, and 2.1 GB are needed"},
		{"read-only", user(`disk.serial == "RO"`, "") + "  minSize: 1GiB\n", "vdd is read-only"},
		{"no such disk", user(`disk.serial == "NONE"`, "") + "  minSize: 1GiB\n", `no disk matches disk.serial == "NONE"`},
		{"dying disk", user(`disk.serial == "DEAD"`, "") + "  minSize: 1GiB\n", "vde cannot be read"},
		{"encryption without keys", user(`disk.serial == "SMALL"`, "encryption:\n  provider: luks2\n  keys:\n    - slot: 0\n      nodeID: {}\n") + "  minSize: 100MiB\n", "no place for keys of encrypted volumes"},
		{"a directory to be promoted", root + "---\napiVersion: v1alpha1\nkind: VolumeConfig\nname: ETCD\n", "does not make ETCD a volume of its own"},
		{"an existing volume that is nowhere", root + "---\napiVersion: v1alpha1\nkind: ExistingVolumeConfig\nname: data\ndiscovery:\n  volumeSelector:\n    match: volume.label == \"X\"\n", "no disk or partition matches"},
		{"an existing volume that is two", root + "---\napiVersion: v1alpha1\nkind: ExistingVolumeConfig\nname: data\ndiscovery:\n  volumeSelector:\n    match: volume.name == \"talosmeta\" || volume.partition_label == \"EFI\" || volume.partition_label == \"ROOT-A\"\n", "it is not clear which is meant"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, func(m *machine) {
				m.add("vda", 10<<30, nil)
				m.add("vdb", 4<<30, serial("NTFS"))
				m.add("vdc", 1<<30+100<<20, serial("SMALL"))
				m.add("vdd", 4<<30, func(d *blockdev.Disk) { d.Serial, d.ReadOnly = "RO", true })
				m.add("vde", 4<<30, serial("DEAD"))
				installed(m, "vda")
				m.put("vdb", 3, []byte("NTFS    "))
				m.disks["vde"].dead = true
			}, func(r *rig) {
				r.config(tc.config)
				id := "u-data"
				if strings.Contains(tc.config, "ExistingVolumeConfig") {
					id = "e-data"
				}
				if strings.Contains(tc.config, "name: ETCD") {
					id = "ETCD"
				}
				r.wantVolume("EPHEMERAL", "ready", ready)
				s := r.wantVolume(id, tc.want, says(tc.want))
				if s.Phase == block.PhaseReady {
					t.Errorf("phase %s", s.Phase)
				}
				r.Settle()
				for _, d := range r.m.did() {
					if !strings.Contains(d, "vda") {
						t.Errorf("done: %s", d)
					}
				}
			})
		})
	}
}

// Power was cut while the file system was made: it is made again, by a mkfs that finds nothing.
func TestAnUnfinishedFileSystemIsMadeAgain(t *testing.T) {
	m := newMachine()
	m.add("vda", 10<<30, nil)
	installed(m, "vda")
	cut := super(block.FilesystemXFS, "STATE", 100<<20)
	cut[126] = 1
	m.put("vda5", 0, cut)
	start(t, m, nil, func(r *rig) {
		r.config(root)
		r.wantVolume("STATE", "ready", ready)
	})
	if did := m.did(); len(did) == 0 || did[0] != `format vda5 as xfs "STATE"` {
		t.Errorf("done: %q; want STATE to be made", did)
	}
}

func TestAForeignFileSystemInOurPartitionIsNotOverwritten(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		installed(m, "vda")
		m.put("vda5", 0, super(block.FilesystemExt4, "mine", install.SizeState))
	}, func(r *rig) {
		r.wantVolume("STATE", "failed", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseFailed && strings.Contains(s.ErrorMessage, `vda5 has ext4 "mine", and the volume is to have xfs: it is not overwritten; wipe it`)
		})
		r.Settle()
		if did := r.m.did(); len(did) > 0 {
			t.Errorf("done: %v; want nothing", did)
		}
	})
}

func TestADiskThatVanishesIsNotReplacedByAnother(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		m.add("vdb", 4<<30, nil)
		installed(m, "vda")
	}, func(r *rig) {
		r.config(root + "---\napiVersion: v1alpha1\nkind: UserVolumeConfig\nname: data\nprovisioning:\n  diskSelector:\n    match: '!system_disk'\n  minSize: 1GiB\n")
		r.wantVolume("u-data", "ready", ready)
		r.m.remove("vdb")
		r.m.add("vdc", 4<<30, nil)
		r.wantVolume("u-data", "failed", func(s block.VolumeStatus) bool {
			return s.Phase == block.PhaseFailed && strings.Contains(s.ErrorMessage, "/dev/vdb1, which it was on, is gone")
		})
		r.Advance(time.Minute)
		if did := r.m.did(); slices.ContainsFunc(did, func(s string) bool { return strings.Contains(s, "vdc") }) {
			t.Errorf("done: %v; want nothing on vdc", did)
		}
	})
}

func TestEphemeralGrowsIntoALargerDisk(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		installed(m, "vda")
	}, func(r *rig) {
		r.config(root)
		before := r.wantVolume("EPHEMERAL", "ready", ready)
		r.m.mu.Lock()
		r.m.disks["vda"].Size = 20 << 30
		r.m.tell("vda")
		r.m.mu.Unlock()
		after := r.wantVolume("EPHEMERAL", "larger", func(s block.VolumeStatus) bool { return s.Size > before.Size })
		if after.Size != before.Size+10<<30 || after.Phase != block.PhaseReady {
			t.Errorf("EPHEMERAL = %+v", after)
		}
		r.Settle()
		r.m.mu.Lock()
		grown := r.m.grown["/var"]
		r.m.mu.Unlock()
		if grown != int64(after.Size) {
			t.Errorf("the file system was given %d bytes; want %d", grown, after.Size)
		}
		table, err := readTable(r.m, "vda")
		if err != nil || table.Moved {
			t.Errorf("table: %v, %v; want its backup at the end", table, err)
		}
	})
}

const installConfig = root + "---\napiVersion: v1alpha1\nkind: UnattendedInstallConfig\nprovisioning:\n  diskSelector:\n    match: disk.serial == \"S2\"\n"

func TestInstallationFromAnotherMedium(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		m.add("vdb", 10<<30, serial("S2"))
		m.put("vdb", 3, []byte("NTFS    "))
		m.add("sr0", 1<<30, func(d *blockdev.Disk) { d.CDROM = true; d.Serial = "S2" })
	}, func(r *rig) {
		r.wantVolume("STATE", "missing", func(s block.VolumeStatus) bool { return s.Phase == block.PhaseMissing })
		r.config(installConfig + "  wipe: false\n")
		status := controllertest.WantThat(r.Harness, runtime.UnattendedInstallStatusID, "refused", func(s *resource.Typed[runtime.UnattendedInstallStatus]) bool {
			return s.Spec().Phase == runtime.InstallFailed
		}).Spec()
		if !strings.Contains(status.Error, "install on vdb: the disk has data: ntfs. Ask for it to be wiped") {
			t.Errorf("refusal: %s", status.Error)
		}
		r.config(strings.ReplaceAll(installConfig, "S2", "S9"))
		controllertest.WantThat(r.Harness, runtime.UnattendedInstallStatusID, "no such disk", func(s *resource.Typed[runtime.UnattendedInstallStatus]) bool {
			return strings.Contains(s.Spec().Error, `no disk matches disk.serial == "S9"; there is /dev/vda (11 GB, virtio), /dev/vdb (11 GB, virtio, S2)`)
		})
		r.config(installConfig)
		controllertest.Want(r.Harness, runtime.UnattendedInstallStatusID, runtime.UnattendedInstallStatus{Phase: runtime.InstallWaitingForReboot})
		r.Settle()
		if r.persist == 0 || len(r.reboots) != 1 || r.reboots[0] != "the system was installed on vdb" {
			t.Errorf("persisted %d times, reboots %q", r.persist, r.reboots)
		}
		controllertest.Want(r.Harness, block.SystemDiskID, block.SystemDisk{DiskID: "vdb", DevPath: "/dev/vdb"})
		if f, ok, err := probe(r.m, "vda"); ok || err != nil {
			t.Errorf("vda has %v, %v; want it untouched", f, err)
		}
	})
}

func TestAnInstalledMachineIsNotInstalledAgain(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		m.add("vdb", 10<<30, serial("S2"))
		installed(m, "vda")
	}, func(r *rig) {
		r.config(installConfig)
		r.wantVolume("EPHEMERAL", "ready", ready)
		r.Advance(time.Minute)
		if len(r.reboots) > 0 || slices.ContainsFunc(r.m.did(), func(s string) bool { return strings.Contains(s, "vdb") }) {
			t.Errorf("done: %v, reboots %v", r.m.did(), r.reboots)
		}
	})
}

func TestDiscoveredVolumesAndDisks(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, serial("S1"))
		installed(m, "vda")
	}, func(r *rig) {
		efi := controllertest.WantThat(r.Harness, "vda1", "EFI", func(v *resource.Typed[block.DiscoveredVolume]) bool { return v.Spec().Name == "vfat" }).Spec()
		if efi.Label != "EFI" || efi.PartitionLabel != "EFI" || efi.Parent != "vda" || efi.PartitionType != gpt.TypeESP.String() || efi.PartitionIndex != 1 || efi.PrettySize != "537 MB" || efi.Offset != 1<<20 {
			t.Errorf("vda1 = %+v", efi)
		}
		controllertest.WantThat(r.Harness, "vda", "gpt", func(v *resource.Typed[block.DiscoveredVolume]) bool { return v.Spec().Name == "gpt" })
		d := controllertest.WantThat(r.Harness, "vda", "there", func(*resource.Typed[block.Disk]) bool { return true }).Spec()
		if d.PrettySize != "11 GB" || d.Serial != "S1" || d.Transport != "virtio" || d.DevPath != "/dev/vda" {
			t.Errorf("vda = %+v", d)
		}
		r.m.remove("vda")
		controllertest.WantGone[block.Disk](r.Harness, "vda")
		controllertest.WantGone[block.DiscoveredVolume](r.Harness, "vda1")
	})
}

func TestOfSeveralSystemsTheOneThatWasStartedCounts(t *testing.T) {
	part := func(disk, label, guid string) block.DiscoveredVolume {
		return block.DiscoveredVolume{Parent: disk, PartitionLabel: label, PartitionUUID: guid}
	}
	list := []block.DiscoveredVolume{part("sda", "EFI", ""), part("sda", "META", ""), part("sdb", "EFI", ""), part("sdb", "META", ""), part("sdb", "ROOT-A", "g"), part("sdc", "META", "")}
	for guid, want := range map[string]string{"": "sda", "g": "sdb", "x": "sda"} {
		if got, others := systemDisk(list, guid); got != want || len(others) != 1 {
			t.Errorf("systemDisk(%q) = %s, %v; want %s", guid, got, others, want)
		}
	}
}

func TestAllocationGroups(t *testing.T) {
	for _, tc := range []struct{ size, least, want int64 }{{10 << 30, 0, 0}, {10 << 30, 1 << 30, 0}, {10 << 30, 3 << 30, 3}, {10 << 30, 64 << 30, 2}} {
		if got := groups(tc.size, tc.least); got != tc.want {
			t.Errorf("groups(%d, %d) = %d; want %d", tc.size, tc.least, got, tc.want)
		}
	}
}

func TestPretty(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1 << 20: "1.0 MB", 100 << 20: "105 MB", 999_999: "1.0 MB", 10 << 30: "11 GB", 2_000_398_934_016: "2.0 TB"} {
		if got := pretty(n); got != want {
			t.Errorf("pretty(%d) = %s; want %s", n, got, want)
		}
	}
}
