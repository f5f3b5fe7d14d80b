package qemu

import (
	"encoding/binary"
	"fmt"
	"strings"

	"talos.internal/internal/provision"
)

// sector is the size of a logical sector of ISO 9660 in bytes.
const sector = 2048

// isoFile is a file in the root directory of an ISO.
type isoFile struct {
	name string // upper case; Linux shows it in lower case, without a version
	data []byte
}

// iso makes an ISO 9660 image (ECMA-119) with a volume label and files in its root directory. It has no times, so equal files
// make an equal image. Names may have hyphens, and the label lower-case letters: ECMA-119 has neither, Linux takes both, and
// whoever looks for the label "cidata" wants them.
func iso(label string, files []isoFile) ([]byte, error) {
	const (
		systemArea = 16
		primary    = systemArea     // volume descriptors
		terminator = systemArea + 1 //
		pathsLE    = systemArea + 2
		pathsBE    = systemArea + 3
		root       = systemArea + 4
		content    = systemArea + 5
	)
	dir := record("\x00", root, sector, true)
	dir = append(dir, record("\x01", root, sector, true)...)
	next := uint32(content)
	for _, f := range files {
		dir = append(dir, record(f.name+".;1", next, uint32(len(f.data)), false)...)
		next += (uint32(len(f.data)) + sector - 1) / sector
	}
	if len(dir) > sector {
		return nil, fmt.Errorf("make an ISO: %w: %d files are too many for one sector of a directory", provision.ErrInvalid, len(files))
	}
	if len(label) > 32 {
		return nil, fmt.Errorf("make an ISO: %w: label %q is longer than 32 bytes", provision.ErrInvalid, label)
	}
	image := make([]byte, int(next)*sector)
	at := func(n uint32) []byte { return image[int(n)*sector:] }

	d := at(primary)
	copy(d, "\x01CD001\x01")
	pad(d[8:40], "")                              // system identifier
	pad(d[40:72], label)                          // volume identifier
	both32(d[80:], next)                          // volume space size
	both16(d[120:], 1)                            // volume set size
	both16(d[124:], 1)                            // volume sequence number
	both16(d[128:], sector)                       // logical block size
	both32(d[132:], uint32(10))                   // path table size: that of the root
	put32LE(d[140:], pathsLE)                     // little endian path table
	put32BE(d[148:], pathsBE)                     // big endian path table
	copy(d[156:190], dir[:34])                    // directory record of the root
	pad(d[190:813], "")                           // identifiers of set, publisher, preparer, application, and of files
	for _, p := range []int{813, 830, 847, 864} { // creation, modification, expiration, effective: not specified
		copy(d[p:], "0000000000000000\x00")
	}
	d[881] = 1 // file structure version
	copy(at(terminator), "\xffCD001\x01")
	table := []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0} // of the root: length of the name, and so on (section 9.4)
	copy(at(pathsLE), table)
	put32LE(at(pathsLE)[2:], root)
	at(pathsLE)[6] = 1
	copy(at(pathsBE), table)
	put32BE(at(pathsBE)[2:], root)
	at(pathsBE)[7] = 1
	copy(at(root), dir)
	next = content
	for _, f := range files {
		copy(at(next), f.data)
		next += (uint32(len(f.data)) + sector - 1) / sector
	}
	return image, nil
}

// record is a directory record (ECMA-119, section 9.1).
func record(name string, at, size uint32, dir bool) []byte {
	n := 33 + len(name)
	n += n % 2
	r := make([]byte, n)
	r[0] = byte(n)
	both32(r[2:], at)
	both32(r[10:], size)
	copy(r[18:25], []byte{70, 1, 1, 0, 0, 0, 0}) // the first of January 1970
	if dir {
		r[25] = 2
	}
	both16(r[28:], 1) // volume sequence number
	r[32] = byte(len(name))
	copy(r[33:], name)
	return r
}

// both16 and both32 write a number in both orders of bytes (sections 7.2.3 and 7.3.3).
func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	put32LE(b, v)
	put32BE(b[4:], v)
}

func put32LE(b []byte, v uint32) { binary.LittleEndian.PutUint32(b, v) }
func put32BE(b []byte, v uint32) { binary.BigEndian.PutUint32(b, v) }

// pad fills b with text and spaces.
func pad(b []byte, text string) { copy(b, text+strings.Repeat(" ", len(b)-len(text))) }
