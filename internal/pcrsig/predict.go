package pcrsig

import (
	"crypto"
	_ "crypto/sha256" // the functions of banks
	_ "crypto/sha512"
	"encoding/binary"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"talos.internal/internal/sys/pcr"
)

// PCR is the register that the stub measures its image into.
const PCR = pcr.Image

// Where the stub puts what the sections have, in the initramfs.
const (
	SignatureFile = "/.extra/tpm2-pcr-signature.json"
	KeyFile       = "/.extra/tpm2-pcr-public-key.pem"
)

// The sections for that.
const (
	SectionSignature = ".pcrsig"
	SectionKey       = ".pcrpkey"
)

// Phases are the words that PID 1 measures until volumes are opened: the only path that is signed by default.
func Phases() []string { return []string{pcr.EnterInitrd, pcr.LeaveInitrd, pcr.EnterMachined} }

// Section is a section of an image with its content.
type Section struct {
	Name string
	Data []byte
}

// measured are the sections that systemd's stub measures, in its order. It is that of version 252, which images are made of; later ones
// have more, and a test of internal/image/uki looks at the version.
var measured = []string{".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", SectionKey}

type bank struct {
	name string
	hash crypto.Hash
	id   uint16
}

// banks are the hash functions of the banks that are signed for, with their names in JSON and their numbers in the TPM (TCG algorithm
// registry).
var banks = []bank{
	{"sha256", crypto.SHA256, 0x000b}, {"sha384", crypto.SHA384, 0x000c}, {"sha512", crypto.SHA512, 0x000d},
}

// Banks returns the hash functions of the banks that are signed for.
func Banks() []crypto.Hash {
	var all []crypto.Hash
	for _, b := range banks {
		all = append(all, b.hash)
	}
	return all
}

// Predict returns the value that PCR 11 has in a bank after the stub has measured an image with these sections, in whatever order they
// are given, and PID 1 the words of phases. Sections that the stub does not measure do not count.
func Predict(bank crypto.Hash, sections []Section, phases []string) []byte {
	value := make([]byte, bank.Size())
	for _, name := range measured {
		i := slices.IndexFunc(sections, func(s Section) bool { return s.Name == name })
		if i < 0 {
			continue
		}
		value = Extend(bank, value, []byte(name+"\x00"))
		value = Extend(bank, value, sections[i].Data)
	}
	for _, word := range phases {
		value = Extend(bank, value, []byte(word))
	}
	return value
}

// Extend returns what a PCR has after data was measured into it.
func Extend(bank crypto.Hash, value, data []byte) []byte {
	event := bank.New()
	event.Write(data)
	h := bank.New()
	h.Write(value)
	h.Write(event.Sum(nil))
	return h.Sum(nil)
}

// PolicyPCR returns the digest of a policy that PCR 11 has a value in a bank: what a SHA-256 policy session of a TPM has after
// TPM2_PolicyPCR (TPM 2.0 part 3, section 23.7). It fails with fs.ErrInvalid for a bank that is not among [Banks].
func PolicyPCR(bank crypto.Hash, value []byte) ([]byte, error) {
	for _, b := range banks {
		if b.hash != bank {
			continue
		}
		const policyPCR = 0x0000017f
		values := crypto.SHA256.New()
		values.Write(value)
		be := binary.BigEndian
		text := be.AppendUint32(make([]byte, crypto.SHA256.Size()), policyPCR)
		text = be.AppendUint32(text, 1) // one bank
		text = be.AppendUint16(text, b.id)
		text = append(text, 3, 0, 1<<(PCR-8), 0) // three bytes, a bit for each register
		h := crypto.SHA256.New()
		h.Write(text)
		h.Write(values.Sum(nil))
		return h.Sum(nil), nil
	}
	return nil, fmt.Errorf("policy of PCR %d: a bank of %v: %w", PCR, bank, fs.ErrInvalid)
}

// path is a path of phases as systemd writes it.
func path(phases []string) string { return strings.Join(phases, ":") }
