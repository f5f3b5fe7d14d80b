package proc

import (
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Security is which protections the kernel and the firmware have on. In a container it is the machine's.
type Security struct {
	SELinux   bool // the kernel has a policy loaded
	Enforcing bool // and holds to it
	// ModuleSignatures: only modules with a signature that the kernel trusts can be loaded.
	ModuleSignatures bool
	// SecureBoot: the firmware has verified what it started.
	SecureBoot bool
	// UKI: systemd's stub says that the kernel came in a unified kernel image.
	UKI bool
}

// secureBootVariable is the variable SecureBoot of the global namespace (UEFI 2.10, section 3.3), as the kernel names its file
// (filesystems/efivarfs.rst).
const secureBootVariable = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// stubVariable is set by systemd's stub of a unified kernel image (systemd-stub(7), "EFI variables").
const stubVariable = "StubInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// Security reads what the kernel tells about its protections. What it does not have, or hides, is off.
func (r Reader) Security() (Security, error) {
	var s Security
	enforce, err := lineIfThere(r.sysPath("fs", "selinux", "enforce"))
	if err != nil {
		return s, err
	}
	s.SELinux, s.Enforcing = enforce != "", enforce == "1"
	enforced, err := lineIfThere(r.sysPath("module", "module", "parameters", "sig_enforce"))
	if err != nil {
		return s, err
	}
	s.ModuleSignatures = enforced == "Y"
	boot, err := r.FirmwareVariable(secureBootVariable)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return s, err
	}
	s.SecureBoot = len(boot) == 1 && boot[0] == 1
	_, err = os.Stat(r.sysPath("firmware", "efi", "efivars", stubVariable))
	s.UKI = err == nil
	return s, nil
}

// FirmwareVariable reads the value of a variable of the firmware, by the name of its file. The error is fs.ErrNotExist
// where there is no such variable, or no such firmware.
func (r Reader) FirmwareVariable(file string) ([]byte, error) {
	const attributes = 4 // bytes of them are before the value
	data, err := os.ReadFile(r.sysPath("firmware", "efi", "efivars", file))
	return data[min(attributes, len(data)):], err
}

// DMI is how the firmware describes the machine (SMBIOS types 0 and 1), as far as the kernel shows it as files (its
// ABI/testing/sysfs-firmware-dmi-tables and drivers/firmware/dmi-id.c). What the firmware does not say, or this process may not
// read, is empty. In a container it is the machine's.
type DMI struct {
	BIOSVersion                                  string
	Manufacturer, Product, Version, Serial, UUID string
	SKU                                          string
}

// DMI reads how the firmware describes the machine. The error is fs.ErrNotExist where there is no such firmware.
func (r Reader) DMI() (DMI, error) {
	if _, err := os.Stat(r.sysPath("class", "dmi", "id")); err != nil {
		return DMI{}, err
	}
	var d DMI
	for name, field := range map[string]*string{
		"bios_version": &d.BIOSVersion, "sys_vendor": &d.Manufacturer, "product_name": &d.Product, "product_version": &d.Version,
		"product_serial": &d.Serial, "product_uuid": &d.UUID, "product_sku": &d.SKU,
	} {
		text, err := lineIfThere(r.sysPath("class", "dmi", "id", name))
		if err != nil {
			return DMI{}, err
		}
		*field = text
	}
	return d, nil
}

// lineIfThere is line for a file that not every kernel has or shows to everyone.
func lineIfThere(path string) (string, error) {
	text, err := line(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return "", nil
	}
	return text, err
}

// CmdlineText reads the kernel's command line as it is. In a container it is that of the machine.
func (r Reader) CmdlineText() (string, error) {
	text, err := line(r.path("cmdline"))
	return strings.TrimRight(text, "\x00"), err
}
