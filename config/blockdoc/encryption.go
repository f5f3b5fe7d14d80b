package blockdoc

import (
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// maxSlot is the last key slot of a LUKS2 header, which has 32.
const maxSlot = 31

// Encryption encrypts a volume with LUKS2. It is decided when the volume is made: a volume that holds data is not
// encrypted or decrypted in place. Keys can be added, changed and removed later as long as one that works stays.
type Encryption struct {
	// Provider is the format of the encrypted volume. The default is luks2, which is the only one.
	Provider string `yaml:"provider" enum:"luks2"`
	// Keys are the keys that open the volume, each in a slot of its own. They are tried in order until one opens it; the
	// others are then brought in line with this list.
	//
	// Example:
	//
	//	keys:
	//	    - slot: 0
	//	      tpm: {}
	//	    - slot: 1
	//	      static:
	//	          passphrase: a-long-passphrase
	Keys []EncryptionKey `yaml:"keys" required:"true"`
	// Cipher is the cipher and its mode. The default is aes-xts-plain64. The adiantum ciphers are for processors without
	// instructions for AES.
	Cipher string `yaml:"cipher" enum:"aes-xts-plain64|xchacha12,aes-adiantum-plain64|xchacha20,aes-adiantum-plain64"`
	// KeySize is the length of the volume's own key in bits, a multiple of 8. Left out, it is what suits the cipher.
	KeySize uint `yaml:"keySize"`
	// BlockSize is the unit of encryption in bytes: 512, 1024, 2048 or 4096. Left out, it follows from the disk.
	BlockSize uint64 `yaml:"blockSize"`
	// Options trade latency for throughput in the kernel's dm-crypt: no_read_workqueue and no_write_workqueue encrypt in
	// the thread that reads or writes, same_cpu_crypt on the processor that it runs on.
	//
	// Example:
	//
	//	options:
	//	    - no_read_workqueue
	//	    - no_write_workqueue
	Options []string `yaml:"options" enum:"no_read_workqueue|no_write_workqueue|same_cpu_crypt"`
	// AllowDiscards passes discards (TRIM) of freed blocks on to the disk, which tells whoever has the disk which blocks
	// are unused. The default is false.
	AllowDiscards bool `yaml:"allowDiscards"`
}

// EncryptionKey is a key of an encrypted volume and where it comes from: exactly one of static, nodeID, kms and tpm.
type EncryptionKey struct {
	// Slot is the number of the LUKS2 key slot, from 0 to 31. Each key has a slot of its own. The default is 0.
	Slot int `yaml:"slot" encode:"always"`
	// Static takes the key from this document. Whoever reads the config can open the volume.
	Static *StaticKey `yaml:"static"`
	// NodeID derives the key from the machine's UUID and the volume's name. It keeps data safe on a disk that leaves the
	// machine, not from someone who has the machine.
	//
	// Example:
	//
	//	nodeID: {}
	NodeID *NodeIDKey `yaml:"nodeID"`
	// KMS has the key sealed by a key server on the network. The machine needs the network to open the volume.
	KMS *KMSKey `yaml:"kms"`
	// TPM has the key sealed by the machine's TPM, bound to the boot chain: another system on the same machine cannot
	// open the volume. It needs a TPM 2.0 and a boot with SecureBoot.
	//
	// Example:
	//
	//	tpm: {}
	TPM *TPMKey `yaml:"tpm"`
	// LockToState adds to the key a random salt that is kept on the STATE volume, so that the volume cannot be opened once
	// STATE is wiped. STATE itself cannot have it. The default is false.
	LockToState bool `yaml:"lockToState"`
}

// StaticKey is a passphrase written in the config.
type StaticKey struct {
	// Passphrase opens the volume.
	Passphrase string `yaml:"passphrase" required:"true" secret:"true"`
}

// NodeIDKey is a key derived from the machine's UUID. It has no settings.
type NodeIDKey struct{}

// KMSKey is a key that a key server seals and unseals.
type KMSKey struct {
	// Endpoint is the URL of the key server.
	//
	// Example:
	//
	//	endpoint: https://kms.example.com:4443
	Endpoint scalar.Endpoint `yaml:"endpoint" required:"true"`
}

// TPMKey is a key that the TPM seals.
type TPMKey struct {
	// Options change what the key is bound to.
	Options *TPMOptions `yaml:"options"`
	// CheckSecureBootStatusOnEnroll refuses to make the key while SecureBoot is off or in setup mode. The default is
	// false.
	CheckSecureBootStatusOnEnroll bool `yaml:"checkSecurebootStatusOnEnroll"`
}

// TPMOptions change what a key in the TPM is bound to.
type TPMOptions struct {
	// PCRs are the platform configuration registers, 0 to 23, whose values at the time the key is made must be there again
	// to open the volume. They come on top of the signed measurement of the boot image, which is always required. The
	// default is [7], the state of SecureBoot; an empty list binds to none.
	//
	// Example:
	//
	//	pcrs: [0, 7]
	PCRs *[]int `yaml:"pcrs"`
}

// CipherOrDefault returns the cipher.
func (e *Encryption) CipherOrDefault() string {
	if e.Cipher == "" {
		return "aes-xts-plain64"
	}
	return e.Cipher
}

// BoundPCRs returns the registers that k is bound to. The caller may keep the slice but not write to it.
func (k *TPMKey) BoundPCRs() []int {
	if k.Options == nil || k.Options.PCRs == nil {
		return []int{7}
	}
	return *k.Options.PCRs
}

// Validate checks the sizes and that slots differ.
func (e *Encryption) Validate(r *schema.Reporter) {
	if len(e.Keys) == 0 {
		r.At("keys").Hintf("such as: - slot: 0, with nodeID: {} below it", "expected at least one key, got an empty list")
	}
	if e.KeySize%8 != 0 {
		r.At("keySize").Hintf("such as 256 or 512", "expected a multiple of 8 bits, got %d", e.KeySize)
	}
	switch e.BlockSize {
	case 0, 512, 1024, 2048, 4096:
	default:
		r.At("blockSize").Errorf("expected 512, 1024, 2048 or 4096 bytes, got %d", e.BlockSize)
	}
	first := map[int]int{}
	for i, k := range e.Keys {
		if other, twice := first[k.Slot]; twice {
			r.At("keys").Item(i).At("slot").Hintf("give each key a slot of its own",
				"expected a slot that no other key has, got %d, which keys[%d] has", k.Slot, other)
			continue
		}
		first[k.Slot] = i
	}
}

// Validate checks that k has one source.
func (k *EncryptionKey) Validate(r *schema.Reporter) {
	if k.Slot < 0 || k.Slot > maxSlot {
		r.At("slot").Errorf("expected a slot from 0 to %d, got %d", maxSlot, k.Slot)
	}
	sources := ""
	n := 0
	for _, s := range []struct {
		name string
		set  bool
	}{{"static", k.Static != nil}, {"nodeID", k.NodeID != nil}, {"kms", k.KMS != nil}, {"tpm", k.TPM != nil}} {
		if !s.set {
			continue
		}
		if n++; n > 1 {
			sources += " and "
		}
		sources += s.name
	}
	switch {
	case n == 0:
		r.Hintf("for a key in the TPM, write tpm: {}", "expected one of static, nodeID, kms and tpm, got none")
	case n > 1:
		r.Hintf("put each in a key of its own, with its own slot",
			"expected one of static, nodeID, kms and tpm, got %s", sources)
	}
}

// Validate checks the passphrase.
func (k *StaticKey) Validate(r *schema.Reporter) {
	if k.Passphrase == "" {
		r.At("passphrase").Errorf("expected a passphrase, got an empty string")
	}
}

// Validate checks the registers.
func (o *TPMOptions) Validate(r *schema.Reporter) {
	if o.PCRs == nil {
		return
	}
	seen := map[int]bool{}
	for i, pcr := range *o.PCRs {
		at := r.At("pcrs").Item(i)
		switch {
		case pcr < 0 || pcr > 23:
			at.Errorf("expected a register from 0 to 23, got %d", pcr)
		case seen[pcr]:
			at.Errorf("expected each register once, got %d again", pcr)
		}
		seen[pcr] = true
	}
}
