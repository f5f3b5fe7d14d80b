package pcrsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/sys/pcr"
)

var newKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func key(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	k, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func image(t testing.TB) []Section {
	t.Helper()
	text, err := PublicKey(key(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	return []Section{
		{".osrel", []byte("ID=talos\n")}, {".cmdline", []byte("quiet")}, {".uname", []byte("6.12")}, {SectionKey, text},
		{".initrd", []byte("initrd")}, {".linux", []byte("kernel")},
	}
}

// The values were computed by another program: what is measured, and in which order, decides whether a disk opens.
func TestPredictMeasuresAsTheStubDoes(t *testing.T) {
	sections := []Section{
		{".osrel", []byte("ID=talos\n")}, {".cmdline", []byte("quiet")}, {".uname", []byte("6.12")}, {SectionSignature, []byte("{}")},
		{".initrd", []byte("initrd")}, {".linux", []byte("kernel")},
	}
	value := Predict(crypto.SHA256, sections, Phases())
	if got, want := hex.EncodeToString(value), "739b925a6f926355e394ce9db6840b107acfb65820ba7bef0a54143c7ef7d31a"; got != want {
		t.Errorf("Predict = %s; want %s", got, want)
	}
	policy, err := PolicyPCR(crypto.SHA256, value)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(policy), "724f6ef76b1b03c7dcf74646ed9f58e334f200f0d04307f724cc93f4e53a4ea1"; got != want {
		t.Errorf("PolicyPCR = %s; want %s", got, want)
	}
}

func TestSignaturesAreFoundByWhatWasMeasured(t *testing.T) {
	k, sections := key(t), image(t)
	s, err := Sign(k, sections, Phases())
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(append(text, 0))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, again); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
	for _, bank := range Banks() {
		one, err := again.Find(bank, Predict(bank, sections, Phases()), &k.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Verify(&k.PublicKey); err != nil {
			t.Error(err)
		}
		for _, phases := range [][]string{nil, Phases()[:1], Phases()[:2], append(Phases(), pcr.StartTheWorld)} {
			if _, err := again.Find(bank, Predict(bank, sections, phases), &k.PublicKey); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a signature for the phases %v: %v; want fs.ErrNotExist", phases, err)
			}
		}
	}
	sections[1].Data = []byte("quiet init=/bin/sh")
	if _, err := again.Find(crypto.SHA256, Predict(crypto.SHA256, sections, Phases()), &k.PublicKey); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a signature for another command line: %v; want fs.ErrNotExist", err)
	}
}

func TestTheFormatIsSystemds(t *testing.T) {
	s, err := Sign(key(t), image(t), Phases())
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string][]map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	print := Fingerprint(&key(t).PublicKey)
	for _, bank := range []string{"sha256", "sha384", "sha512"} {
		if len(got[bank]) != 1 {
			t.Fatalf("bank %s has %d signatures; want 1", bank, len(got[bank]))
		}
		e := got[bank][0]
		if diff := cmp.Diff([]any{11.0}, e["pcrs"]); diff != "" || e["pkfp"] != hex.EncodeToString(print[:]) || len(e["pol"].(string)) != 64 || len(e["sig"].(string)) != 344 || len(e) != 4 {
			t.Errorf("bank %s: %v", bank, e)
		}
	}
}

func TestWhatCannotSignIsRefused(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"no RSA":               func() error { _, err := Sign(ec, image(t), Phases()); return err },
		"an image without key": func() error { _, err := Sign(key(t), image(t)[:3], Phases()); return err },
		"another bank":         func() error { _, err := PolicyPCR(crypto.SHA1, make([]byte, 20)); return err },
	} {
		if err := f(); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v; want fs.ErrInvalid", name, err)
		}
	}
}

func TestPublicKeysAreRead(t *testing.T) {
	text, err := PublicKey(key(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParsePublicKey(append(text, 0)); err != nil || !k.Equal(key(t).Public()) {
		t.Errorf("ParsePublicKey: %v", err)
	}
	for _, bad := range []string{"", "key", string(text) + string(text), strings.Replace(string(text), "PUBLIC", "PRIVATE", 2)} {
		if _, err := ParsePublicKey([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("ParsePublicKey(%.20q) = %v; want ErrFormat", bad, err)
		}
	}
}

// systemd's own tool computes and signs the same. It is not on every machine, and of another version than the stub it may measure more.
func TestSystemdMeasureAgrees(t *testing.T) {
	tool := "/usr/lib/systemd/systemd-measure"
	if _, err := os.Stat(tool); err != nil {
		t.Skipf("%s is not there: Debian's package systemd has it", tool)
	}
	dir := t.TempDir()
	args := []string{"calculate", "--bank=sha256", "--phase=enter-initrd:leave-initrd:enter-machined", "--json=short"}
	for _, s := range image(t) {
		if s.Name == ".uname" { // it measures what the stub of its version does not
			continue
		}
		file := filepath.Join(dir, s.Name)
		if err := os.WriteFile(file, s.Data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--"+s.Name[1:]+"="+file)
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).Output()
	if err != nil {
		t.Skipf("systemd-measure calculate: %v: it wants a kernel with a TPM, or is another version", err)
	}
	var got map[string][]struct{ Hash string }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	want := hex.EncodeToString(Predict(crypto.SHA256, image(t), Phases()))
	if len(got["sha256"]) != 1 || got["sha256"][0].Hash != want {
		t.Errorf("systemd-measure says %v; Predict = %s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"sha256":[{"pcrs":[11],"pkfp":"00","pol":"0a","sig":"AAAA"}]}`))
	f.Add([]byte(`{"sha1":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("Parse: %v; want ErrFormat", err)
			}
			return
		}
		text, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(text); err != nil {
			t.Errorf("what was read and written cannot be read: %v", err)
		}
	})
}
