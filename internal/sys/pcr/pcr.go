// Package pcr extends the registers of the machine's TPM, in which is told what was started: each is the hash of all that was measured into it, in
// its order, and nobody can take anything back before the next start.
//
// It speaks one command of the TPM by itself (TPM 2.0 Library, Part 3, section 22.3, TPM2_PCR_Event), so that the initramfs, which is measured
// and hashed at each start, does not have to carry a library for all the others: those are in package tpm.
//
// internal/boot and internal/node import it.
package pcr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Device is the TPM as the kernel shares it out among programs: built into our kernels, so it is there from the start.
const Device = "/dev/tpmrm0"

// Registers with a meaning that this system gives or uses.
const (
	SecureBoot = 7  // the firmware: which keys it trusts, and whether it insists
	Image      = 11 // the boot stub: the sections of the boot image; then the phases of the start
	Volumes    = 15 // the volume STATE, before anything is read from it
	Count      = 24
)

// Phases of a start, in their order. Each is measured into Image when it begins, so that what was sealed to the one before cannot be had any more.
const (
	EnterInitrd   = "enter-initrd"
	LeaveInitrd   = "leave-initrd"
	EnterMachined = "enter-machined"
	StartTheWorld = "start-the-world"
)

// ErrNone says that the machine has no TPM 2.0.
var ErrNone = errors.New("this machine has no TPM 2.0")

// Open opens the machine's TPM. A command is one write, and its answer one read. The error wraps ErrNone if there is no TPM.
func Open() (*os.File, error) { return open(Device) }

// open does not use os.OpenFile, which makes a device non-blocking: the kernel takes a command then and carries it out later, and a read that comes
// before the answer is the end of the file. Every other start measured nothing for that.
func open(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, ErrNone
		case err != nil:
			return nil, fmt.Errorf("open the TPM: %w", &fs.PathError{Op: "open", Path: path, Err: err})
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// Extend measures data into a register of the machine's TPM, in all banks that it has. The error wraps ErrNone if there is no TPM.
func Extend(register int, data []byte) (err error) {
	f, err := Open()
	if err != nil {
		return fmt.Errorf("measure into PCR %d: %w", register, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ExtendBy(f, register, data)
}

// maxEvent is the most that one command measures.
const maxEvent = 1024

// ExtendBy does the same by a TPM that is open.
func ExtendBy(tpm io.ReadWriter, register int, data []byte) error {
	if register < 0 || register >= Count || len(data) > maxEvent {
		return fmt.Errorf("measure %d bytes into PCR %d: there are %d registers, and %d bytes at most: %w", len(data), register, Count, maxEvent, fs.ErrInvalid)
	}
	const (
		withSessions = 0x8002
		pcrEvent     = 0x13c
		password     = 0x40000009
	)
	be := binary.BigEndian
	b := be.AppendUint16(nil, withSessions)
	b = be.AppendUint32(b, 0) // the size, below
	b = be.AppendUint32(b, pcrEvent)
	b = be.AppendUint32(b, uint32(register))
	b = be.AppendUint32(b, 9) // bytes of authorization: the empty password
	b = be.AppendUint32(b, password)
	b = append(b, 0, 0, 0, 0, 0)
	b = be.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	be.PutUint32(b[2:], uint32(len(b)))
	if _, err := tpm.Write(b); err != nil {
		return fmt.Errorf("measure into PCR %d: %w", register, err)
	}
	answer := make([]byte, 4096)
	n, err := tpm.Read(answer)
	if err != nil {
		return fmt.Errorf("measure into PCR %d: read the TPM's answer: %w", register, err)
	}
	if n < 10 {
		return fmt.Errorf("measure into PCR %d: the TPM's answer has %d bytes", register, n)
	}
	if code := be.Uint32(answer[6:]); code != 0 {
		return fmt.Errorf("measure into PCR %d: the TPM says %#x", register, code)
	}
	return nil
}
