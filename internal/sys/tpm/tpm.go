// Package tpm is the door to the machine's TPM 2.0: it reads registers, and seals secrets so that only the same TPM gives them back, and only
// to a system that was started as it should be.
//
// A secret is sealed to a policy of two parts. The first is a key: whoever signs with it says which values of the register pcr.Image are good, as
// the maker of a boot image does; so a new version of the system opens what an older one has sealed. The second is a list of registers
// that must have the values they had. The TPM demands both. On the way between processor and TPM secrets are encrypted, by a session that
// is salted to the storage root key (SRK): who listens on the bus learns nothing.
//
// Nothing is kept in the TPM: the SRK is derived anew from its template (TCG TPM v2.0 Provisioning Guidance, section 7.5.1), and a sealed
// secret is two blobs that may be anywhere.
//
// internal/diskkey, controllers and internal/node import it.
package tpm

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"talos.internal/internal/sys/mount"
	"talos.internal/internal/sys/pcr"
)

// Reasons why a secret is not given back.
var (
	// ErrOther says that another TPM has sealed it, or that this one was cleared since.
	ErrOther = errors.New("another TPM has sealed it, or this one was cleared since")
	// ErrPolicy says that a register has another value than when it was sealed.
	ErrPolicy = errors.New("a measured value is another than the one it is sealed to")
	// ErrUnsigned says that nobody has signed what was measured of the boot image, or not with the key that it is sealed to.
	ErrUnsigned = errors.New("what was measured of the boot image is not signed by the key that it is sealed to")
	// ErrLocked says that the TPM was asked too often in vain and takes its time.
	ErrLocked = errors.New("the TPM is locked against guessing")
)

// TPM is an open TPM. It is not safe for concurrent use.
type TPM struct {
	bus transport.TPM
	io.Closer
}

// Open opens the TPM of the machine. The error wraps pcr.ErrNone if there is none.
func Open() (*TPM, error) {
	f, err := pcr.Open()
	if err != nil {
		return nil, err
	}
	return New(f), nil
}

// maxLog bounds what is read of an event log: real ones have some tens of KiB.
const maxLog = 4 << 20

// EventLog returns what the firmware says of its measurements, as package eventlog reads it. It needs the security file system.
func EventLog() ([]byte, error) {
	f, err := os.Open(filepath.Join(mount.SecurityPoint, "tpm0", "binary_bios_measurements"))
	if err != nil {
		return nil, fmt.Errorf("read the event log: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLog))
	if err != nil {
		return nil, fmt.Errorf("read the event log: %w", err)
	}
	return b, nil
}

// New returns the TPM at the other end of a connection, which takes a command with one write and answers to one read.
func New(c io.ReadWriteCloser) *TPM { return &TPM{bus: transport.FromReadWriter(c), Closer: c} }

// bank is the one whose values are used: all TPMs of machines have it.
const bank = tpm2.TPMAlgSHA256

func selection(registers ...int) tpm2.TPMLPCRSelection {
	var list []uint
	for _, r := range registers {
		list = append(list, uint(r))
	}
	return tpm2.TPMLPCRSelection{PCRSelections: []tpm2.TPMSPCRSelection{{Hash: bank, PCRSelect: tpm2.PCClientCompatible.PCRs(list...)}}}
}

// Read returns the values of registers in the bank of SHA-256.
func (t *TPM) Read(registers ...int) (map[int][]byte, error) {
	out := map[int][]byte{}
	for _, r := range registers { // one by one: a TPM answers with as many as it likes
		got, err := tpm2.PCRRead{PCRSelectionIn: selection(r)}.Execute(t.bus)
		if err != nil {
			return nil, fmt.Errorf("read PCR %d: %w", r, err)
		}
		if len(got.PCRValues.Digests) != 1 {
			return nil, fmt.Errorf("read PCR %d: the TPM has no bank of SHA-256", r)
		}
		out[r] = got.PCRValues.Digests[0].Buffer
	}
	return out, nil
}

// Policy says who may have a secret.
type Policy struct {
	// Key signs what the register pcr.Image may have.
	Key *rsa.PublicKey
	// Values are what other registers must have.
	Values map[int][]byte
}

// Registers returns those of Values, in their order.
func (p Policy) Registers() []int {
	out := make([]int, 0, len(p.Values))
	for r := range p.Values {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

// Sealed is a secret that a TPM has sealed. Nothing in it is secret.
type Sealed struct {
	Public  []byte `json:"public"`
	Private []byte `json:"private"`
	SRK     []byte `json:"srk"` // the name of the key it is under
	PCRs    []int  `json:"pcrs"`
}

// signer returns a key as TPMs know it.
func signer(key *rsa.PublicKey) (tpm2.TPMTPublic, error) {
	if key == nil || key.E != 65537 {
		return tpm2.TPMTPublic{}, errors.New("the policy needs an RSA key with the exponent 65537")
	}
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgRSA, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true, UserWithAuth: true},
		Parameters:       tpm2.NewTPMUPublicParms(tpm2.TPMAlgRSA, &tpm2.TPMSRSAParms{KeyBits: tpm2.TPMKeyBits(key.N.BitLen())}),
		Unique:           tpm2.NewTPMUPublicID(tpm2.TPMAlgRSA, &tpm2.TPM2BPublicKeyRSA{Buffer: key.N.FillBytes(make([]byte, (key.N.BitLen()+7)/8))}),
	}, nil
}

// digest returns the policy as the TPM will calculate it when the secret is asked for.
func (p Policy) digest() ([]byte, error) {
	public, err := signer(p.Key)
	if err != nil {
		return nil, err
	}
	name, err := tpm2.ObjectName(&public)
	if err != nil {
		return nil, err
	}
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return nil, err
	}
	if err := (tpm2.PolicyAuthorize{KeySign: *name}).Update(calc); err != nil {
		return nil, err
	}
	if registers := p.Registers(); len(registers) > 0 {
		values := sha256.New()
		for _, r := range registers {
			if r < 0 || r >= pcr.Count || r == pcr.Image || len(p.Values[r]) != sha256.Size {
				return nil, fmt.Errorf("seal to PCR %d with %d bytes: a register from 0 to %d but %d has %d", r, len(p.Values[r]), pcr.Count-1, pcr.Image, sha256.Size)
			}
			_, _ = values.Write(p.Values[r])
		}
		if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: values.Sum(nil)}, Pcrs: selection(registers...)}).Update(calc); err != nil {
			return nil, err
		}
	}
	return calc.Hash().Digest, nil
}

// root is the loaded SRK.
type root struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// withRoot calls do with the SRK.
func (t *TPM) withRoot(do func(root) error) (err error) {
	made, err := tpm2.CreatePrimary{PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate)}.Execute(t.bus)
	if err != nil {
		return fmt.Errorf("derive the storage root key: %w", err)
	}
	defer func() { err = errors.Join(err, t.flush(made.ObjectHandle)) }()
	public, err := made.OutPublic.Contents()
	if err != nil {
		return fmt.Errorf("derive the storage root key: %w", err)
	}
	return do(root{made.ObjectHandle, made.Name, *public})
}

func (t *TPM) flush(handle tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: handle}.Execute(t.bus)
	return err
}

const nonceSize = 16

// MaxSecret is the most that can be sealed, in bytes.
const MaxSecret = 128

// Seal seals a secret to a policy.
func (t *TPM) Seal(secret []byte, p Policy) (s Sealed, err error) {
	if len(secret) == 0 || len(secret) > MaxSecret {
		return s, fmt.Errorf("seal %d bytes: a secret has 1 to %d", len(secret), MaxSecret)
	}
	policy, err := p.digest()
	if err != nil {
		return s, fmt.Errorf("seal a secret: %w", err)
	}
	err = t.withRoot(func(r root) error {
		guard := tpm2.HMAC(tpm2.TPMAlgSHA256, nonceSize, tpm2.Salted(r.handle, r.public), tpm2.AESEncryption(128, tpm2.EncryptIn))
		made, err := tpm2.Create{
			ParentHandle: tpm2.AuthHandle{Handle: r.handle, Name: r.name, Auth: guard},
			InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
				Data: tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
			}},
			InPublic: tpm2.New2B(tpm2.TPMTPublic{
				Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256, AuthPolicy: tpm2.TPM2BDigest{Buffer: policy},
				// Without UserWithAuth the policy is the only way. NoDA: a policy that fails is no guess.
				ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, NoDA: true},
			}),
		}.Execute(t.bus)
		if err != nil {
			return err
		}
		s = Sealed{Public: made.OutPublic.Bytes(), Private: made.OutPrivate.Buffer, SRK: r.name.Buffer, PCRs: p.Registers()}
		return nil
	})
	if err != nil {
		return Sealed{}, fmt.Errorf("seal a secret: %w", err)
	}
	return s, nil
}

// Unseal gives a secret back. key is the one of the policy, and sign returns the signature over a policy for the register pcr.Image, RSASSA-PKCS1-v1_5
// with SHA-256, or nil if there is none. The error wraps one of the reasons of this package if the TPM refuses.
func (t *TPM) Unseal(s Sealed, key *rsa.PublicKey, sign func(policy []byte) []byte) (secret []byte, err error) {
	err = t.withRoot(func(r root) error {
		if !bytes.Equal(r.name.Buffer, s.SRK) {
			return ErrOther
		}
		loaded, err := tpm2.Load{
			ParentHandle: tpm2.AuthHandle{Handle: r.handle, Name: r.name, Auth: tpm2.PasswordAuth(nil)},
			InPrivate:    tpm2.TPM2BPrivate{Buffer: s.Private}, InPublic: tpm2.BytesAs2B[tpm2.TPMTPublic](s.Public),
		}.Execute(t.bus)
		if errors.Is(err, tpm2.TPMRCIntegrity) {
			return errors.Join(ErrOther, err)
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, t.flush(loaded.ObjectHandle)) }()
		object := tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}
		for begun := time.Now(); ; time.Sleep(changePause) {
			secret, err = t.ask(r, object, s, key, sign)
			if !errors.Is(err, tpm2.TPMRCPCRChanged) || time.Since(begun) > changeLimit {
				return err
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("unseal a secret: %w", err)
	}
	return secret, nil
}

// A TPM starts over when any register changes between the policy and the secret, and under Secure Boot the kernel measures each module that it loads into
// PCR 10: in the first seconds of a start that is all the time.
const (
	changePause = 50 * time.Millisecond
	changeLimit = time.Minute
)

// ask shows the TPM that the policy is met, and has the secret. What takes long comes before the session looks at registers.
func (t *TPM) ask(r root, object tpm2.NamedHandle, s Sealed, key *rsa.PublicKey, sign func([]byte) []byte) (secret []byte, err error) {
	shown, err := t.approve(key, sign)
	if err != nil {
		return nil, err
	}
	session, end, err := tpm2.PolicySession(t.bus, tpm2.TPMAlgSHA256, nonceSize, tpm2.Salted(r.handle, r.public), tpm2.AESEncryption(128, tpm2.EncryptOut))
	if err != nil {
		return nil, fmt.Errorf("begin a session: %w", err)
	}
	defer func() { err = errors.Join(err, end()) }()
	if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(pcr.Image)}).Execute(t.bus); err != nil {
		return nil, fmt.Errorf("tell of PCR %d: %w", pcr.Image, err)
	}
	shown.PolicySession = session.Handle()
	if _, err := shown.Execute(t.bus); err != nil {
		return nil, fmt.Errorf("show the signature of the policy: %w", err)
	}
	if len(s.PCRs) > 0 {
		if _, err := (tpm2.PolicyPCR{PolicySession: session.Handle(), Pcrs: selection(s.PCRs...)}).Execute(t.bus); err != nil {
			return nil, fmt.Errorf("tell of the PCRs %v: %w", s.PCRs, err)
		}
	}
	got, err := tpm2.Unseal{ItemHandle: tpm2.AuthHandle{Handle: object.Handle, Name: object.Name, Auth: session}}.Execute(t.bus)
	switch {
	case errors.Is(err, tpm2.TPMRCPolicyFail):
		return nil, ErrPolicy
	case errors.Is(err, tpm2.TPMRCLockout):
		return nil, ErrLocked
	case err != nil:
		return nil, err
	}
	return got.OutData.Buffer, nil
}

// approve has the TPM check the signature over the policy that the present value of pcr.Image makes. It returns what is shown of that in a session.
func (t *TPM) approve(key *rsa.PublicKey, sign func([]byte) []byte) (shown tpm2.PolicyAuthorize, err error) {
	values, err := t.Read(pcr.Image)
	if err != nil {
		return shown, err
	}
	calc, err := tpm2.NewPolicyCalculator(tpm2.TPMAlgSHA256)
	if err != nil {
		return shown, err
	}
	sum := sha256.Sum256(values[pcr.Image])
	if err := (tpm2.PolicyPCR{PcrDigest: tpm2.TPM2BDigest{Buffer: sum[:]}, Pcrs: selection(pcr.Image)}).Update(calc); err != nil {
		return shown, err
	}
	policy := calc.Hash().Digest
	signature := sign(policy)
	if signature == nil {
		return shown, ErrUnsigned
	}
	public, err := signer(key)
	if err != nil {
		return shown, err
	}
	loaded, err := tpm2.LoadExternal{InPublic: tpm2.New2B(public), Hierarchy: tpm2.TPMRHOwner}.Execute(t.bus)
	if err != nil {
		return shown, fmt.Errorf("load the key of the policy: %w", err)
	}
	defer func() { err = errors.Join(err, t.flush(loaded.ObjectHandle)) }()
	message := sha256.Sum256(policy) // and an empty reference
	verified, err := tpm2.VerifySignature{
		KeyHandle: tpm2.NamedHandle{Handle: loaded.ObjectHandle, Name: loaded.Name}, Digest: tpm2.TPM2BDigest{Buffer: message[:]},
		Signature: tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgRSASSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgRSASSA,
			&tpm2.TPMSSignatureRSA{Hash: tpm2.TPMAlgSHA256, Sig: tpm2.TPM2BPublicKeyRSA{Buffer: signature}})},
	}.Execute(t.bus)
	if errors.Is(err, tpm2.TPMRCSignature) {
		return shown, ErrUnsigned
	}
	if err != nil {
		return shown, fmt.Errorf("check the signature of the policy: %w", err)
	}
	return tpm2.PolicyAuthorize{ApprovedPolicy: tpm2.TPM2BDigest{Buffer: policy}, KeySign: loaded.Name, CheckTicket: verified.Validation}, nil
}
