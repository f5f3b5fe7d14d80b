package verity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// data is n blocks, each different from the others.
func data(n int) []byte {
	b := make([]byte, n*BlockSize)
	for i := range n {
		copy(b[i*BlockSize:], fmt.Sprintf("block %d of %d", i, n))
	}
	return b
}

// TestRootHashesAreThoseOfVeritysetup compares with what veritysetup 2.6.1 said. A block holds 128 hashes, so these have two and
// three levels.
func TestRootHashesAreThoseOfVeritysetup(t *testing.T) {
	for n, want := range map[int]string{
		129:         "564e206d84bd1253bf51b1e32f6cc583a93c65d9eae3fa1c0bd3213e643f51c9",
		128*128 + 1: "72cfcdc2749132cdfab502eb61a70a9ea63a2c373bd4488687d36419c575b15a",
	} {
		p, err := Build(t.Context(), bytes.NewReader(data(n)), int64(n)*BlockSize, nil, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", p.Root); got != want {
			t.Errorf("%d blocks: root hash %s; want %s", n, got, want)
		}
	}
}

// TestTreesAreThoseOfVeritysetup compares whole trees, where the program is installed (Debian: cryptsetup-bin).
func TestTreesAreThoseOfVeritysetup(t *testing.T) {
	program, err := exec.LookPath("veritysetup")
	if err != nil {
		t.Log("veritysetup is not here; the recorded root hashes are compared all the same")
		return
	}
	for _, n := range []int{1, 2, 127, 128, 129, 300} {
		salt := []byte("salt of thirty-two bytes, exactly")[:32]
		var tree bytes.Buffer
		p, err := Build(t.Context(), bytes.NewReader(data(n)), int64(n)*BlockSize, salt, &tree)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		image, hashes := filepath.Join(dir, "data"), filepath.Join(dir, "hashes")
		if err := os.WriteFile(image, data(n), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "format", "--no-superblock", fmt.Sprintf("--salt=%x", salt), fmt.Sprintf("--data-blocks=%d", n),
			image, hashes).CombinedOutput()
		if err != nil {
			t.Fatalf("veritysetup: %v\n%s", err, out)
		}
		want, err := os.ReadFile(hashes)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tree.Bytes(), want) {
			t.Errorf("%d blocks: the tree has %d bytes and differs from veritysetup's %d", n, tree.Len(), len(want))
		}
		if !strings.Contains(string(out), fmt.Sprintf("%x", p.Root)) {
			t.Errorf("%d blocks: root hash %x; veritysetup says\n%s", n, p.Root, out)
		}
	}
}

func TestEachByteCounts(t *testing.T) {
	root := func(b []byte, salt string) [32]byte {
		p, err := Build(t.Context(), bytes.NewReader(b), int64(len(b)), []byte(salt), &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		return p.Root
	}
	plain := root(data(130), "salt")
	changed := data(130)
	changed[len(changed)-1] ^= 1
	if root(changed, "salt") == plain {
		t.Error("another last byte gave the same root hash")
	}
	if root(data(130), "tlas") == plain {
		t.Error("another salt gave the same root hash")
	}
	if root(data(130), "salt") != plain {
		t.Error("the same data gave another root hash")
	}
}

func TestWhatHasNoTreeIsRefused(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		ctx  context.Context
		size int64
		have int
		salt int
	}{
		{"nothing", t.Context(), 0, 0, 0},
		{"half a block", t.Context(), BlockSize + 1, BlockSize + 1, 0},
		{"less than was said", t.Context(), 2 * BlockSize, BlockSize, 0},
		{"a salt that the kernel does not take", t.Context(), BlockSize, BlockSize, maxSalt + 1},
		{"after the end", ended, BlockSize, BlockSize, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Build(c.ctx, bytes.NewReader(make([]byte, c.have)), c.size, make([]byte, c.salt), &bytes.Buffer{}); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestParametersTravelOnTheCommandLine(t *testing.T) {
	want, err := Build(t.Context(), bytes.NewReader(data(3)), 3*BlockSize, []byte("salt"), &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("console=ttyS0 " + want.Args() + " quiet\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse(Args) (-want +got):\n%s", diff)
	}
	good := want.Args()
	for _, line := range []string{
		"", "quiet", "roothash=12 talos.verity=1:00", strings.Replace(good, "roothash=", "roothash=z", 1), strings.Replace(good, ":", "", 1)[:20],
		strings.Replace(good, "talos.verity=3", "talos.verity=0", 1), good + "0", strings.Replace(good, "talos.verity=3", "talos.verity=-3", 1),
	} {
		if p, err := Parse(line); !errors.Is(err, ErrParams) {
			t.Errorf("Parse(%q) = %v, %v; want ErrParams", line, p, err)
		}
	}
}
