package diskkey

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"crypto/rsa"

	"talos.internal/internal/eventlog"
	"talos.internal/internal/luks"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/tpm"
	"talos.internal/resource/block"
)

// State is the volume that has the config. Its identity is measured.
const State = "STATE"

// The types of tokens. Static and node ID keys have one too, so that a slot says what it is for.
const (
	tokenStatic   = "talos-static"
	tokenNodeID   = "talos-nodeid"
	tokenTPM      = "talos-tpm2"
	tokenRecovery = "talos-recovery"
)

// ErrNotYet says that what a secret follows from is not known yet: the salt of STATE.
var ErrNotYet = errors.New("the salt of the volume STATE is not known yet")

// TPM is what is needed of one. *tpm.TPM is one.
type TPM interface {
	io.Closer
	Read(registers ...int) (map[int][]byte, error)
	Seal(secret []byte, p tpm.Policy) (tpm.Sealed, error)
	Unseal(s tpm.Sealed, key *rsa.PublicKey, sign func(policy []byte) []byte) ([]byte, error)
}

// Keeper makes secrets and has them again. It is not safe for concurrent use.
type Keeper struct {
	// UUID is the machine's, as the firmware says it.
	UUID string
	// Salt is that of STATE; nil while it is not known.
	Salt []byte
	// Stretch is the memory that it takes to try a passphrase, in KiB; 0 is 64 MiB.
	Stretch int
	// OpenTPM opens the TPM; nil means that there is none.
	OpenTPM func() (TPM, error)
	// PolicyKey and Signatures are what the boot image brings: files in PEM and in JSON. Both are empty for an image that was not signed.
	PolicyKey, Signatures []byte
	// EventLog has what the firmware says of its measurements, to say what of them has changed; nil is nothing.
	EventLog func() (eventlog.Log, error)
	// SecureBoot says whether the firmware insists on signatures. Nil means that this is not known.
	SecureBoot func() (bool, error)
}

// note is a token. Sealed is that of a key in the TPM.
type note struct {
	luks.Token
	Sealed *tpm.Sealed `json:"sealed,omitempty"`
	// Events are what was measured into the registers that it is sealed to, for people.
	Events map[int][]eventlog.Mark `json:"events,omitempty"`
}

func newNote(kind string, slot int) note {
	return note{Token: luks.Token{Type: kind, Keyslots: []string{strconv.Itoa(slot)}}}
}

// kinds are the types of the tokens of keys.
var kinds = map[block.EncryptionKeyType]string{block.KeyStatic: tokenStatic, block.KeyNodeID: tokenNodeID, block.KeyTPM: tokenTPM}

// registers are those that a key of a volume is bound to by their values.
func registers(volume string, k block.EncryptionKey) []int {
	set := map[int]bool{}
	for _, r := range k.TPMPCRs {
		set[int(r)] = true
	}
	if volume != State {
		set[pcr.Volumes] = true
	}
	delete(set, pcr.Image) // the signature is about that
	return slices.Sorted(maps.Keys(set))
}

// recall returns the secret of a key whose slot has a token.
func (k *Keeper) recall(volume string, key block.EncryptionKey, token []byte) (luks.Secret, error) {
	switch key.Type {
	case block.KeyStatic, block.KeyNodeID:
		return k.plain(volume, key)
	case block.KeyTPM:
		secret, err := k.unseal(volume, key, token)
		if err != nil {
			return luks.Secret{}, err
		}
		return k.lock(key, luks.Secret{Bytes: secret, Random: true})
	case block.KeyKMS:
	}
	return luks.Secret{}, noKMS(key)
}

func noKMS(key block.EncryptionKey) error {
	return fmt.Errorf("a key of the key server %s: this version has no client for key servers: %w", key.KMSEndpoint, errors.ErrUnsupported)
}

// create returns a secret for a key, and the token of its slot.
func (k *Keeper) create(volume string, key block.EncryptionKey) (luks.Secret, note, error) {
	n := newNote(kinds[key.Type], int(key.Slot))
	switch key.Type {
	case block.KeyStatic, block.KeyNodeID:
		s, err := k.plain(volume, key)
		return s, n, err
	case block.KeyTPM:
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails (crypto/rand)
		sealed, events, err := k.seal(volume, key, secret)
		if err != nil {
			return luks.Secret{}, n, err
		}
		n.Sealed, n.Events = &sealed, events
		s, err := k.lock(key, luks.Secret{Bytes: secret, Random: true})
		return s, n, err
	case block.KeyKMS:
	}
	return luks.Secret{}, n, noKMS(key)
}

// plain returns secrets that follow from what is known.
func (k *Keeper) plain(volume string, key block.EncryptionKey) (luks.Secret, error) {
	if key.Type == block.KeyStatic {
		if len(key.StaticPassphrase) == 0 {
			return luks.Secret{}, errors.New("the passphrase is empty")
		}
		return k.lock(key, luks.Secret{Bytes: slices.Clone(key.StaticPassphrase), Memory: k.Stretch})
	}
	secret, err := nodeID(k.UUID, volume)
	if err != nil {
		return luks.Secret{}, err
	}
	return k.lock(key, luks.Secret{Bytes: secret, Random: true})
}

// lock adds the salt of STATE to a secret, if the key is to be worth nothing without STATE.
func (k *Keeper) lock(key block.EncryptionKey, s luks.Secret) (luks.Secret, error) {
	if !key.LockToState {
		return s, nil
	}
	if len(k.Salt) == 0 {
		return luks.Secret{}, ErrNotYet
	}
	s.Bytes = append(s.Bytes, k.Salt...)
	return s, nil
}

// leastEntropy is what a UUID has per hexadecimal digit at least, in bits. One that is random has about 3.5; the ones that makers of boards write
// in all of them have less than 2.
const leastEntropy = 2.5

// nodeID derives a secret from the machine's UUID and the name of a volume.
func nodeID(uuid, volume string) ([]byte, error) {
	id := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(uuid), "-", ""))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return nil, fmt.Errorf("a key from the machine's UUID: the firmware says %q, which is none", uuid)
	}
	count := map[rune]float64{}
	for _, c := range id {
		count[c]++
	}
	bits := 0.0
	for _, n := range count {
		bits -= n / 32 * math.Log2(n/32)
	}
	if bits < leastEntropy {
		return nil, fmt.Errorf("a key from the machine's UUID: the firmware says %s, which others may have too; use another sort of key", uuid)
	}
	return hkdf.Key(sha256.New, []byte(id), nil, "talos disk encryption, node ID, "+volume, 32)
}

// policyKey is the key that images are signed for.
func (k *Keeper) policyKey() (*rsa.PublicKey, error) {
	if len(k.PolicyKey) == 0 {
		return nil, errors.New("this system was not started from an image that is signed for the TPM, so nothing can be sealed to it; start a signed boot image by UEFI")
	}
	return pcrsig.ParsePublicKey(k.PolicyKey)
}

// withTPM calls do with the open TPM.
func (k *Keeper) withTPM(do func(TPM) error) (err error) {
	if k.OpenTPM == nil {
		return pcr.ErrNone
	}
	t, err := k.OpenTPM()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	return do(t)
}

// Seals reports whether keys can be sealed: there is a TPM, and the image that was started is signed for it.
func (k *Keeper) Seals() bool {
	if _, err := k.policyKey(); err != nil || len(k.Signatures) == 0 {
		return false
	}
	return k.withTPM(func(TPM) error { return nil }) == nil
}

func (k *Keeper) seal(volume string, key block.EncryptionKey, secret []byte) (s tpm.Sealed, events map[int][]eventlog.Mark, err error) {
	public, err := k.policyKey()
	if err != nil {
		return s, nil, err
	}
	if key.TPMCheckSecurebootStatusOnEnroll {
		on := false
		if k.SecureBoot != nil {
			if on, err = k.SecureBoot(); err != nil {
				return s, nil, fmt.Errorf("ask whether Secure Boot is on: %w", err)
			}
		}
		if !on {
			return s, nil, errors.New("the config asks for Secure Boot before a key is sealed by the TPM (checkSecurebootStatusOnEnroll), and it is off")
		}
	}
	err = k.withTPM(func(t TPM) error {
		values, err := t.Read(registers(volume, key)...)
		if err == nil {
			s, err = t.Seal(secret, tpm.Policy{Key: public, Values: values})
			events = k.events(values)
		}
		return err
	})
	return s, events, err
}

// mostEvents are kept of a key: what a slot can say of itself has limits.
const mostEvents = 48

// events are what was measured into registers with these values, of those that the event log explains.
func (k *Keeper) events(values map[int][]byte) map[int][]eventlog.Mark {
	if k.EventLog == nil {
		return nil
	}
	log, err := k.EventLog()
	if err != nil {
		return nil // it is for people alone
	}
	out, room := map[int][]eventlog.Mark{}, mostEvents
	for _, r := range slices.Sorted(maps.Keys(values)) {
		if marks := log.Marks(r); len(marks) > 0 && len(marks) <= room && bytes.Equal(log.Replay(r), values[r]) {
			out[r] = marks
			room -= len(marks)
		}
	}
	return out
}

// changed says what was measured otherwise than when a key was sealed; empty if that is not known.
func (k *Keeper) changed(t TPM, n note) string {
	values, err := t.Read(slices.Sorted(maps.Keys(n.Events))...)
	if err != nil || len(values) == 0 {
		return ""
	}
	now := k.events(values)
	var out []string
	for _, r := range slices.Sorted(maps.Keys(n.Events)) {
		if now[r] == nil {
			out = append(out, fmt.Sprintf("the event log does not explain PCR %d", r))
			continue
		}
		for _, c := range eventlog.Changes(n.Events[r], now[r]) {
			out = append(out, fmt.Sprintf("PCR %d: %s", r, c))
		}
	}
	return strings.Join(out, "; ")
}

func (k *Keeper) unseal(volume string, key block.EncryptionKey, token []byte) (secret []byte, err error) {
	var n note
	if err := json.Unmarshal(token, &n); err != nil || n.Sealed == nil {
		return nil, fmt.Errorf("the key slot has nothing that a TPM has sealed: %w", luks.ErrSecret)
	}
	if want := registers(volume, key); !slices.Equal(want, n.Sealed.PCRs) {
		return nil, fmt.Errorf("it is sealed to the PCRs %v, and the config says %v: %w", n.Sealed.PCRs, want, luks.ErrSecret)
	}
	err = k.withTPM(func(t TPM) (err error) {
		secret, err = k.release(t, *n.Sealed)
		if errors.Is(err, tpm.ErrPolicy) {
			if what := k.changed(t, n); what != "" {
				err = fmt.Errorf("%w (%s)", err, what)
			}
		}
		return err
	})
	return secret, err
}

// release has the TPM give back what it has sealed.
func (k *Keeper) release(t TPM, sealed tpm.Sealed) ([]byte, error) {
	public, err := k.policyKey()
	if err != nil {
		return nil, err
	}
	signed, err := pcrsig.Parse(k.Signatures)
	if err != nil {
		return nil, err
	}
	values, err := t.Read(pcr.Image)
	if err != nil {
		return nil, err
	}
	s, err := signed.Find(crypto.SHA256, values[pcr.Image], public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tpm.ErrUnsigned, err)
	}
	return t.Unseal(sealed, public, func(policy []byte) []byte {
		if !bytes.Equal(policy, s.Policy) {
			return nil
		}
		return s.Signature
	})
}

// Key is the key of a volume.
type Key []byte

// Identity is what is measured of STATE: for an encrypted one what nobody can say who has not opened it.
func Identity(uuid string, key Key) []byte {
	if key == nil {
		return []byte("STATE in clear")
	}
	b, err := hkdf.Key(sha256.New, key, nil, "talos disk encryption, identity of STATE, "+uuid, 32)
	if err != nil {
		return []byte("STATE without an identity") // never: 32 bytes of SHA-256 can always be derived
	}
	return append([]byte("STATE "), b...)
}

// alphabet of recovery keys: without letters that are taken for others (Crockford's).
const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"

// NewRecovery returns a key that a person writes down: eight groups of six of 32 characters, 240 bits.
func NewRecovery() string {
	b := make([]byte, 48)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	var out strings.Builder
	for i, c := range b {
		if i > 0 && i%6 == 0 {
			out.WriteByte('-')
		}
		out.WriteByte(alphabet[c%32])
	}
	return out.String()
}

// ctxErr is the cause of an end, before something that takes long.
func ctxErr(ctx context.Context) error { return context.Cause(ctx) }
