package initramfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/image/rootfs"
)

func tree(t *testing.T, entries ...rootfs.Entry) *rootfs.Tree {
	t.Helper()
	tree := &rootfs.Tree{}
	if err := tree.Add(entries...); err != nil {
		t.Fatal(err)
	}
	return tree
}

func sample(t *testing.T) *rootfs.Tree {
	return tree(t,
		rootfs.Bytes("init", 0o755, []byte("a program")),
		rootfs.Symlink("sbin/modprobe", "/init"),
		rootfs.Dir("tmp", 0o777|fs.ModeSticky),
		rootfs.Bytes("usr/lib/modules/6.12/empty", 0o644, nil),
		rootfs.Bytes("usr/lib/modules/6.12/odd", 0o600, []byte("abc")),
	)
}

// list reads an archive, knowing nothing of the writer: a line for each entry.
func list(t *testing.T, b []byte) []string {
	t.Helper()
	var lines []string
	at := 0
	field := func(i int) int {
		n, err := strconv.ParseUint(string(b[at+6+8*i:at+14+8*i]), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return int(n)
	}
	for {
		if string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		size, length := field(6), field(11)
		name := string(b[at+110 : at+110+length-1])
		data := (at + 110 + length + 3) &^ 3
		if name == "TRAILER!!!" {
			if rest := bytes.Trim(b[data:], "\x00"); len(rest) != 0 {
				t.Errorf("%d bytes behind the end", len(rest))
			}
			return lines
		}
		lines = append(lines, fmt.Sprintf("%o %d:%d %d %s %q", field(1), field(2), field(3), field(5), name, b[data:data+size]))
		at = (data + size + 3) &^ 3
	}
}

func TestArchiveHasTheTree(t *testing.T) {
	var packed bytes.Buffer
	if err := Write(&packed, sample(t)); err != nil {
		t.Fatal(err)
	}
	d, err := zstd.NewReader(&packed)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	plain, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`100755 0:0 0 init "a program"`,
		`40755 0:0 0 sbin ""`,
		`120777 0:0 0 sbin/modprobe "/init"`,
		`41777 0:0 0 tmp ""`,
		`40755 0:0 0 usr ""`,
		`40755 0:0 0 usr/lib ""`,
		`40755 0:0 0 usr/lib/modules ""`,
		`40755 0:0 0 usr/lib/modules/6.12 ""`,
		`100644 0:0 0 usr/lib/modules/6.12/empty ""`,
		`100600 0:0 0 usr/lib/modules/6.12/odd "abc"`,
	}
	if diff := cmp.Diff(want, list(t, plain)); diff != "" {
		t.Errorf("archive (-want +got):\n%s", diff)
	}
	if len(plain)%512 != 0 {
		t.Errorf("the archive has %d bytes; want a multiple of 512", len(plain))
	}
	checkByCPIO(t, plain, len(want))
}

// checkByCPIO lets cpio(1) read the archive, where it is installed; the reader above is there always.
func checkByCPIO(t *testing.T, plain []byte, entries int) {
	t.Helper()
	program, err := exec.LookPath("cpio")
	if err != nil {
		return
	}
	name := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(name, plain, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "-t", "--quiet", "-F", name).Output()
	if err != nil || strings.Count(string(out), "\n") != entries {
		t.Errorf("cpio -t: %v\n%s", err, out)
	}
}

func TestTheSameTreeGivesTheSameBytes(t *testing.T) {
	write := func(tree *rootfs.Tree) []byte {
		var b bytes.Buffer
		if err := Write(&b, tree); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	if !bytes.Equal(write(sample(t)), write(sample(t))) {
		t.Error("two archives of one tree differ")
	}
	if bytes.Equal(write(sample(t)), write(tree(t, rootfs.Bytes("init", 0o755, []byte("another program"))))) {
		t.Error("archives of different trees are the same")
	}
}

func TestWhatCpioCannotHoldIsRefused(t *testing.T) {
	owned := rootfs.Bytes("a", 0o644, nil)
	owned.UID = 50
	able := rootfs.Bytes("a", 0o755, nil)
	able.Xattrs = map[string]string{"security.capability": "x"}
	large := rootfs.Bytes("a", 0o644, nil)
	large.Size = 1 << 32
	for name, e := range map[string]rootfs.Entry{"owner": owned, "attributes": able, "4 GiB": large} {
		if err := Write(io.Discard, tree(t, e)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v; want fs.ErrInvalid", name, err)
		}
	}
	short := rootfs.Bytes("a", 0o644, []byte("abc"))
	short.Size = 4
	if err := Write(io.Discard, tree(t, short)); err == nil {
		t.Error("a file that became shorter: no error")
	}
}
