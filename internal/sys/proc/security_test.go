package proc

import (
	"errors"
	"io/fs"
	"testing"
)

func TestSecurity(t *testing.T) {
	const variable = "sys/firmware/efi/efivars/" + secureBootVariable
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  Security
	}{
		{"nothing", nil, Security{}},
		{"all on", map[string]string{
			"sys/fs/selinux/enforce": "1", "sys/module/module/parameters/sig_enforce": "Y\n", variable: "\x06\x00\x00\x00\x01", "sys/firmware/efi/efivars/" + stubVariable: "\x06\x00\x00\x00s",
		}, Security{SELinux: true, Enforcing: true, ModuleSignatures: true, SecureBoot: true, UKI: true}},
		{"all there and off", map[string]string{
			"sys/fs/selinux/enforce": "0", "sys/module/module/parameters/sig_enforce": "N\n", variable: "\x06\x00\x00\x00\x00",
		}, Security{SELinux: true}},
		{"a variable that is cut off", map[string]string{variable: "\x01"}, Security{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Reader{Root: t.TempDir()}
			for name, text := range tt.files {
				write(t, r, name, text)
			}
			if got, err := r.Security(); got != tt.want || err != nil {
				t.Errorf("Security = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestDMI(t *testing.T) {
	r := Reader{Root: t.TempDir()}
	if _, err := r.DMI(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("DMI without firmware = %v; want fs.ErrNotExist", err)
	}
	write(t, r, "sys/class/dmi/id/sys_vendor", "QEMU\n")
	write(t, r, "sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n")
	write(t, r, "sys/class/dmi/id/bios_version", "1.16.3\n")
	want := DMI{BIOSVersion: "1.16.3", Manufacturer: "QEMU", Product: "Standard PC (Q35 + ICH9, 2009)"}
	if got, err := r.DMI(); got != want || err != nil {
		t.Errorf("DMI = %+v, %v; want %+v", got, err, want)
	}
}

func TestCmdlineText(t *testing.T) {
	r := Reader{Root: t.TempDir()}
	write(t, r, "proc/cmdline", "talos.platform=metal  quiet\x00\n")
	if got, err := r.CmdlineText(); got != "talos.platform=metal  quiet" || err != nil {
		t.Errorf("CmdlineText = %q, %v; want it as it is", got, err)
	}
}
