package pe

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func covered(t *testing.T, image []byte) [32]byte {
	t.Helper()
	f, err := Read(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.New()
	if err := f.Authenticode(sum, int64(len(image))); err != nil {
		t.Fatal(err)
	}
	return [32]byte(sum.Sum(nil))
}

func TestCertificatesAreWrittenAndRead(t *testing.T) {
	image := build(t, testStub(), parts)
	signed, err := WithCertificates(image, []byte("first"), []byte("the second one"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read(bytes.NewReader(signed))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Certificates()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]byte{[]byte("first"), []byte("the second one")}, got); diff != "" {
		t.Errorf("certificates (-want +got):\n%s", diff)
	}
	if covered(t, signed) != covered(t, image) {
		t.Error("a signature covers the signatures")
	}
	if again, err := WithCertificates(signed); err != nil || !bytes.Equal(again, image) {
		t.Errorf("without certificates it is another image: %v", err)
	}
}

// What a signature covers, byte by byte: all but the checksum and the directory entry of the certificates.
func TestASignatureCoversTheFile(t *testing.T) {
	image := build(t, testStub(), parts)
	f, err := Read(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	free := map[int]bool{}
	for i := range checksumSize {
		free[f.optAt+optChecksum+i] = true
	}
	want := covered(t, image)
	for i := f.tableAt + sectionSize*len(f.Sections); i < len(image); i += 7 {
		changed := bytes.Clone(image)
		changed[i] ^= 0x80
		if (covered(t, changed) == want) != free[i] {
			t.Errorf("byte %d: covered %v; want %v", i, free[i], !free[i])
		}
	}
	for i := range free {
		changed := bytes.Clone(image)
		changed[i] ^= 0x80
		if covered(t, changed) != want {
			t.Errorf("byte %d is covered, and should not be", i)
		}
	}
}

func TestWhatNoSignatureCoversIsRefused(t *testing.T) {
	le := binary.LittleEndian
	signed, err := WithCertificates(build(t, testStub(), parts), []byte("certificate"))
	if err != nil {
		t.Fatal(err)
	}
	const opt = 0x84 + coffSize
	table := opt + optSize
	for name, change := range map[string]func(b []byte) []byte{
		"bytes behind the certificates":    func(b []byte) []byte { return append(b, make([]byte, 8)...) },
		"certificates within the sections": func(b []byte) []byte { le.PutUint32(b[opt+optCertificates:], 0x400); return b },
		"a gap between sections":           func(b []byte) []byte { le.PutUint32(b[table+sectionRawSize:], 0x100); return b },
		"sections over each other": func(b []byte) []byte {
			le.PutUint32(b[table+sectionSize+sectionRawOffset:], le.Uint32(b[table+sectionRawOffset:]))
			return b
		},
		"headers that end too early": func(b []byte) []byte { le.PutUint32(b[opt+optHeadersSize:], 0x40); return b },
		"cut":                        func(b []byte) []byte { return b[:0x800] },
	} {
		image := change(bytes.Clone(signed))
		f, err := Read(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Authenticode(&bytes.Buffer{}, int64(len(image))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Authenticode = %v; want ErrFormat", name, err)
		}
	}
}

func TestBrokenCertificatesAreRefused(t *testing.T) {
	le := binary.LittleEndian
	signed, err := WithCertificates(build(t, testStub(), parts), []byte("certificate"))
	if err != nil {
		t.Fatal(err)
	}
	const entry = 0x84 + coffSize + optCertificates
	at := le.Uint32(signed[entry:])
	for name, change := range map[string]func(b []byte){
		"longer than the table": func(b []byte) { le.PutUint32(b[at:], 1000) },
		"shorter than a header": func(b []byte) { le.PutUint32(b[at:], 7) },
		"a table without end":   func(b []byte) { le.PutUint32(b[entry+4:], 1<<31) },
		"outside of the file":   func(b []byte) { le.PutUint32(b[entry:], 1<<30) },
	} {
		image := bytes.Clone(signed)
		change(image)
		f, err := Read(bytes.NewReader(image))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Certificates(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Certificates = %v; want ErrFormat", name, err)
		}
	}
}
