package uevent

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDisksAndNetworkComeFirst(t *testing.T) {
	const of = "pci:v00008086d00002918sv00001AF4sd00001100"
	want := [Needs][]string{
		{"virtio:d00000001v00001AF4", of + "bc01sc08i02"},
		{of + "bc01sc06i01", of + "bc02sc00i00", of + "bc08sc05i01", of + "bc0Csc03i30", of + "bcFFsc00i00", "pci:odd", "acpi:PNP0103:", "scsi:t-0x00", "usb:v1D6B"},
		{"cpu:type:x86,ven0002", of + "bc06sc01i00", of + "bc08sc80i00", of + "bc0Csc05i00", "platform:iTCO_wdt"},
	}
	var all []string
	for _, list := range want {
		all = append(all, list...)
	}
	if d := cmp.Diff(want, ByNeed(all)); d != "" {
		t.Errorf("ByNeed() (-want +got):\n%s", d)
	}
}
