package dm

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNames(t *testing.T) {
	root := t.TempDir()
	for device, name := range map[string]string{"dm-0": "root", "dm-1": "luks2-STATE"} {
		dir := filepath.Join(root, "sys/block", device, "dm")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "name"), []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Names(root); err != nil || !slices.Equal(got, []string{"root", "luks2-STATE"}) {
		t.Errorf("Names = %q, %v", got, err)
	}
	if got, err := Names(t.TempDir()); err != nil || len(got) > 0 {
		t.Errorf("Names without any = %q, %v", got, err)
	}
}

func TestTheTableOfAnEncryptedDevice(t *testing.T) {
	key := bytes.Repeat([]byte{0xab}, 64)
	for _, tc := range []struct {
		name string
		spec CryptSpec
		want Table
	}{
		{"the default", CryptSpec{Cipher: "aes-xts-plain64", Key: key, Device: "/dev/vda5", Offset: 16 << 20, Size: 84<<20 + 100, SectorSize: 512},
			Table{{Length: 84 << 11, Type: "crypt", Params: "aes-xts-plain64 :64:logon:talos:volume 0 /dev/vda5 32768"}}},
		{"all options", CryptSpec{Cipher: "xchacha12,aes-adiantum-plain64", Key: key[:32], Device: "/dev/vda5", Offset: 16 << 20, Size: 8192 + 512, SectorSize: 4096, Discards: true,
			Options: []string{"no_read_workqueue"}},
			Table{{Length: 16, Type: "crypt", Params: "xchacha12,aes-adiantum-plain64 :32:logon:talos:volume 0 /dev/vda5 32768 3 no_read_workqueue allow_discards sector_size:4096"}}},
		{"no key", CryptSpec{Cipher: "x", Size: 512, SectorSize: 512}, nil},
		{"no data", CryptSpec{Cipher: "x", Key: key, Size: 512, SectorSize: 4096}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.spec.crypt()
			if (err == nil) != (tc.want != nil) {
				t.Fatalf("crypt() = %v", err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if len(got) > 0 && strings.Contains(got[0].Params, "abab") {
				t.Error("the key is in the table")
			}
		})
	}
}
