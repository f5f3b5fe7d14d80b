package tpm_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"talos.internal/internal/pcrsig"
	"talos.internal/internal/sys/pcr"
	"talos.internal/internal/sys/swtpm"
	"talos.internal/internal/sys/tpm"
)

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// signs returns a signer of every policy, as the maker of the images that are started has.
func signs(t *testing.T, k *rsa.PrivateKey) func([]byte) []byte {
	return func(policy []byte) []byte {
		d := sha256.Sum256(policy)
		s, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, d[:])
		if err != nil {
			t.Error(err)
		}
		return s
	}
}

func extend(t *testing.T, p *swtpm.TPM, register int, words ...string) {
	t.Helper()
	for _, w := range words {
		if err := pcr.ExtendBy(p, register, []byte(w)); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, d *tpm.TPM, registers ...int) map[int][]byte {
	t.Helper()
	v, err := d.Read(registers...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestWordsAreThoseThatImagesAreSignedFor(t *testing.T) {
	if got, want := []string{pcr.EnterInitrd, pcr.LeaveInitrd, pcr.EnterMachined}, pcrsig.Phases(); !slices.Equal(got, want) || pcr.Image != pcrsig.PCR {
		t.Errorf("phases %v; images are signed for %v", got, want)
	}
}

func TestExtend(t *testing.T) {
	p := swtpm.Start(t)
	d := tpm.New(p)
	before := read(t, d, pcr.Image)[pcr.Image]
	extend(t, p, pcr.Image, pcr.EnterInitrd)
	if got, want := read(t, d, pcr.Image)[pcr.Image], pcrsig.Extend(crypto.SHA256, before, []byte(pcr.EnterInitrd)); !bytes.Equal(got, want) {
		t.Errorf("PCR %d after an event = %x; want %x", pcr.Image, got, want)
	}
	if err := pcr.ExtendBy(p, 24, nil); err == nil {
		t.Error("PCR 24 is extended")
	}
}

// TestWhoMayHaveTheSecret has a start of each sort after a secret was sealed.
func TestWhoMayHaveTheSecret(t *testing.T) {
	p := swtpm.Start(t)
	key, other := newKey(t), newKey(t)
	start := func(words ...string) *tpm.TPM {
		p.Restart()
		extend(t, p, pcr.SecureBoot, "the operator's keys")
		extend(t, p, pcr.Image, words...)
		return tpm.New(p)
	}
	d := start("image", pcr.EnterMachined)
	want := []byte("0123456789abcdef0123456789abcdef")
	s, err := d.Seal(want, tpm.Policy{Key: &key.PublicKey, Values: read(t, d, pcr.SecureBoot)})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(append(s.Private, s.Public...), want) {
		t.Error("the secret is in the blobs")
	}
	for _, tc := range []struct {
		name string
		with func() (*tpm.TPM, func([]byte) []byte)
		want error
	}{
		{"at once", func() (*tpm.TPM, func([]byte) []byte) { return d, signs(t, key) }, nil},
		{"after a restart", func() (*tpm.TPM, func([]byte) []byte) { return start("image", pcr.EnterMachined), signs(t, key) }, nil},
		{"a newer image, which is signed", func() (*tpm.TPM, func([]byte) []byte) { return start("newer image", pcr.EnterMachined), signs(t, key) }, nil},
		{"an image that nobody has signed", func() (*tpm.TPM, func([]byte) []byte) {
			return start("evil image"), func([]byte) []byte { return nil }
		}, tpm.ErrUnsigned},
		{"an image that somebody else has signed", func() (*tpm.TPM, func([]byte) []byte) { return start("evil image"), signs(t, other) }, tpm.ErrUnsigned},
		{"with the signature of another policy", func() (*tpm.TPM, func([]byte) []byte) {
			sign := signs(t, key)
			return start("evil image"), func(policy []byte) []byte { return sign(append(policy, 0)) }
		}, tpm.ErrUnsigned},
		{"with other Secure Boot keys", func() (*tpm.TPM, func([]byte) []byte) {
			d := start("image", pcr.EnterMachined)
			extend(t, p, pcr.SecureBoot, "one more key")
			return d, signs(t, key)
		}, tpm.ErrPolicy},
		{"from another TPM", func() (*tpm.TPM, func([]byte) []byte) { return tpm.New(swtpm.Start(t)), signs(t, key) }, tpm.ErrOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, sign := tc.with()
			got, err := d.Unseal(s, &key.PublicKey, sign)
			if !errors.Is(err, tc.want) || tc.want == nil && (err != nil || !bytes.Equal(got, want)) {
				t.Errorf("Unseal = %q, %v; want error %v", got, err, tc.want)
			}
			if tc.want != nil && got != nil {
				t.Errorf("Unseal gave %q beside an error", got)
			}
		})
	}
	t.Run("with the key of somebody else", func(t *testing.T) {
		if _, err := start("image").Unseal(s, &other.PublicKey, signs(t, other)); !errors.Is(err, tpm.ErrPolicy) {
			t.Errorf("Unseal = %v; want ErrPolicy", err)
		}
	})
	t.Run("changed blobs", func(t *testing.T) {
		b := s
		b.Private = bytes.Clone(s.Private)
		b.Private[len(b.Private)-1] ^= 1
		if _, err := start("image").Unseal(b, &key.PublicKey, signs(t, key)); !errors.Is(err, tpm.ErrOther) {
			t.Errorf("Unseal = %v; want ErrOther", err)
		}
	})
	t.Run("handles are not leaked", func(t *testing.T) {
		d := start("image")
		for range 10 { // a TPM has three places for objects, and few for sessions
			if _, err := d.Unseal(s, &key.PublicKey, signs(t, key)); err != nil {
				t.Fatal(err)
			}
			_, _ = d.Unseal(s, &key.PublicKey, func([]byte) []byte { return nil })
		}
	})
}

// spy keeps what goes over the bus.
type spy struct {
	*swtpm.TPM
	seen bytes.Buffer
}

func (s *spy) Write(b []byte) (int, error) {
	s.seen.Write(b)
	return s.TPM.Write(b)
}

func (s *spy) Read(b []byte) (int, error) {
	n, err := s.TPM.Read(b)
	s.seen.Write(b[:n])
	return n, err
}

func TestTheSecretIsNotSeenOnTheBus(t *testing.T) {
	bus := &spy{TPM: swtpm.Start(t)}
	d := tpm.New(bus)
	key := newKey(t)
	secret := []byte("0123456789abcdef0123456789abcdef")
	s, err := d.Seal(secret, tpm.Policy{Key: &key.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Unseal(s, &key.PublicKey, signs(t, key))
	if err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("Unseal = %q, %v", got, err)
	}
	if bytes.Contains(bus.seen.Bytes(), secret[:8]) || !bytes.Contains(bus.seen.Bytes(), s.Private) {
		t.Error("the secret, or nothing at all, was seen on the bus")
	}
}

// busy is a TPM into which somebody measures something whenever a secret is asked for, some times.
type busy struct {
	*swtpm.TPM
	t     *testing.T
	times int
}

func (b *busy) Write(command []byte) (int, error) {
	const unseal = 0x15e
	if len(command) >= 10 && binary.BigEndian.Uint32(command[6:]) == unseal && b.times > 0 {
		b.times--
		extend(b.t, b.TPM, 10, "a module of the kernel")
	}
	return b.TPM.Write(command)
}

// What others measure meanwhile does not keep a secret: the kernel measures each module that it loads under Secure Boot.
func TestOthersMeasureMeanwhile(t *testing.T) {
	p := swtpm.Start(t)
	key := newKey(t)
	b := &busy{TPM: p, t: t, times: 3}
	d := tpm.New(b)
	want := []byte("a secret")
	s, err := d.Seal(want, tpm.Policy{Key: &key.PublicKey, Values: read(t, d, pcr.SecureBoot)})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := d.Unseal(s, &key.PublicKey, signs(t, key)); err != nil || !bytes.Equal(got, want) || b.times > 0 {
		t.Errorf("Unseal = %q, %v, and %d times more something would be measured; want %q", got, err, b.times, want)
	}
}
