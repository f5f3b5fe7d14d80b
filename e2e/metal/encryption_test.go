package metal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"talos.internal/internal/image/assets"
	"talos.internal/internal/provision"
	"talos.internal/internal/provision/qemu"
)

// encrypted are the documents for STATE and EPHEMERAL with these keys, which are the lines below "keys:".
func encrypted(keys string) []string {
	var out []string
	for _, name := range []string{"STATE", "EPHEMERAL"} {
		out = append(out, "apiVersion: v1alpha1\nkind: VolumeConfig\nname: "+name+"\nencryption:\n  provider: luks2\n  keys:\n"+keys)
	}
	return out
}

// says waits for a text on the console, of the present start or an earlier one: count is how often it has to be there.
func (m *machine) says(text string, count int) {
	m.t.Helper()
	m.until(fmt.Sprintf("the console to say %q %d times", text, count), func(ctx context.Context) error {
		var out bytes.Buffer
		if err := m.p.Logs(ctx, m.cluster.Name, m.node().Name, provision.LogOptions{}, &out); err != nil {
			return err
		}
		if n := strings.Count(out.String(), text); n < count {
			return fmt.Errorf("it is there %d times", n)
		}
		return nil
	})
}

// restart cuts a machine's power, calls change if it is not nil, and starts it again.
func (m *machine) restart(change func(dir string)) {
	m.t.Helper()
	name, node := m.cluster.Name, m.node().Name
	if err := m.p.KillNode(m.t.Context(), name, node); err != nil {
		m.t.Fatal(err)
	}
	if change != nil {
		change(filepath.Join(m.dir, name, "nodes", node))
	}
	if err := m.p.StartNode(m.t.Context(), name, node); err != nil {
		m.t.Fatal(err)
	}
}

func TestVolumesEncryptedByTheUUIDOfTheMachine(t *testing.T) {
	m := newMachine(t, "metal-luks", built(t, "talos.qcow2", "talos.raw"), false, qemu.Options{UEFI: true},
		encrypted("    - slot: 0\n      nodeID: {}\n    - slot: 1\n      static:\n        passphrase: a-passphrase-of-the-test\n")...)
	m.answers()
	m.shows("volumestatus", "phase: ready", "encryptionProvider: luks2", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
	m.shows("discoveredvolumes", "name: luks")
	m.survives() // what it is, it has from STATE
	m.shows("volumestatus", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
}

func TestVolumesEncryptedByTheTPM(t *testing.T) {
	b := signed(t, newKeys(t, "owner"))
	if err := b.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "metal-tpm", filepath.Join(b.Dir, assets.Disk), false, qemu.Options{UEFI: true, SecureBoot: true, TPM: true},
		encrypted("    - slot: 0\n      tpm: {}\n")...)
	m.answers()
	m.shows("volumestatus", "phase: ready", "encryptionProvider: luks2", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
	m.survives()
	saved := filepath.Join(t.TempDir(), "tpm")
	m.restart(func(dir string) {
		tpm := filepath.Join(dir, "tpm")
		if err := os.Rename(tpm, saved); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(tpm, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "swtpm_setup", "--tpm2", "--tpmstate", "dir://"+tpm, "--pcr-banks", "sha256").CombinedOutput(); err != nil {
			t.Fatalf("make another TPM: %v: %s", err, out)
		}
	})
	m.says("another TPM has sealed it", 1)
	m.restart(func(dir string) {
		tpm := filepath.Join(dir, "tpm")
		if err := os.RemoveAll(tpm); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(saved, tpm); err != nil {
			t.Fatal(err)
		}
	})
	m.answers()
}
