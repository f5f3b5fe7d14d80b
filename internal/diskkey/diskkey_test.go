package diskkey

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/eventlog"
	"talos.internal/internal/luks"
	"talos.internal/internal/pcrsig"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/swtpm"
	"talos.internal/internal/sys/tpm"
	"talos.internal/resource/block"
)

const uuid = "4f8b0d3e-6a1c-4d27-9b5f-2c7e81a0d963"

// disk is a device in memory that can lose its power: after budget writes nothing more arrives.
type disk struct {
	b      []byte
	writes int
	budget int // 0 is no limit
}

var errCut = errors.New("the power is cut")

func newDisk() *disk { return &disk{b: make([]byte, luks.DataOffset+1<<20)} }

func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(d.b)) {
		return 0, io.EOF
	}
	n := copy(p, d.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (d *disk) Sync() error { return nil }

func (d *disk) WriteAt(p []byte, off int64) (int, error) {
	d.writes++
	if d.budget > 0 && d.writes > d.budget {
		return 0, errCut
	}
	if d.budget > 0 && d.writes == d.budget {
		p = p[:len(p)/1024*512] // torn
	}
	return copy(d.b[off:], p), nil
}

func nodeKey(slot int64) block.EncryptionKey {
	return block.EncryptionKey{Slot: slot, Type: block.KeyNodeID}
}

func staticKey(slot int64, passphrase string) block.EncryptionKey {
	return block.EncryptionKey{Slot: slot, Type: block.KeyStatic, StaticPassphrase: []byte(passphrase)}
}

func tpmKey(slot int64, registers ...int64) block.EncryptionKey {
	return block.EncryptionKey{Slot: slot, Type: block.KeyTPM, TPMPCRs: registers, TPMPubKeyPCRs: []int64{pcr.Image}}
}

func with(keys ...block.EncryptionKey) block.Encryption {
	return block.Encryption{Provider: block.EncryptionLUKS2, Cipher: "aes-xts-plain64", Keys: keys}
}

// format makes a volume.
func format(t *testing.T, d *disk, k *Keeper, volume string, keys ...block.EncryptionKey) Opened {
	t.Helper()
	o, err := Format(t.Context(), d, k, volume, with(keys...), 512, 512)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// opener returns the slot that opens a volume, -1 if none does.
func opener(t *testing.T, d *disk, k *Keeper, volume string, keys ...block.EncryptionKey) int64 {
	t.Helper()
	o, err := Unlock(t.Context(), d, k, volume, keys)
	if err != nil {
		return -1
	}
	return o.Slot
}

func TestTheUUIDOfTheMachineAsAKey(t *testing.T) {
	a, err := nodeID(uuid, "STATE")
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{strings.ToUpper(uuid), " " + uuid + "\n"} {
		if b, err := nodeID(same, "STATE"); err != nil || !bytes.Equal(a, b) {
			t.Errorf("nodeID(%q) = %x, %v; want %x", same, b, err, a)
		}
	}
	if b, _ := nodeID(uuid, "EPHEMERAL"); bytes.Equal(a, b) {
		t.Error("two volumes have one key")
	}
	for _, bad := range []string{
		"", "not a uuid", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "03000200-0400-0500-0006-000700080009",
		"00020003-0004-0005-0006-000700080009", "12345678-1234-1234-1234-12345678901", "11111111-2222-3333-4444-555555555555",
	} {
		if _, err := nodeID(bad, "STATE"); err == nil {
			t.Errorf("nodeID(%q) is taken", bad)
		}
	}
	for range 1000 { // none that is random is refused
		if _, err := nodeID(newUUID(), "STATE"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlan(t *testing.T) {
	node, static := nodeKey(0), staticKey(3, "p")
	for _, tc := range []struct {
		name  string
		slots map[int]string
		keys  []block.EncryptionKey
		works map[int64]string
		want  []string
	}{
		{"all is as it should be", map[int]string{0: tokenNodeID}, []block.EncryptionKey{node}, nil, nil},
		{"a key more", map[int]string{0: tokenNodeID}, []block.EncryptionKey{node, static}, map[int64]string{3: "the slot has no such key"},
			[]string{"put a key (static) in slot 3: the slot has no such key"}},
		{"a key less", map[int]string{0: tokenNodeID, 3: tokenStatic, 1: ""}, []block.EncryptionKey{node}, nil,
			[]string{"remove key slot 1: the config does not have it", "remove key slot 3: the config does not have it"}},
		{"another key, and one less: first what is missing", map[int]string{0: tokenNodeID, 1: tokenStatic}, []block.EncryptionKey{node, static}, map[int64]string{0: "x", 3: "y"},
			[]string{"put a key (nodeID) in slot 0: x", "put a key (static) in slot 3: y", "remove key slot 1: the config does not have it"}},
		{"the recovery key stays", map[int]string{0: tokenNodeID, 31: tokenRecovery}, []block.EncryptionKey{node}, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, c := range Plan(tc.slots, tc.keys, tc.works) {
				got = append(got, c.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestKeysAreTriedInTheirOrderAndSaidWhyNot(t *testing.T) {
	d, k := newDisk(), &Keeper{UUID: uuid}
	format(t, d, k, "EPHEMERAL", nodeKey(5))
	kms := block.EncryptionKey{Slot: 1, Type: block.KeyKMS, KMSEndpoint: "https://kms:4443"}
	o, err := Unlock(t.Context(), d, k, "EPHEMERAL", []block.EncryptionKey{kms, tpmKey(2, 7), nodeKey(3), nodeKey(5)})
	if err != nil || o.Slot != 5 {
		t.Fatalf("Unlock = %+v, %v", o, err)
	}
	want := []string{
		"key slot 1 (kms): a key of the key server https://kms:4443: this version has no client for key servers: unsupported operation",
		"key slot 2 (tpm): the key slot has nothing that a TPM has sealed: the secret does not open it",
		"key slot 3 (nodeID): key slot 3 is empty: the secret does not open it",
	}
	if diff := cmp.Diff(want, o.Refused); diff != "" {
		t.Errorf("refused (-want +got):\n%s", diff)
	}
	if _, err := Unlock(t.Context(), d, &Keeper{UUID: newUUID()}, "EPHEMERAL", []block.EncryptionKey{nodeKey(5)}); !errors.Is(err, luks.ErrSecret) {
		t.Errorf("Unlock on another machine = %v; want ErrSecret", err)
	}
	if _, err := Unlock(t.Context(), d, k, "STATE", []block.EncryptionKey{nodeKey(5)}); !errors.Is(err, luks.ErrSecret) {
		t.Errorf("Unlock as another volume = %v; want ErrSecret", err)
	}
	if _, err := Format(t.Context(), newDisk(), k, "EPHEMERAL", with(nodeKey(0), kms), 512, 512); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Format with a key that cannot be had = %v; want errors.ErrUnsupported", err)
	}
}

func TestLockToState(t *testing.T) {
	d, k := newDisk(), &Keeper{UUID: uuid}
	key := nodeKey(0)
	key.LockToState = true
	if _, err := Format(t.Context(), d, k, "EPHEMERAL", with(key), 512, 512); !errors.Is(err, ErrNotYet) || d.writes > 0 {
		t.Errorf("Format without a salt = %v after %d writes; want ErrNotYet after none", err, d.writes)
	}
	k.Salt = []byte("salt")
	format(t, d, k, "EPHEMERAL", key)
	k.Salt = []byte("another salt")
	if got := opener(t, d, k, "EPHEMERAL", key); got != -1 {
		t.Errorf("with another salt slot %d opens it", got)
	}
}

func TestTheUnitOfEncryption(t *testing.T) {
	for _, tc := range []struct {
		block             uint64
		logical, physical int
		want              int
	}{{0, 512, 512, 512}, {0, 512, 4096, 4096}, {0, 4096, 4096, 4096}, {1024, 512, 4096, 1024}} {
		if got := sector(block.Encryption{BlockSize: tc.block}, tc.logical, tc.physical); got != tc.want {
			t.Errorf("sector(%d, %d, %d) = %d; want %d", tc.block, tc.logical, tc.physical, got, tc.want)
		}
	}
}

// TestRotationIsCutAtEachWrite replaces the keys of a volume, with the power going at each write, torn in its middle: the volume is opened
// afterwards by the keys of before or those of after, and the change can be made to its end.
func TestRotationIsCutAtEachWrite(t *testing.T) {
	k := &Keeper{UUID: uuid}
	renewed := &Keeper{UUID: newUUID()} // another secret for keys of the same sort, without the cost of a passphrase
	before := []block.EncryptionKey{nodeKey(0), nodeKey(1), nodeKey(2)}
	after := []block.EncryptionKey{nodeKey(0), nodeKey(1), nodeKey(4)}
	volume := newDisk()
	o := format(t, volume, k, "EPHEMERAL", before...)
	// Slot 0 stays with the key that opens it; slot 1 gets another secret, slot 4 is new, slot 2 goes.
	swap := func(d *disk, budget int) []string {
		d.writes, d.budget = 0, budget
		opened := Opened{Key: o.Key, Slot: 0}
		_, failed := Sync(t.Context(), d, renewed, "EPHEMERAL", opened, after)
		return failed
	}
	whole := &disk{b: bytes.Clone(volume.b)}
	if failed := swap(whole, 0); len(failed) > 0 {
		t.Fatal(failed)
	}
	total := whole.writes
	if total < 10 {
		t.Fatalf("a rotation has %d writes; want more, or nothing is tested", total)
	}
	seen := map[string]bool{}
	for budget := 1; budget <= total; budget++ {
		d := &disk{b: bytes.Clone(volume.b)}
		swap(d, budget)
		d.budget = 0
		old := opener(t, d, k, "EPHEMERAL", nodeKey(1))
		fresh := opener(t, d, renewed, "EPHEMERAL", nodeKey(1))
		if opener(t, d, k, "EPHEMERAL", nodeKey(0)) != 0 || (old == 1) == (fresh == 1) {
			t.Errorf("cut at write %d: slot 0 opens %v; the old secret %d, the new one %d", budget, opener(t, d, k, "EPHEMERAL", nodeKey(0)), old, fresh)
		}
		seen[fmt.Sprint(old, fresh, opener(t, d, renewed, "EPHEMERAL", nodeKey(4)), opener(t, d, k, "EPHEMERAL", nodeKey(2)))] = true
		if failed := swap(d, 0); len(failed) > 0 {
			t.Errorf("cut at write %d, and again: %v", budget, failed)
		}
		if got := []int64{opener(t, d, renewed, "EPHEMERAL", nodeKey(1)), opener(t, d, renewed, "EPHEMERAL", nodeKey(4)), opener(t, d, k, "EPHEMERAL", nodeKey(2))}; !slices.Equal(got, []int64{1, 4, -1}) {
			t.Errorf("cut at write %d, and again: slots %v", budget, got)
		}
		if h, err := luks.Read(d); err != nil || h.Stale {
			t.Errorf("cut at write %d, and again: %v", budget, err)
		} else if left, err := h.Forget(d); err != nil || len(left) > 0 {
			t.Errorf("cut at write %d, and again: %d old slots are left, %v", budget, len(left), err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("outcomes %v; want four: before, and after each of three changes", seen)
	}
	t.Logf("%d cuts", total)
}

// signed returns a keeper for starts of a signed image, and what its firmware, stub and PID 1 measure.
func signed(t *testing.T, chip *swtpm.TPM) (*Keeper, func(firmware string, more ...string)) {
	t.Helper()
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := pcrsig.PublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	signatures, err := pcrsig.Sign(signer, []pcrsig.Section{{Name: pcrsig.SectionKey, Data: key}}, pcrsig.Phases())
	if err != nil {
		t.Fatal(err)
	}
	text, err := signatures.Encode()
	if err != nil {
		t.Fatal(err)
	}
	k := &Keeper{UUID: uuid, Stretch: 64, PolicyKey: key, Signatures: text, OpenTPM: func() (TPM, error) { return tpm.New(kept{chip}), nil }}
	return k, func(firmware string, more ...string) {
		chip.Restart()
		extend := func(register int, words ...string) {
			for _, w := range words {
				if err := pcr.ExtendBy(chip, register, []byte(w)); err != nil {
					t.Fatal(err)
				}
			}
		}
		extend(pcr.SecureBoot, firmware)
		extend(pcr.Image, pcrsig.SectionKey+"\x00", string(key))
		extend(pcr.Image, pcrsig.Phases()...)
		extend(pcr.Image, more...)
	}
}

type kept struct{ *swtpm.TPM }

func (kept) Close() error { return nil }

func TestTheTPMGivesTheKeyOnlyWhileVolumesAreOpened(t *testing.T) {
	chip := swtpm.Start(t)
	k, boot := signed(t, chip)
	boot("firmware")
	d, key := newDisk(), tpmKey(0, 7)
	o := format(t, d, k, State, key)
	boot("firmware")
	if got := opener(t, d, k, State, key); got != 0 {
		t.Errorf("after a restart slot %d opens it", got)
	}
	boot("firmware", pcr.StartTheWorld)
	if _, err := Unlock(t.Context(), d, k, State, []block.EncryptionKey{key}); !errors.Is(err, tpm.ErrUnsigned) {
		t.Errorf("Unlock when the world has started = %v; want ErrUnsigned", err)
	}
	boot("other firmware")
	if _, err := Unlock(t.Context(), d, k, State, []block.EncryptionKey{key}); !errors.Is(err, tpm.ErrPolicy) {
		t.Errorf("Unlock after other firmware = %v; want ErrPolicy", err)
	}
	// Sealed to no register the firmware does not count, and a config that says so has it sealed anew.
	free := tpmKey(0)
	if _, err := Unlock(t.Context(), d, k, State, []block.EncryptionKey{free}); err == nil || !strings.Contains(err.Error(), "sealed to the PCRs [7], and the config says []") {
		t.Errorf("Unlock with another list = %v", err)
	}
	o.Slot = -1
	if _, failed := Sync(t.Context(), d, k, State, o, []block.EncryptionKey{free}); len(failed) > 0 {
		t.Fatal(failed)
	}
	boot("yet other firmware")
	if got := opener(t, d, k, State, free); got != 0 {
		t.Errorf("sealed to no register, slot %d opens it", got)
	}
	// Without what a signed image brings there is no such key.
	unsigned := &Keeper{UUID: uuid, OpenTPM: k.OpenTPM}
	if _, err := Format(t.Context(), newDisk(), unsigned, State, with(free), 512, 512); err == nil || !strings.Contains(err.Error(), "not started from an image that is signed") {
		t.Errorf("Format under an unsigned image = %v", err)
	}
	k.OpenTPM = nil
	if _, err := Unlock(t.Context(), d, k, State, []block.EncryptionKey{free}); !errors.Is(err, pcr.ErrNone) {
		t.Errorf("Unlock without a TPM = %v; want ErrNone", err)
	}
}

// A key that the TPM does not give for what the firmware measured is refused with what has changed.
func TestWhatTheFirmwareMeasuresOtherwiseIsSaid(t *testing.T) {
	chip := swtpm.Start(t)
	k, boot := signed(t, chip)
	start := func(firmware, logged string) {
		boot(firmware)
		sum := sha256.Sum256([]byte(logged))
		k.EventLog = func() (eventlog.Log, error) {
			return eventlog.Log{{Register: pcr.SecureBoot, Type: 5, SHA256: sum[:], Data: []byte("the settings")}}, nil
		}
	}
	d, key := newDisk(), tpmKey(0, 7)
	start("firmware", "firmware")
	format(t, d, k, State, key)
	for _, tc := range []struct{ firmware, logged, want string }{
		{"other firmware", "other firmware", "is sealed to (PCR 7: the settings is another)"},
		{"other firmware", "firmware", "is sealed to (the event log does not explain PCR 7)"},
	} {
		start(tc.firmware, tc.logged)
		if _, err := Unlock(t.Context(), d, k, State, []block.EncryptionKey{key}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Unlock by %s that says it is %s = %v; want %q", tc.firmware, tc.logged, err, tc.want)
		}
	}
	start("firmware", "firmware")
	if got := opener(t, d, k, State, key); got != 0 {
		t.Errorf("slot %d opens it; want 0", got)
	}
}

func TestSecureBootIsAskedFor(t *testing.T) {
	chip := swtpm.Start(t)
	k, boot := signed(t, chip)
	boot("firmware")
	key := tpmKey(0, 7)
	key.TPMCheckSecurebootStatusOnEnroll = true
	on := false
	k.SecureBoot = func() (bool, error) { return on, nil }
	if _, err := Format(t.Context(), newDisk(), k, State, with(key), 512, 512); err == nil || !strings.Contains(err.Error(), "Secure Boot") {
		t.Errorf("Format with Secure Boot off = %v", err)
	}
	on = true
	format(t, newDisk(), k, State, key)
}

func TestOtherVolumesAreBoundToTheIdentityOfState(t *testing.T) {
	chip := swtpm.Start(t)
	k, boot := signed(t, chip)
	measure := func(id []byte) {
		if err := pcr.ExtendBy(chip, pcr.Volumes, id); err != nil {
			t.Fatal(err)
		}
	}
	mine := Identity("u", Key("key of STATE"))
	boot("firmware")
	measure(mine)
	d, key := newDisk(), tpmKey(0, 7)
	format(t, d, k, "EPHEMERAL", key)
	for _, tc := range []struct {
		name string
		id   []byte
		want int64
	}{
		{"the same STATE", mine, 0},
		{"another key", Identity("u", Key("key of somebody")), -1},
		{"another UUID", Identity("v", Key("key of STATE")), -1},
		{"in clear", Identity("", nil), -1},
	} {
		boot("firmware")
		measure(tc.id)
		if got := opener(t, d, k, "EPHEMERAL", key); got != tc.want {
			t.Errorf("%s: slot %d opens it; want %d", tc.name, got, tc.want)
		}
	}
	if bytes.Contains(mine, []byte("key of STATE")) {
		t.Error("the key is measured in clear")
	}
}

func TestRecovery(t *testing.T) {
	chip := swtpm.Start(t)
	k, boot := signed(t, chip)
	boot("firmware")
	d, key := newDisk(), tpmKey(0, 7)
	o := format(t, d, k, State, key)
	text := NewRecovery()
	if err := AddRecovery(d, o, []block.EncryptionKey{key}, text); err != nil {
		t.Fatal(err)
	}
	if len(text) != 48+7 || strings.Count(text, "-") != 7 {
		t.Errorf("the recovery key is %q", text)
	}
	boot("other firmware")
	// A person writes it as a passphrase into the config, as it comes.
	static := staticKey(1, " "+strings.ToUpper(strings.ReplaceAll(text, "-", " ")))
	keys := []block.EncryptionKey{key, static}
	o, err := Unlock(t.Context(), d, k, State, keys)
	if err != nil || o.Slot != luks.MaxSlots-1 {
		t.Fatalf("Unlock = slot %d, %v; want %d", o.Slot, err, luks.MaxSlots-1)
	}
	// With that the TPM's key is sealed to what is measured now.
	done, failed := Sync(t.Context(), d, k, State, o, keys[:1])
	if len(done) != 1 || len(failed) > 0 {
		t.Errorf("Sync = %v, %v; want the TPM's slot alone", done, failed)
	}
	boot("other firmware")
	if got := opener(t, d, k, State, key); got != 0 {
		t.Errorf("slot %d opens it after it was sealed anew; want 0", got)
	}
	// A new one takes the place of the old one.
	if err := AddRecovery(d, o, keys, NewRecovery()); err != nil {
		t.Fatal(err)
	}
	if got := opener(t, d, k, State, static); got != -1 {
		t.Errorf("the old recovery key opens slot %d", got)
	}
}
