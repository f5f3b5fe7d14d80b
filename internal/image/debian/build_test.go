package debian

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"testing"
)

// member is a part of an ar archive.
type member struct {
	name string
	data []byte
}

func arOf(members ...member) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, m := range members {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// file makes a tar header with content.
type file struct {
	tar.Header
	content string
}

func tarGz(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	out := tar.NewWriter(z)
	for _, f := range files {
		f.Size = int64(len(f.content))
		if err := out.WriteHeader(&f.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(f.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func regular(name string, mode int64, content string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, content}
}

func link(name, target string) file {
	return file{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}

// deb makes a package. Each has its copyright file.
func deb(t testing.TB, name, version, depends string, files ...file) []byte {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nDepends: %s\n", name, version, depends)
	files = append(files, regular("./usr/share/doc/"+name+"/copyright", 0o644, "all rights of "+name))
	return arOf(
		member{"debian-binary", []byte("2.0\n")},
		member{"control.tar.gz", tarGz(t, regular("./control", 0o644, control))},
		member{"data.tar.gz", tarGz(t, files...)},
	)
}

// elfFile makes an ELF file for amd64 that says of itself that it needs a loader and libraries. It has no code.
func elfFile(loader, runpath string, sonames ...string) string {
	const header, phdr, shdr = 64, 56, 64
	names := []byte{0}
	var dynamic bytes.Buffer
	tag := func(tag uint64, text string) {
		_ = binary.Write(&dynamic, binary.LittleEndian, [2]uint64{tag, uint64(len(names))})
		names = append(append(names, text...), 0)
	}
	for _, s := range sonames {
		tag(1, s) // DT_NEEDED
	}
	if runpath != "" {
		tag(29, runpath) // DT_RUNPATH
	}
	dynamic.Write(make([]byte, 16)) // DT_NULL
	interp := append([]byte(loader), 0)

	at := uint64(header + phdr + 3*shdr)
	offNames, offDyn := at, at+uint64(len(names))
	offInterp := offDyn + uint64(dynamic.Len())
	var b bytes.Buffer
	put := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	b.WriteString("\x7fELF\x02\x01\x01" + string(make([]byte, 9)))
	put([]uint16{3, 62}) // ET_DYN, EM_X86_64
	put(uint32(1))
	put([]uint64{0, header, header + phdr})                    // entry, program headers, section headers
	put(uint32(0))                                             // flags
	put([]uint16{header, phdr, 1, shdr, 3, 1})                 // sizes and counts; names of sections in section 1
	put([]uint32{3, 4})                                        // PT_INTERP, readable
	put([]uint64{offInterp, offInterp, offInterp})             // offset, addresses
	put([]uint64{uint64(len(interp)), uint64(len(interp)), 1}) // sizes, alignment
	section := func(kind uint32, off, size uint64, link uint32, entry uint64) {
		put([]uint32{0, kind})
		put([]uint64{0, 0, off, size})
		put([]uint32{link, 0})
		put([]uint64{1, entry})
	}
	section(0, 0, 0, 0, 0)
	section(3, offNames, uint64(len(names)), 0, 0)   // SHT_STRTAB
	section(6, offDyn, uint64(dynamic.Len()), 1, 16) // SHT_DYNAMIC
	b.Write(names)
	b.Write(dynamic.Bytes())
	if loader != "" {
		b.Write(interp)
	} else {
		b.Write(make([]byte, len(interp)))
	}
	return b.String()
}
