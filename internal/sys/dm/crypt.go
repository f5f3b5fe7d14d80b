package dm

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// CryptSpec is a device of dm-crypt (Documentation/admin-guide/device-mapper/dm-crypt.rst).
type CryptSpec struct {
	Cipher string // "aes-xts-plain64"
	Key    []byte
	Tweak  uint64 // the number of the first sector, for initialisation vectors
	Device string // what has the encrypted data
	Offset int64  // where they begin, in bytes
	Size   int64  // in bytes; what is left over of the last sector is not used
	// SectorSize is the unit of encryption in bytes.
	SectorSize int
	// Discards passes on which blocks are free, and so tells it to whoever has the disk.
	Discards bool
	// Options are further ones of the target: no_read_workqueue, no_write_workqueue, same_cpu_crypt.
	Options []string
}

// keyName is what the key is called while it is handed over: the kernel wants a colon in it.
const keyName = "talos:volume"

// crypt returns the table. The key is not in it, but that it is in the keyring of the thread: whoever may read tables does not see it.
func (s CryptSpec) crypt() (Table, error) {
	if s.SectorSize < SectorSize || s.SectorSize&(s.SectorSize-1) != 0 || len(s.Key) == 0 || s.Offset%SectorSize != 0 {
		return nil, fmt.Errorf("encrypt sectors of %d bytes at %d with a key of %d bytes: %w", s.SectorSize, s.Offset, len(s.Key), syscall.EINVAL)
	}
	length := s.Size / int64(s.SectorSize) * int64(s.SectorSize)
	if length <= 0 {
		return nil, fmt.Errorf("there are %d bytes of data: %w", s.Size, syscall.EINVAL)
	}
	options := append([]string{}, s.Options...)
	if s.Discards {
		options = append(options, "allow_discards")
	}
	if s.SectorSize != SectorSize {
		options = append(options, fmt.Sprintf("sector_size:%d", s.SectorSize))
	}
	params := fmt.Sprintf("%s :%d:logon:%s %d %s %d", s.Cipher, len(s.Key), keyName, s.Tweak, s.Device, s.Offset/SectorSize)
	if len(options) > 0 {
		params += fmt.Sprintf(" %d %s", len(options), strings.Join(options, " "))
	}
	return Table{{Length: uint64(length / SectorSize), Type: "crypt", Params: params}}, nil
}

// CreateCrypt makes a device that encrypts what is written to it, and returns its path, as [Create] does.
func CreateCrypt(name, uuid string, s CryptSpec) (device string, err error) {
	table, err := s.crypt()
	if err != nil {
		return "", fmt.Errorf("make the mapped device %s: %w", name, err)
	}
	// The keyring is that of this thread alone, and goes with the key in it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	key, err := unix.AddKey("logon", keyName, s.Key, unix.KEY_SPEC_THREAD_KEYRING)
	if err != nil {
		return "", fmt.Errorf("make the mapped device %s: hand its key to the kernel: %w", name, err)
	}
	defer func() {
		if _, gone := unix.KeyctlInt(unix.KEYCTL_INVALIDATE, key, 0, 0, 0); gone != nil {
			err = errors.Join(err, fmt.Errorf("take back the key of %s: %w", name, gone))
		}
	}()
	return Create(name, table, Options{UUID: uuid})
}
