package expr_test

import (
	"strings"
	"testing"

	"talos.internal/config/expr"
)

func TestDiskSelector(t *testing.T) {
	disk := expr.Disk{Size: 200 << 30, DevPath: "/dev/vda", Transport: "virtio"}
	for _, tc := range []struct {
		name, text string
		want       bool
	}{
		{"by path", `disk.dev_path == "/dev/vda"`, true},
		{"by size with a unit", `disk.size > 100u * GiB && disk.size < 1u * TiB`, true},
		{"numbers of different types compare", `disk.size > 100`, true},
		{"not the system disk", `!system_disk`, false},
		{"list", `disk.transport in ["nvme", "virtio"]`, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s expr.DiskSelector
			if err := s.UnmarshalText([]byte(tc.text)); err != nil {
				t.Fatalf("UnmarshalText(%q) = %v; want nil", tc.text, err)
			}
			got, err := s.Match(disk, true)
			if err != nil || got != tc.want {
				t.Errorf("Match(%q) = %v, %v; want %v, nil", tc.text, got, err, tc.want)
			}
		})
	}
}

func TestVolumeSelectorSeesVolumeAndDisk(t *testing.T) {
	var s expr.VolumeSelector
	if err := s.UnmarshalText([]byte(`volume.partition_label == "DATA" && disk.model.startsWith("QEMU")`)); err != nil {
		t.Fatal(err)
	}
	got, err := s.Match(expr.Volume{PartitionLabel: "DATA"}, expr.Disk{Model: "QEMU HARDDISK"}, false)
	if err != nil || !got {
		t.Errorf("Match = %v, %v; want true, nil", got, err)
	}
}

func TestLinkSelectorFunctions(t *testing.T) {
	link := expr.Link{Name: "enp1s0", PermanentAddr: []byte{0x2e, 0x3c, 0x4d, 0x5e, 0x6f, 0x70}, Driver: "virtio_net"}
	for _, text := range []string{
		`mac(link.permanent_addr) == "2e:3c:4d:5e:6f:70"`,
		`glob("2e:3c:*", mac(link.permanent_addr))`,
		`glob("enp*", link.name) && link.driver == "virtio_net"`,
	} {
		var s expr.LinkSelector
		if err := s.UnmarshalText([]byte(text)); err != nil {
			t.Fatalf("UnmarshalText(%q) = %v; want nil", text, err)
		}
		if got, err := s.Match(link); err != nil || !got {
			t.Errorf("Match(%q) = %v, %v; want true, nil", text, got, err)
		}
	}
}

func TestBadExpressionsAreRefusedWithTheReason(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"unknown field", `disk.sise > 1u`, "undefined field 'sise'"},
		{"unknown variable", `dsk.size > 1u`, "undeclared reference to 'dsk'"},
		{"not a condition", `disk.size`, "its result is a uint, not a bool"},
		{"syntax", `disk.size >`, "column"},
		{"empty", ``, "it is empty"},
		{"too long", strings.Repeat(" ", 5000) + "true", "the limit is 4096"},
		{"nested without end", strings.Repeat("(", 300) + "true" + strings.Repeat(")", 300), "recursion"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s expr.DiskSelector
			err := s.UnmarshalText([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("UnmarshalText(%.40q) = %v; want an error with %q", tc.text, err, tc.want)
			}
			if s != "" {
				t.Errorf("after an error the selector is %q; want it unchanged", s)
			}
		})
	}
}

func TestOOMExpressions(t *testing.T) {
	var trigger expr.OOMTrigger
	if err := trigger.UnmarshalText([]byte(
		`memory_full_avg10 > 12.0 && d_memory_full_avg10 > 0.0 && time_since_trigger > duration("500ms")`)); err != nil {
		t.Error(err)
	}
	var ranking expr.CgroupRanking
	if err := ranking.UnmarshalText([]byte(`memory_max.hasValue() ? 0.0 :
		{Besteffort: 1.0, Burstable: 0.5, Guaranteed: 0.0, Podruntime: 0.0, System: 0.0}[class] *
		double(memory_current.orValue(0u)) / double(memory_peak.orValue(0u) - memory_current.orValue(0u))`)); err != nil {
		t.Error(err)
	}
	if err := ranking.UnmarshalText([]byte(`"first"`)); err == nil {
		t.Error("UnmarshalText of a ranking that is a string = nil; want an error")
	}
}

func FuzzCompile(f *testing.F) {
	f.Add(`disk.size > 100u * GiB && !system_disk`)
	f.Add(`[1,2].all(x, x > 0)`)
	f.Fuzz(func(t *testing.T, text string) {
		var s expr.DiskSelector
		if s.UnmarshalText([]byte(text)) == nil {
			_, _ = s.Match(expr.Disk{}, false)
		}
	})
}
