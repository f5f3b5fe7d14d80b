package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"talos.internal/internal/provision"
)

// medium is what a file holds that a machine boots from.
type medium string

const (
	rawDisk     medium = "raw"
	qcow2Disk   medium = "qcow2"
	isoImage    medium = "iso"
	kernelImage medium = "kernel"
)

// mediumOf recognises a file by its first bytes: a kernel by its header (Documentation/arch/x86/boot.rst), an ISO by the first
// volume descriptor (ECMA-119, section 8.1), a qcow2 file by its magic number (QEMU's docs/interop/qcow2.txt). Anything else is
// a disk, byte by byte; empty, or one that is not whole sectors, is none.
func mediumOf(r io.ReaderAt, size int64) (medium, error) {
	at := func(offset int64, want string) bool {
		got := make([]byte, len(want))
		n, err := r.ReadAt(got, offset)
		return (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(got[:n], []byte(want))
	}
	switch {
	case at(0x202, "HdrS"):
		return kernelImage, nil
	case at(16*sector+1, "CD001"):
		return isoImage, nil
	case at(0, "QFI\xfb"):
		return qcow2Disk, nil
	case size > 0 && size%512 == 0:
		return rawDisk, nil
	}
	return "", fmt.Errorf("%w: %d bytes that are no kernel, ISO, qcow2 file or raw disk image", provision.ErrInvalid, size)
}

// image is a file that a machine boots from.
type image struct {
	medium medium
	size   int64 // bytes of the disk that it is; 0 if it is none
}

// look opens a file and recognises it.
func look(name string) (image, error) {
	f, err := os.Open(name)
	if err != nil {
		return image{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return image{}, err
	}
	if info.IsDir() {
		return image{}, fmt.Errorf("%s: %w: it is a folder", name, provision.ErrInvalid)
	}
	i := image{}
	if i.medium, err = mediumOf(f, info.Size()); err != nil {
		return image{}, fmt.Errorf("%s: %w", name, err)
	}
	switch i.medium {
	case rawDisk:
		i.size = info.Size()
	case qcow2Disk:
		var head [32]byte
		if _, err := f.ReadAt(head[:], 0); err != nil {
			return image{}, fmt.Errorf("%s: read the header: %w", name, err)
		}
		i.size = int64(binary.BigEndian.Uint64(head[24:])) // qcow2.txt: "size", the virtual one
		if i.size <= 0 {
			return image{}, fmt.Errorf("%s: %w: a qcow2 file whose disk has %d bytes", name, provision.ErrInvalid, i.size)
		}
	}
	return i, nil
}

// firmware is a UEFI build: its code, and variables to begin with.
type firmware struct{ code, vars string }

// firmwares are the places where distributions have OVMF: Debian, Fedora, Arch, SUSE. The 4 MiB builds come first.
var firmwares = []firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
}

// secureFirmwares are those of the same distributions that keep their variables from the system, in the mode of system management, and
// so can insist on signatures.
var secureFirmwares = []firmware{
	{"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.secboot.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/qemu/ovmf-x86_64-smm-code.bin", "/usr/share/qemu/ovmf-x86_64-smm-vars.bin"},
}

// findFirmware returns the first firmware that is there.
func findFirmware(secure bool) (firmware, error) {
	known := firmwares
	if secure {
		known = secureFirmwares
	}
	for _, f := range known {
		_, errCode := os.Stat(f.code)
		_, errVars := os.Stat(f.vars)
		if errCode == nil && errVars == nil {
			return f, nil
		}
	}
	return firmware{}, fmt.Errorf("UEFI firmware: %w: none of OVMF's known files is there; install Debian's ovmf, or boot without --with-uefi", fs.ErrNotExist)
}
