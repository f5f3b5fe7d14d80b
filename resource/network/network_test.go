package network

import (
	"testing"

	"talos.internal/resource"
)

func TestHardwareAddr(t *testing.T) {
	for _, tt := range []struct {
		text string
		ok   bool
	}{
		{"", true}, {"02:42:ac:11:00:02", true}, {"00", true},
		{"02:42:ac:11:00:02:ff:fe:00:00:00:00:00:00:00:00:00:00:00:01", true},
		{"2:42", false}, {"024:2", false}, {"xx", false}, {"02:", false}, {"02-42", false},
	} {
		var a HardwareAddr
		err := a.UnmarshalText([]byte(tt.text))
		if (err == nil) != tt.ok {
			t.Errorf("UnmarshalText(%q) = %v; want success %v", tt.text, err, tt.ok)
		}
		if err == nil && a.String() != tt.text {
			t.Errorf("UnmarshalText(%q) = %v", tt.text, a)
		}
	}
}

func FuzzHardwareAddr(f *testing.F) {
	f.Add("02:42:ac:11:00:02")
	f.Fuzz(func(t *testing.T, text string) {
		var a, b HardwareAddr
		if a.UnmarshalText([]byte(text)) != nil {
			return
		}
		if err := b.UnmarshalText([]byte(a.String())); err != nil || a.String() != b.String() {
			t.Errorf("%q reads as %v, which reads as %v (%v)", text, a, b, err)
		}
	})
}

func TestIDs(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{LayeredID(LayerMachineConfiguration, "eth0/10.5.0.2/24"), "configuration/eth0/10.5.0.2/24"},
		{Filtered(NodeAddressCurrent, FilterNoK8s), "current-no-k8s"},
		{HostnameStatus{Hostname: "a"}.FQDN(), "a"},
		{HostnameStatus{Hostname: "a", Domainname: "b.c"}.FQDN(), "a.b.c"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q; want %q", tt.got, tt.want)
		}
	}
}

func TestBondSlaveIsInLine(t *testing.T) {
	for _, spec := range []LinkSpec{{Name: "eth0"}, {Name: "eth0", BondSlave: &BondSlave{MasterName: "bond0", SlaveIndex: 1}}} {
		r := resource.New("eth0", spec)
		text, err := r.SpecYAML()
		if err != nil {
			t.Fatal(err)
		}
		back, err := r.Type().Decode(r.Metadata(), nil, text)
		if err != nil || !back.SpecEqual(r) {
			t.Errorf("Decode = %v; it differs from\n%s", err, text)
		}
	}
}

func TestDeviceConfigIsItsDocument(t *testing.T) {
	r := resource.New("eth0", DeviceConfigSpec{Document: "interface: eth0\ndhcp: true\n"})
	text, err := r.SpecYAML()
	if err != nil || string(text) != "interface: eth0\ndhcp: true\n" {
		t.Errorf("SpecYAML = %q, %v", text, err)
	}
	if text, err := resource.New("eth0", DeviceConfigSpec{}).SpecYAML(); err != nil || string(text) != "null\n" {
		t.Errorf("SpecYAML of nothing = %q, %v", text, err)
	}
	if text, err := resource.New("eth0", DeviceConfigSpec{Document: "a: ["}).SpecYAML(); err == nil {
		t.Errorf("SpecYAML of a broken document = %q", text)
	}
}
