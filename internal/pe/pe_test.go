package pe

import (
	"bytes"
	stdpe "debug/pe"
	"encoding/binary"
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testStub is a small PE file, as systemd's stub is one: two sections, of which the second one has zeros at its end that are not in
// the file.
func testStub() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0x600)
	copy(b, "MZ")
	le.PutUint32(b[60:], 0x80)
	copy(b[0x80:], "PE\x00\x00")
	coff := b[0x84:]
	le.PutUint16(coff, 0x8664)
	le.PutUint16(coff[2:], 2)
	le.PutUint16(coff[16:], optSize)
	le.PutUint16(coff[18:], 0x206)
	opt := coff[coffSize:]
	le.PutUint16(opt, magicPE32Plus)
	le.PutUint32(opt[optInitialised:], 0x200)
	le.PutUint32(opt[16:], 0x1000) // entry point
	le.PutUint32(opt[optSectionAlign:], 0x200)
	le.PutUint32(opt[optFileAlign:], 0x200)
	le.PutUint32(opt[optImageSize:], 0x2400)
	le.PutUint32(opt[optHeadersSize:], 0x200)
	le.PutUint32(opt[optChecksum:], 12345)
	le.PutUint16(opt[68:], 10)
	le.PutUint32(opt[optDirectories:], 16)
	for i, s := range []struct {
		name                        string
		size, address, raw, content uint32
	}{{".text", 0x10, 0x1000, 0x200, 0x200}, {".data", 0x400, 0x2000, 0x200, 0x400}} {
		h := opt[optSize+i*sectionSize:]
		copy(h, s.name)
		le.PutUint32(h[8:], s.size)
		le.PutUint32(h[12:], s.address)
		le.PutUint32(h[16:], s.raw)
		le.PutUint32(h[20:], s.content)
	}
	copy(b[0x200:], "the code")
	copy(b[0x400:], "the data")
	return b
}

var update = flag.Bool("update", false, "write the stub in testdata anew")

// The stub is a file too, for tests of other packages.
func TestTheStubIsAFile(t *testing.T) {
	const name = "testdata/stub.efi"
	if *update {
		if err := os.WriteFile(name, testStub(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, testStub()) {
		t.Errorf("%s is not the stub (%v): go test ./internal/pe -update", name, err)
	}
}

var parts = []Part{
	{".osrel", []byte("ID=talos\n")},
	{".cmdline", []byte("quiet")},
	{".initrd", bytes.Repeat([]byte("i"), 5000)},
	{".linux", bytes.Repeat([]byte("k"), 512)},
}

func build(t *testing.T, stub []byte, parts []Part) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Append(&b, stub, parts); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSectionsAreThereAndWhereTheFormatWantsThem(t *testing.T) {
	image := build(t, testStub(), parts)
	f, err := Read(bytes.NewReader(image))
	if err != nil {
		t.Fatal(err)
	}
	want := []Section{
		{".text", 0x1000, 0x10, 0x400}, {".data", 0x2000, 0x200, 0x600},
		{".osrel", 0x3000, 9, 0x800}, {".cmdline", 0x4000, 5, 0xa00}, {".initrd", 0x5000, 5000, 0xc00}, {".linux", 0x7000, 512, 0x2000},
	}
	if diff := cmp.Diff(want, f.Sections); diff != "" {
		t.Errorf("sections (-want +got):\n%s", diff)
	}
	for _, p := range parts {
		got, err := f.Content(p.Name, 1<<20)
		if err != nil || !bytes.Equal(got, p.Data) {
			t.Errorf("section %s: %d bytes, %v; want the %d that were given", p.Name, len(got), err, len(p.Data))
		}
	}
}

// Another reader of the format finds the same, and what firmware looks at is right.
func TestTheStandardLibraryReadsIt(t *testing.T) {
	f, err := stdpe.NewFile(bytes.NewReader(build(t, testStub(), parts)))
	if err != nil {
		t.Fatal(err)
	}
	opt, ok := f.OptionalHeader.(*stdpe.OptionalHeader64)
	if !ok {
		t.Fatalf("optional header %T", f.OptionalHeader)
	}
	if opt.SizeOfImage != 0x7200 || opt.SizeOfHeaders != 0x400 || opt.CheckSum != 0 || opt.AddressOfEntryPoint != 0x1000 || opt.SizeOfInitializedData != 0x200+0x200+0x200+0x1400+0x200 {
		t.Errorf("optional header %+v", opt)
	}
	for name, want := range map[string]string{".text": "the code", ".data": "the data", ".cmdline": "quiet"} {
		data, err := f.Section(name).Data()
		if err != nil || !bytes.HasPrefix(data, []byte(want)) {
			t.Errorf("section %s begins with %q, %v; want %q", name, data[:min(len(data), 8)], err, want)
		}
	}
}

func TestTheSameArgumentsGiveTheSameBytes(t *testing.T) {
	if !bytes.Equal(build(t, testStub(), parts), build(t, testStub(), parts)) {
		t.Error("two images differ")
	}
}

// An image of ours can be a stub again: more sections are added to it.
func TestSectionsCanBeAddedTwice(t *testing.T) {
	image := build(t, build(t, testStub(), parts[:1]), parts[1:])
	if !bytes.Equal(image, build(t, testStub(), parts)) {
		t.Error("adding in two steps gives another image")
	}
}

func TestWhatCannotBeBuiltIsRefused(t *testing.T) {
	change := func(at int, value byte) []byte {
		b := testStub()
		b[at] = value
		return b
	}
	const opt = 0x84 + coffSize
	for _, c := range []struct {
		name  string
		stub  []byte
		parts []Part
		want  error
	}{
		{"no PE file", []byte("#!/bin/sh\n"), parts, ErrFormat},
		{"another signature", change(0x80, 'N'), parts, ErrFormat},
		{"32 bits", change(opt+1, 1), parts, ErrFormat},
		{"cut", testStub()[:0x500], parts, ErrFormat},
		{"contents at odd places", change(opt+optFileAlign, 1), parts, ErrFormat},
		{"no room for more headers", change(opt+optSize+13, 0), parts, ErrFormat},
		{"signed", change(opt+optCertificates+4, 1), parts, fs.ErrInvalid},
		{"a section that is there", testStub(), []Part{{".data", []byte("x")}}, fs.ErrExist},
		{"twice the same", testStub(), []Part{parts[0], parts[0]}, fs.ErrExist},
		{"a long name", testStub(), []Part{{".waytoolong", []byte("x")}}, fs.ErrInvalid},
		{"no content", testStub(), []Part{{".empty", nil}}, fs.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Append(io.Discard, c.stub, c.parts); !errors.Is(err, c.want) {
				t.Errorf("Append = %v; want %v", err, c.want)
			}
		})
	}
}

func TestContentHasALimit(t *testing.T) {
	f, err := Read(bytes.NewReader(build(t, testStub(), parts)))
	if err != nil {
		t.Fatal(err)
	}
	for name, limit := range map[string]int{".initrd": 4999, ".nothing": 1 << 20} {
		if _, err := f.Content(name, limit); !errors.Is(err, ErrFormat) {
			t.Errorf("Content(%s, %d) = %v; want ErrFormat", name, limit, err)
		}
	}
}

// Whatever a file has, reading it ends with sections or ErrFormat, and takes no more memory than the limit.
func FuzzRead(f *testing.F) {
	f.Add(testStub())
	var image bytes.Buffer
	if err := Append(&image, testStub(), parts); err != nil {
		f.Fatal(err)
	}
	f.Add(image.Bytes())
	f.Add([]byte("MZ"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Read(bytes.NewReader(data))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("Read: %v; want ErrFormat", err)
			}
			return
		}
		for _, s := range file.Sections {
			if content, err := file.Content(s.Name, 1<<16); err == nil && len(content) > len(data) {
				t.Errorf("section %s has %d bytes; the file has %d", s.Name, len(content), len(data))
			}
		}
		if certs, err := file.Certificates(); err == nil {
			for _, c := range certs {
				if len(c) > len(data) {
					t.Errorf("a certificate of %d bytes; the file has %d", len(c), len(data))
				}
			}
		}
		if err := file.Authenticode(io.Discard, int64(len(data))); err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("Authenticode: %v; want ErrFormat", err)
		}
		if signed, err := WithCertificates(data, []byte("c")); err == nil {
			if f, err := Read(bytes.NewReader(signed)); err != nil || !f.Signed {
				t.Errorf("Read(WithCertificates): signed %v, %v", err == nil && f.Signed, err)
			}
		}
		var again bytes.Buffer
		if err := Append(&again, data, []Part{{".new", []byte("x")}}); err == nil {
			if _, err := Read(bytes.NewReader(again.Bytes())); err != nil {
				t.Errorf("Read(Append): %v", err)
			}
		}
	})
}
