package superblock

import (
	"errors"
	"fmt"
	"io"
)

// xfs: XFS Algorithms & Data Structures, 3rd edition, section 13.1 (superblocks).
func xfs(b []byte) (Found, bool) {
	if len(b) < 512 || !has(b, 0, "XFSB") || unfinishedXFS(b) {
		return Found{}, false
	}
	f := Found{Name: "xfs", UUID: uuid(b[32:]), Label: text(b[108:120]), BlockSize: be.Uint32(b[4:]), Sector: uint32(be.Uint16(b[102:]))}
	f.Size = be.Uint64(b[8:]) * uint64(f.BlockSize)
	return f, powerOfTwo(f.BlockSize) && powerOfTwo(f.Sector)
}

// unfinishedXFS reports whether mkfs has not come to its end: it sets sb_inprogress first, and takes it away with its last write. The kernel does not mount that.
func unfinishedXFS(b []byte) bool { return len(b) > 126 && has(b, 0, "XFSB") && b[126] != 0 }

// Unfinished reports whether a device begins with a file system that was being made when power was cut. [Probe] recognises nothing there, and a mkfs that
// is careful refuses it.
func Unfinished(r io.ReaderAt) (bool, error) {
	b := make([]byte, 512)
	if n, err := r.ReadAt(b, 0); n < len(b) {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("read the first %d bytes: %w", len(b), err)
	}
	return unfinishedXFS(b), nil
}

// ext: the kernel's filesystems/ext4/super.rst.
func ext(b []byte) (Found, bool) {
	if len(b) < 2048 || !has(b, 1024+56, "\x53\xef") {
		return Found{}, false
	}
	b = b[1024:]
	compat, incompat, readOnly := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
	const (
		compatJournal   = 0x4
		incompatJournal = 0x8    // a device that holds a journal only
		ext3Incompat    = 0x16   // filetype, recover, meta_bg
		ext3ReadOnly    = 0x7    // sparse_super, large_file, btree_dir
		bit64           = 0x0080 // the count of blocks has 64 bits
	)
	f := Found{UUID: uuid(b[104:]), Label: text(b[120:136]), BlockSize: power(10 + le.Uint32(b[24:]))}
	blocks := uint64(le.Uint32(b[4:]))
	if incompat&bit64 != 0 {
		blocks |= uint64(le.Uint32(b[0x150:])) << 32
	}
	f.Size, f.Sector = blocks*uint64(f.BlockSize), f.BlockSize
	switch {
	case incompat&incompatJournal != 0:
		f.Name = "jbd"
	case incompat&^ext3Incompat != 0 || readOnly&^ext3ReadOnly != 0:
		f.Name = "ext4"
	case compat&compatJournal != 0:
		f.Name = "ext3"
	default:
		f.Name = "ext2"
	}
	return f, f.BlockSize != 0 && le.Uint32(b[24:]) < 10
}

// btrfs: the kernel's include/uapi/linux/btrfs_tree.h, struct btrfs_super_block.
func btrfs(b []byte) (Found, bool) {
	const at = 64 << 10
	if len(b) < at+4096 || !has(b, at+64, "_BHRfS_M") {
		return Found{}, false
	}
	b = b[at:]
	return Found{Name: "btrfs", UUID: uuid(b[32:]), Label: text(b[299 : 299+256]), Size: le.Uint64(b[112:]),
		Sector: le.Uint32(b[144:]), BlockSize: le.Uint32(b[144:])}, true
}

// squashfs: the kernel's fs/squashfs/squashfs_fs.h, struct squashfs_super_block.
func squashfs(b []byte) (Found, bool) {
	if len(b) < 96 || !has(b, 0, "hsqs") || le.Uint16(b[28:]) != 4 {
		return Found{}, false
	}
	return Found{Name: "squashfs", Size: le.Uint64(b[40:]), BlockSize: le.Uint32(b[12:])}, true
}

// erofs: the kernel's fs/erofs/erofs_fs.h, struct erofs_super_block.
func erofs(b []byte) (Found, bool) {
	if len(b) < 1024+128 || !has(b, 1024, "\xe2\xe1\xf5\xe0") {
		return Found{}, false
	}
	b = b[1024:]
	f := Found{Name: "erofs", UUID: uuid(b[48:]), Label: text(b[64:80]), BlockSize: power(uint32(b[12]))}
	f.Size, f.Sector = uint64(le.Uint32(b[36:]))*uint64(f.BlockSize), f.BlockSize
	return f, f.BlockSize != 0
}

// iso9660: ECMA-119, section 8.4 (primary volume descriptor).
func iso9660(b []byte) (Found, bool) {
	const at = 32 << 10
	if len(b) < at+2048 || !has(b, at, "\x01CD001") {
		return Found{}, false
	}
	b = b[at:]
	f := Found{Name: "iso9660", Label: text(b[40:72]), BlockSize: uint32(le.Uint16(b[128:]))}
	f.Sector, f.Size = f.BlockSize, uint64(le.Uint32(b[80:]))*uint64(f.BlockSize)
	for _, date := range []string{string(b[830:846]), string(b[813:829])} { // modified, created
		if digits(date) && date != "0000000000000000" {
			f.UUID = fmt.Sprintf("%s-%s-%s-%s-%s-%s-%s", date[:4], date[4:6], date[6:8], date[8:10], date[10:12], date[12:14], date[14:])
			break
		}
	}
	return f, true
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// swap: the kernel's include/linux/swap.h, union swap_header.
func swap(b []byte) (Found, bool) {
	if len(b) < pageSize || !has(b, pageSize-10, "SWAPSPACE2") || le.Uint32(b[1024:]) != 1 {
		return Found{}, false
	}
	pages := uint64(le.Uint32(b[1028:]))
	return Found{Name: "swap", UUID: uuid(b[1036:]), Label: text(b[1052:1068]), Size: (pages + 1) * pageSize, BlockSize: pageSize, Sector: pageSize}, true
}

// vfat: Microsoft's FAT specification of 2000, pages 9 to 12.
func vfat(b []byte) (Found, bool) {
	if len(b) < 512 || !has(b, 510, "\x55\xaa") {
		return Found{}, false
	}
	sector, cluster := uint32(le.Uint16(b[11:])), uint32(b[13])
	f := Found{Name: "vfat", Sector: sector, BlockSize: sector * cluster}
	if sector < 512 || sector > 4096 || !powerOfTwo(sector) || !powerOfTwo(cluster) || le.Uint16(b[14:]) == 0 || b[16] == 0 || b[16] > 2 || b[21] < 0xf0 {
		return f, false
	}
	sectors := uint64(le.Uint16(b[19:]))
	if sectors == 0 {
		sectors = uint64(le.Uint32(b[32:]))
	}
	f.Size = sectors * uint64(sector)
	at := 0 // of the extended boot record
	switch {
	case has(b, 82, "FAT32   "):
		at = 66
	case has(b, 54, "FAT"):
		at = 38
	default:
		return f, false
	}
	if b[at] == 0x29 || b[at] == 0x28 {
		if id := le.Uint32(b[at+1:]); id != 0 {
			f.UUID = fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)
		}
	}
	if b[at] == 0x29 {
		if f.Label = text(b[at+5 : at+16]); f.Label == "NO NAME" {
			f.Label = ""
		}
	}
	return f, true
}

// bootSector recognises file systems of Windows by the names that their boot sectors begin with.
func bootSector(b []byte) (Found, bool) {
	for name, mark := range map[string]string{"ntfs": "NTFS    ", "exfat": "EXFAT   ", "bitlocker": "-FVE-FS-"} {
		if has(b, 3, mark) {
			return Found{Name: name}, true
		}
	}
	return Found{}, false
}

// apfs: Apple File System Reference, nx_superblock_t.
func apfs(b []byte) (Found, bool) {
	if len(b) < 96 || !has(b, 32, "NXSB") {
		return Found{}, false
	}
	f := Found{Name: "apfs", UUID: uuid(b[72:]), BlockSize: le.Uint32(b[36:])}
	f.Size = le.Uint64(b[40:]) * uint64(f.BlockSize)
	return f, powerOfTwo(f.BlockSize)
}

// zfs recognises a pool by an überblock of its first label (ZFS on-disk specification, section 1.3), in either byte order.
func zfs(b []byte) (Found, bool) {
	for at := 128 << 10; at+1024 <= min(len(b), 256<<10); at += 1024 {
		if has(b, at, "\x0c\xb1\xba\x00\x00\x00\x00\x00") || has(b, at, "\x00\x00\x00\x00\x00\xba\xb1\x0c") {
			return Found{Name: "zfs"}, true
		}
	}
	return Found{}, false
}

// mbr: UEFI specification 2.10, section 5.2. It needs at least one partition, as the mark alone is on many other things.
func mbr(b []byte) (Found, bool) {
	if len(b) < 512 || !has(b, 510, "\x55\xaa") {
		return Found{}, false
	}
	used := false
	for e := b[446:510]; len(e) > 0; e = e[16:] {
		if e[0]&0x7f != 0 {
			return Found{}, false
		}
		used = used || e[4] != 0 && le.Uint32(e[12:]) != 0
	}
	f := Found{Name: "dos"}
	if id := le.Uint32(b[440:]); id != 0 {
		f.UUID = fmt.Sprintf("%08x", id)
	}
	return f, used
}
