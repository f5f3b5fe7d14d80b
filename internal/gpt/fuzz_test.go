package gpt

import (
	"encoding/binary"
	"hash/crc32"
)

// fix corrects the checksums of a primary table, so that fuzzing gets past them.
func fix(d disk) {
	le := binary.LittleEndian
	h := d[512:1024]
	copy(h, signature)
	le.PutUint32(h[12:], headerSize)
	n, at := int(le.Uint32(h[80:]))*entrySize, int(le.Uint64(h[72:]))*512
	if n > 0 && n < len(d) && at > 0 && at < len(d)-n {
		le.PutUint32(h[88:], crc32.ChecksumIEEE(d[at:at+n]))
	}
	le.PutUint32(h[16:], 0)
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h[:headerSize]))
}
