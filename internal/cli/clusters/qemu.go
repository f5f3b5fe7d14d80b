package clusters

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"talos.internal/config/patch"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/layer2"
	"talos.internal/internal/provision/qemu"
)

// machines are the flags of create that are about virtual machines.
type machines struct {
	diskImage, iso, kernel, initramfs, arguments string
	disk                                         int64 // MB, as published
	uefi, secure, tpm                            bool
	changed                                      func(flag string) bool
}

// machineAliases are other spellings of these flags.
var machineAliases = map[string]string{"kernel-path": "vmlinuz-path", "initramfs-path": "initrd-path"}

// diskSize is the size of a machine's disk in MB: two root partitions and what the check of disk sizes wants beside them. The published 6144
// has room for one root in memory. Nothing is taken from this computer before it is written.
const diskSize = 9216

// bind makes the flags.
func (m *machines) bind(fl *pflag.FlagSet) {
	m.changed = fl.Changed
	fl.StringVar(&m.diskImage, "disk-image-path", "", "qemu: the disk image (raw or qcow2) that machines boot (default: _out/machine/talos.qcow2 or .raw)")
	fl.StringVar(&m.iso, "iso-path", "", "qemu: the ISO that machines boot, beside an empty disk")
	fl.StringVar(&m.kernel, "vmlinuz-path", "", "qemu: a kernel to boot without firmware")
	fl.StringVar(&m.initramfs, "initrd-path", "", "qemu: the initramfs of that kernel")
	fl.StringVar(&m.arguments, "extra-boot-kernel-args", "", "qemu: more arguments for that kernel")
	fl.Int64Var(&m.disk, "disk", diskSize, "qemu: the size of the disk of each machine in MB, at least")
	fl.BoolVar(&m.uefi, "with-uefi", true, "qemu: boot by UEFI; not with a kernel")
	fl.BoolVar(&m.secure, "with-secureboot", false, "qemu: a firmware that starts signed programs only, once it has keys; it begins without, in setup mode")
	fl.BoolVar(&m.tpm, "with-tpm2", false, "qemu: give each machine a TPM 2.0")
}

// image is what machines boot, in the words of the provisioner.
func (m *machines) image(built string) (string, error) {
	switch {
	case m.diskImage != "" && m.iso != "":
		return "", errors.New("--disk-image-path and --iso-path do not go together")
	case m.diskImage != "":
		return m.diskImage, nil
	case m.iso != "":
		return m.iso, nil
	case m.kernel != "":
		return m.kernel, nil
	}
	for _, name := range []string{"talos.qcow2", "talos.raw"} {
		path := filepath.Join(built, name)
		if _, err := os.Stat(path); built != "" && err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no disk image: build it by 'make machine', or name one by --disk-image-path, an ISO by --iso-path, or a kernel by --vmlinuz-path: %w", fs.ErrNotExist)
}

// options are those of the provisioner.
func (m *machines) options() (qemu.Options, error) {
	o := qemu.Options{SecureBoot: m.secure, TPM: m.tpm, Disk: m.disk << 20}
	if m.disk < 1 || m.disk > 1<<20 {
		return o, fmt.Errorf("expected --disk to be from 1 to %d (MB), got %d", 1<<20, m.disk)
	}
	o.UEFI = m.uefi && (m.kernel == "" || m.changed("with-uefi")) // with a kernel the provisioner refuses it
	o.Initramfs = m.initramfs
	if m.kernel == "" {
		if m.initramfs != "" || m.arguments != "" {
			return o, errors.New("--initrd-path and --extra-boot-kernel-args are for a kernel: name it by --vmlinuz-path")
		}
		return o, nil
	}
	if m.diskImage != "" || m.iso != "" {
		o.Kernel = m.kernel // otherwise it is the image itself
	}
	// The image builder writes the command line beside the kernel.
	const plain = "talos.platform=metal console=ttyS0"
	text, err := os.ReadFile(filepath.Join(filepath.Dir(m.kernel), "cmdline"))
	if errors.Is(err, fs.ErrNotExist) {
		text, err = []byte(plain), nil
	}
	o.Cmdline = strings.TrimSpace(strings.TrimSpace(string(text)) + " " + m.arguments)
	return o, err
}

// openQEMU opens the provisioner of virtual machines.
func (b *base) openQEMU(cmd *cobra.Command, store provision.Store) (provision.Provisioner, error) {
	var o qemu.Options
	if b.machines != nil {
		var err error
		if o, err = b.machines.options(); err != nil {
			return nil, command.Usagef(cmd, "%w", err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program, which is the switch of a cluster, too: %w", err)
	}
	o.Dir, o.Switch = store.Dir, []string{self, "cluster", switchCommandName}
	return qemu.New(o)
}

// prepare makes a request for containers one for virtual machines, if the provisioner has those. It reports the mode of the
// configs, and the disk to install on, which is "" if nothing is to be installed.
func (b *base) prepare(r *provision.ClusterRequest, provisioner string) (mode schema.Mode, install string, err error) {
	if provisioner != qemu.Name {
		return schema.Container, "", nil
	}
	built := ""
	if images := b.findImages(); images != "" {
		built = filepath.Join(filepath.Dir(images), "machine")
	}
	if r.Image, err = b.machines.image(built); err != nil {
		return "", "", err
	}
	if b.machines.iso != "" || b.machines.diskImage == "" && b.machines.kernel != "" {
		install = "/dev/vda"
	}
	if slow := qemu.Slow(); slow != "" {
		b.env.Warn("note: %s", slow)
	}
	return schema.Metal, install, nil
}

// clock is how machines have the right time: the clock of their board is that of this computer. Without an answer of a time server, which a
// laboratory need not reach, they would wait. A person's patches come after it.
func clock(mode schema.Mode) ([]patch.Patch, error) {
	if mode == schema.Container {
		return nil, nil
	}
	p, err := patch.Parse("the clock of virtual machines", []byte("machine: {time: {disabled: true}}\n"))
	return []patch.Patch{p}, err
}

// switchCommandName is the name of the command that is the switch of a cluster. It is in the command lines by which the
// provisioner finds its processes.
const switchCommandName = "switch-launch"

// switchCommand is for the provisioner, which starts it.
func switchCommand(b *base) *cobra.Command {
	return &cobra.Command{
		Use: switchCommandName + " DIR", Hidden: true,
		Short:             "Be the network switch of a cluster of virtual machines",
		Long:              "Is the network switch of a cluster until the folder DIR is gone. The provisioner qemu starts it.",
		Example:           "  talosctl cluster " + switchCommandName + " ~/.talos/clusters/talos-default/run",
		Args:              command.ExactArgs("DIR"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, args []string) error { return layer2.Run(cmd.Context(), args[0]) },
	}
}
