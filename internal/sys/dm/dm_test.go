package dm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

func TestTheCommandLineSaysWhatIsTrusted(t *testing.T) {
	s, err := ParseVerity(root, "25600:0badcafe")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := s.PartitionUUID(), "00112233-4455-6677-8899-aabbccddeeff"; got != want {
		t.Errorf("PartitionUUID() = %s; want %s", got, want)
	}
	s.OnCorruption = "panic_on_corruption"
	want := Table{{Length: 204800, Type: "verity", Params: "1 /dev/vda2 /dev/vda2 4096 4096 25600 25600 sha256 " + root + " 0badcafe 2 panic_on_corruption ignore_zero_blocks"}}
	if d := cmp.Diff(want, s.Verity("/dev/vda2")); d != "" {
		t.Errorf("Verity() (-want +got):\n%s", d)
	}
	// 25600 blocks have 200 blocks of hashes, those 2, those 1.
	if got, want := s.Size(), int64(25600+200+2+1)*4096; got != want {
		t.Errorf("Size() = %d; want %d", got, want)
	}
	plain := VeritySpec{Root: s.Root, Blocks: 1}
	if got := plain.Verity("/dev/loop0")[0].Params; !strings.HasSuffix(got, root+" - 1 ignore_zero_blocks") {
		t.Errorf("Verity(no salt) = %s", got)
	}
	if got := (VeritySpec{}).PartitionUUID(); got != "" {
		t.Errorf("PartitionUUID(no root) = %s", got)
	}
	for _, bad := range [][2]string{{"", "1:00"}, {root[2:], "1:00"}, {root, ""}, {root, "1"}, {root, "0:00"}, {root, "-1:00"}, {root, "1:0"}, {root, "9999999999999999:00"}, {"zz" + root[2:], "1:00"}} {
		if _, err := ParseVerity(bad[0], bad[1]); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("ParseVerity(%q, %q) = %v; want EINVAL", bad[0], bad[1], err)
		}
	}
}

func TestATableIsWrittenAsTheKernelReadsIt(t *testing.T) {
	got, err := encodeTable(Table{{0, 8, "zero", ""}, {8, 16, "linear", "/dev/a 0"}})
	if err != nil {
		t.Fatal(err)
	}
	le := binary.NativeEndian
	if len(got) != 48+56 || le.Uint32(got[20:]) != 48 || le.Uint64(got[48:]) != 8 || le.Uint64(got[56:]) != 16 ||
		!bytes.HasPrefix(got[72:], []byte("linear\x00")) || !bytes.HasPrefix(got[88:], []byte("/dev/a 0\x00")) {
		t.Errorf("encodeTable() = %q", got)
	}
	for _, bad := range []Table{nil, {{1, 8, "zero", ""}}, {{0, 0, "zero", ""}}, {{0, 8, "", ""}}, {{0, 8, "much-too-long-a-name", ""}}, {{0, 8, "zero", ""}, {9, 1, "zero", ""}}} {
		if _, err := encodeTable(bad); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("encodeTable(%v) = %v; want EINVAL", bad, err)
		}
		if _, err := Create("x", bad, Options{}); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Create(%v) = %v; want EINVAL", bad, err)
		}
	}
	if _, err := command(cmdRemove, header{name: strings.Repeat("x", nameSize)}, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("a name that is too long: %v; want EINVAL", err)
	}
}

func TestAKernelWithoutTheDeviceMapperSaysSo(t *testing.T) {
	if _, err := os.Stat(controlFile); err == nil {
		return // this kernel has it; what it does is seen in the tests of whole machines
	}
	if _, err := Create("x", Table{{0, 8, "zero", ""}}, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Create() = %v; want fs.ErrNotExist", err)
	}
	if err := Remove("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Remove() = %v; want fs.ErrNotExist", err)
	}
}

func TestContentIsRecognisedByTheTopOfItsTree(t *testing.T) {
	data := bytes.Repeat([]byte{7}, 3*VerityBlock)
	s := VeritySpec{Salt: []byte("salt"), Blocks: 2}
	sum := sha256.Sum256(append([]byte("salt"), data[2*VerityBlock:]...))
	s.Root = sum[:]
	if err := s.Check(bytes.NewReader(data)); err != nil {
		t.Errorf("Check() = %v", err)
	}
	data[2*VerityBlock]++
	if err := s.Check(bytes.NewReader(data)); !errors.Is(err, ErrMismatch) {
		t.Errorf("Check(other content) = %v; want ErrMismatch", err)
	}
	if err := s.Check(bytes.NewReader(data[:VerityBlock])); !errors.Is(err, io.EOF) {
		t.Errorf("Check(too short) = %v; want EOF", err)
	}
}
