package blockctrl

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"talos.internal/api/storagepb"
	"talos.internal/controller/controllertest"
	"talos.internal/internal/sys/blockdev"
	"talos.internal/resource"
	"talos.internal/resource/block"
	"talos.internal/resource/runtime"
)

func TestWipe(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		m.add("vdb", 64<<20, nil)
		m.add("vdc", 1<<30, nil)
		m.add("dm-0", 1<<30, func(d *blockdev.Disk) { d.Below = []string{"vdc"} })
		installed(m, "vda")
		m.put("vdb", 0, super(block.FilesystemExt4, "OLD", 64<<20))
		m.put("vdb", 32<<20, bytes.Repeat([]byte("x"), 4096))
	}, func(r *rig) {
		r.config(root)
		r.wantVolume("EPHEMERAL", "ready", ready)
		s := &Storage{Kernel: r.m, State: r.State}
		wipe := func(d *storagepb.BlockDeviceWipeDescriptor) error {
			return s.Wipe(t.Context(), []*storagepb.BlockDeviceWipeDescriptor{d})
		}
		for _, tc := range []struct {
			d    *storagepb.BlockDeviceWipeDescriptor
			err  error
			text string
		}{
			{&storagepb.BlockDeviceWipeDescriptor{Device: "vdz"}, fs.ErrNotExist, "wipe vdz: there is no such disk or partition"},
			{&storagepb.BlockDeviceWipeDescriptor{Device: "vda"}, blockdev.ErrBusy, "the volume "},
			{&storagepb.BlockDeviceWipeDescriptor{Device: "vda6"}, blockdev.ErrBusy, "the volume EPHEMERAL is on it"},
			{&storagepb.BlockDeviceWipeDescriptor{Device: "vdc"}, blockdev.ErrBusy, "dm-0 is made of it"},
			{&storagepb.BlockDeviceWipeDescriptor{Device: "vdb", DropPartition: true}, fs.ErrInvalid, "no partition to drop"},
		} {
			if err := wipe(tc.d); !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("Wipe(%v) = %v; want %q", tc.d, err, tc.text)
			}
		}
		// All are checked before the first.
		err := s.Wipe(t.Context(), []*storagepb.BlockDeviceWipeDescriptor{{Device: "vdb"}, {Device: "vdz"}})
		if f, ok, _ := probe(r.m, "vdb"); err == nil || !ok {
			t.Errorf("Wipe of two, one of which is not there: %v; vdb has %v", err, f)
		}
		at := func(off int64) byte {
			d, err := r.m.Open("vdb", Read)
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 1)
			if _, err := d.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			return b[0]
		}
		if err := wipe(&storagepb.BlockDeviceWipeDescriptor{Device: "/dev/vdb"}); err != nil || at(1024+56) != 0 || at(32<<20) != 'x' {
			t.Errorf("fast wipe: %v; at the superblock %d, in the middle %d", err, at(1024+56), at(32<<20))
		}
		if err := wipe(&storagepb.BlockDeviceWipeDescriptor{Device: "vdb", Method: storagepb.BlockDeviceWipeDescriptor_ZEROES}); err != nil || at(32<<20) != 0 {
			t.Errorf("wipe of all: %v; in the middle %d", err, at(32<<20))
		}
		if err := wipe(&storagepb.BlockDeviceWipeDescriptor{Device: "vda3", DropPartition: true}); err != nil {
			t.Errorf("wipe of ROOT-B: %v", err)
		}
		if table, err := readTable(r.m, "vda"); err != nil || len(table.Partitions) != 5 || !slices.Contains(r.m.did(), "remove vda3") {
			t.Errorf("table %v, %v", table, err)
		}
		if err := s.RemoveVolumeGroup(t.Context(), "vg"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("RemoveVolumeGroup = %v", err)
		}
	})
}

func TestAPartitionWithSomethingElseIsWipedAndBecomesTheVolume(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		installed(m, "vda")
		m.put("vda5", 0, super(block.FilesystemExt4, "mine", 100<<20))
	}, func(r *rig) {
		r.wantVolume("STATE", "failed", func(s block.VolumeStatus) bool { return s.Phase == block.PhaseFailed })
		s := &Storage{Kernel: r.m, State: r.State}
		if err := s.Wipe(context.Background(), []*storagepb.BlockDeviceWipeDescriptor{{Device: "vda5"}}); err != nil {
			t.Fatal(err)
		}
		r.config(root)
		r.wantVolume("STATE", "ready", ready)
	})
}

func TestMeta(t *testing.T) {
	run(t, func(m *machine) {
		m.add("vda", 10<<30, nil)
		installed(m, "vda")
	}, func(r *rig) {
		controllertest.Want(r.Harness, runtime.MetaLoadedID, runtime.MetaLoaded{Done: true})
		if err := r.meta.Write(t.Context(), 0x0a, []byte("network")); err != nil {
			t.Fatal(err)
		}
		controllertest.Want(r.Harness, "0x0a", runtime.MetaKey{Value: "network"})
		if err := r.meta.Write(t.Context(), 0, nil); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Write of key 0 = %v", err)
		}
		if err := r.meta.Delete(t.Context(), 0x0b); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Delete of what is not there = %v", err)
		}
		if err := r.meta.Delete(t.Context(), 0x0a); err != nil {
			t.Fatal(err)
		}
		controllertest.WantGone[runtime.MetaKey](r.Harness, "0x0a")
		controllertest.WantThat(r.Harness, "vda4", "seen as META", func(v *resource.Typed[block.DiscoveredVolume]) bool { return v.Spec().PartitionLabel == "META" })
	})
	run(t, func(m *machine) { m.add("vda", 10<<30, nil) }, func(r *rig) {
		controllertest.Want(r.Harness, runtime.MetaLoadedID, runtime.MetaLoaded{Done: true})
		if err := r.meta.Write(t.Context(), 0x0a, []byte("x")); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Write without META = %v", err)
		}
	})
}
