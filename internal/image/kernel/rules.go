package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// Rules choose modules by their place in the kernel's source: each is the beginning of a path below kernel/, such as
// "drivers/net/" or "drivers/hwmon/coretemp.", with "!" in front to leave out what begins so. Of the rules that fit a module the
// longest decides, so their order means nothing.
type Rules []string

// choose returns the paths of the modules that the rules choose, sorted. A rule that fits no module is an error that wraps
// fs.ErrNotExist: it was written for another kernel, and what it was for may be missing.
func (r Rules) choose(paths []string) ([]string, error) {
	used := map[string]bool{}
	var chosen []string
	for _, file := range paths {
		best, in := "", false
		for _, rule := range r {
			begin, out := strings.CutPrefix(rule, "!")
			if len(begin) >= len(best) && strings.HasPrefix(file, "kernel/"+begin) {
				best, in = begin, !out
			}
		}
		if best != "" {
			used[best] = true
		}
		if in {
			chosen = append(chosen, file)
		}
	}
	var errs []error
	for _, rule := range r {
		if !used[strings.TrimPrefix(rule, "!")] {
			errs = append(errs, fmt.Errorf("rule %q for kernel modules decides about none: %w", rule, fs.ErrNotExist))
		}
	}
	slices.Sort(chosen)
	return chosen, errors.Join(errs...)
}

// Boot are the names of the modules in the initramfs: all that finds and mounts the root file system of a machine, and lets a
// person at its keyboard see why that does not work. Which of them are loaded is decided by the devices that are there.
func Boot() []string {
	return slices.Concat(
		// The root: dm-verity over a partition or a file on a medium, and the hash by the processor's own instructions.
		[]string{"dm_verity", "loop", "squashfs", "erofs", "isofs", "sha256_ssse3", "sha256_generic"},
		// What libcrc32c, and so file systems, want loaded before them.
		[]string{"crc32c_generic", "crc32c_intel"},
		// The file system of EFI variables, and of the EFI system partition.
		[]string{"efivarfs", "vfat", "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8"},
		// Disks of virtual machines.
		[]string{"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "virtio_rng", "vmw_pvscsi", "hv_vmbus", "hv_storvsc", "xen_blkfront", "mptspi", "mptsas"},
		// Disks of machines.
		[]string{"ahci", "ata_piix", "ata_generic", "nvme", "vmd", "sd_mod", "sr_mod", "cdrom", "megaraid_sas", "mpt3sas", "mpi3mr", "aacraid", "hpsa", "smartpqi",
			"mmc_block", "sdhci_pci", "sdhci_acpi", "ufshcd_pci"},
		// Sticks, and keyboards.
		[]string{"xhci_pci", "ehci_pci", "uhci_hcd", "ohci_pci", "usb_storage", "uas", "hid_generic", "usbhid", "atkbd", "i8042"},
	)
}

// Node are the rules for the root file system: what a server, a virtual machine and Kubernetes with its network and storage
// plugins may ask for. Left out is what belongs to a desk or a pocket (sound, graphics, radio, cameras, sensors), what is for one
// rare machine, file systems that nobody formats any more, RDMA, Fibre Channel, and network protocols whose main use is an exploit. So is what cannot
// work without a firmware file, for there are none in our images.
func Node() Rules {
	return Rules{
		"arch/", "crypto/", "lib/", "mm/", "block/", "virt/",
		"!lib/test_",

		"net/", "!net/6lowpan/", "!net/atm/", "!net/ax25/", "!net/batman-adv/", "!net/bluetooth/", "!net/can/", "!net/dccp/",
		"!net/ieee802154/", "!net/mac80211/", "!net/mac802154/", "!net/netrom/", "!net/nfc/", "!net/phonet/", "!net/qrtr/", "!net/rds/",
		"!net/rfkill/", "!net/rose/", "!net/rxrpc/", "!net/smc/", "!net/sunrpc/xprtrdma/", "!net/tipc/", "!net/wireless/", "!net/lapb/", "!net/appletalk/",

		"fs/", "!fs/adfs/", "!fs/affs/", "!fs/afs/", "!fs/bcachefs/", "!fs/befs/", "!fs/bfs/", "!fs/coda/", "!fs/dlm/", "!fs/ecryptfs/",
		"!fs/efs/", "!fs/freevxfs/", "!fs/gfs2/", "!fs/hfs/", "!fs/hfsplus/", "!fs/hpfs/", "!fs/jffs2/", "!fs/jfs/", "!fs/minix/", "!fs/nilfs2/", "!fs/ntfs3/",
		"!fs/ocfs2/", "!fs/omfs/", "!fs/orangefs/", "!fs/qnx4/", "!fs/qnx6/", "!fs/reiserfs/", "!fs/f2fs/", "!fs/smb/server/", "!fs/romfs/", "!fs/sysv/", "!fs/ubifs/",
		"!fs/ufs/", "!fs/vboxsf/", "!fs/zonefs/", "!fs/nls/", "fs/nls/nls_ascii.", "fs/nls/nls_cp437.", "fs/nls/nls_iso8859-1.", "fs/nls/nls_utf8.",

		// Disks.
		"drivers/ata/", "drivers/block/", "drivers/cdrom/", "drivers/dax/", "drivers/md/", "!drivers/md/dm-vdo/", "!drivers/md/md-cluster.", "!drivers/md/bcache/", "!drivers/block/drbd/", "drivers/message/fusion/", "drivers/mmc/",
		"!drivers/mmc/host/", "drivers/mmc/host/sdhci", "drivers/mmc/host/cqhci.", "drivers/nvdimm/", "drivers/nvme/", "!drivers/nvme/host/nvme-rdma.", "!drivers/nvme/target/nvmet-rdma.", "drivers/target/", "!drivers/target/sbp/", "!drivers/target/tcm_fc/", "drivers/ufs/", "drivers/scsi/",
		"!drivers/scsi/aic7xxx/", "!drivers/scsi/aic94xx/", "!drivers/scsi/bfa/", "!drivers/scsi/pcmcia/", "!drivers/scsi/qla1280.", "!drivers/scsi/qla4xxx/", "!drivers/scsi/qla2xxx/",
		"!drivers/scsi/bnx2fc/", "!drivers/scsi/bnx2i/", "!drivers/scsi/qedf/", "!drivers/scsi/qedi/", "!drivers/scsi/cxgbi/", "!drivers/scsi/csiostor/", "!drivers/scsi/be2iscsi/", "!drivers/scsi/lpfc/",
		"!drivers/scsi/libfc/", "!drivers/scsi/fcoe/", "!drivers/scsi/fnic/",
		// Network.
		"drivers/net/", "!drivers/net/arcnet/", "!drivers/net/can/", "!drivers/net/ethernet/8390/", "!drivers/net/fddi/", "!drivers/net/hamradio/",
		"!drivers/net/ieee802154/", "!drivers/net/plip/", "!drivers/net/slip/", "!drivers/net/thunderbolt/", "!drivers/net/wireless/", "!drivers/net/wwan/",
		"!drivers/net/ethernet/sfc/", "!drivers/net/ethernet/netronome/", "!drivers/net/ethernet/qlogic/", "!drivers/net/ethernet/smsc/",
		"!drivers/net/ethernet/sun/", "!drivers/net/ethernet/dec/", "!drivers/net/ethernet/chelsio/", "!drivers/net/ethernet/cavium/", "!drivers/net/ethernet/brocade/",
		"!drivers/net/ethernet/broadcom/b44.", "!drivers/net/ethernet/stmicro/", "!drivers/net/mhi_net.", "!drivers/net/usb/", "drivers/net/usb/usbnet.", "drivers/net/usb/cdc_", "drivers/net/usb/r8152.",
		"drivers/net/usb/r8153_ecm.", "drivers/net/usb/asix.", "drivers/net/usb/ax88179_178a.",
		// Virtual machines, as guest and as host.
		"drivers/hv/", "drivers/vdpa/", "drivers/vfio/", "drivers/vhost/", "drivers/virt/", "drivers/virtio/", "drivers/xen/",
		"drivers/misc/vmw_", "drivers/misc/pvpanic/", "drivers/ptp/", "drivers/uio/",
		// The board: buses, sensors, watchdogs, remote management.
		"drivers/acpi/", "drivers/char/", "drivers/cpufreq/", "drivers/crypto/", "!drivers/crypto/intel/qat/", "!drivers/crypto/chelsio/", "drivers/dca/", "drivers/dma/", "drivers/edac/", "drivers/firmware/",
		"drivers/hwmon/acpi_power_meter.", "drivers/hwmon/coretemp.", "drivers/hwmon/drivetemp.", "drivers/hwmon/k10temp.", "drivers/hwmon/nct6775",
		"drivers/i2c/i2c-", "drivers/i2c/busses/i2c-i801.", "drivers/i2c/busses/i2c-piix4.", "drivers/i2c/busses/i2c-ismt.", "drivers/iommu/", "drivers/leds/trigger/",
		"drivers/mfd/lpc_ich.", "drivers/mfd/intel-lpss", "drivers/pci/", "drivers/powercap/", "drivers/rtc/", "drivers/thermal/", "drivers/watchdog/",
		"drivers/tty/", "!drivers/tty/n_",
		// USB, and what a person at the machine types on.
		"drivers/usb/common/", "drivers/usb/core/", "drivers/usb/host/", "drivers/usb/storage/", "drivers/usb/serial/usbserial.", "drivers/usb/serial/pl2303.",
		"drivers/usb/serial/ftdi_sio.", "drivers/usb/serial/cp210x.", "drivers/hid/hid.", "drivers/hid/hid-generic.", "drivers/hid/hid-hyperv.", "drivers/hid/usbhid/",
		"drivers/input/serio/",
	}
}

// sorted returns the keys of a map, sorted.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
