package metal

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/image/assets"
	"talos.internal/internal/image/bootkeys"
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

// apply gives a machine in maintenance mode a config.
func (m *machine) apply(config []byte) {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.until("the config to be taken", func(ctx context.Context) error {
		_, err := m.talosctl(ctx, "apply-config", "--insecure", "--nodes", m.node().Endpoint, "--file", file)
		return err
	})
}

// sealed makes a machine whose volumes are encrypted by its TPM, started from an image that the keys have signed.
func sealed(t *testing.T, name string, k *bootkeys.Keys) *machine {
	t.Helper()
	b := signed(t, k)
	if err := b.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, name, filepath.Join(b.Dir, assets.Disk), false, qemu.Options{UEFI: true, SecureBoot: true, TPM: true},
		encrypted("    - slot: 0\n      tpm: {}\n")...)
	m.answers()
	m.shows("volumestatus", "phase: ready", "encryptionProvider: luks2", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
	return m
}

func TestVolumesEncryptedByTheTPM(t *testing.T) {
	m := sealed(t, "metal-tpm", newKeys(t, "owner"))
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

// trusting returns keys with which a firmware trusts somebody else, too.
func trusting(t *testing.T, k *bootkeys.Keys, other *x509.Certificate) *bootkeys.Keys {
	t.Helper()
	files, err := bootkeys.Database([]*x509.Certificate{k.Certificate, other}, k.Signer, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := *k
	both.Enrol = slices.DeleteFunc(files, func(f bootkeys.File) bool { return filepath.Ext(f.Name) != ".auth" })
	return &both
}

// A firmware that trusts somebody more is another one for the TPM. The recovery key opens the volumes; then they are sealed to the firmware as it is now.
func TestAnotherFirmwareNeedsTheRecoveryKey(t *testing.T) {
	k := newKeys(t, "owner")
	changed := signed(t, trusting(t, k, newKeys(t, "somebody else").Certificate))
	vars := emptyVars(t)
	if err := changed.WriteDisk(t.Context(), assets.DiskOptions{}); err != nil {
		t.Fatal(err)
	}
	firmware(t, vars, filepath.Join(changed.Dir, assets.Disk), insists)
	m := sealed(t, "metal-pcr7", k)
	before := m.identity()
	out, err := m.talosctl(t.Context(), "get", "recoverykeys", "STATE", "-o", "yaml")
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`(?m)^ *key: ([0-9a-z-]+)$`).FindStringSubmatch(out)
	if key == nil {
		t.Fatalf("there is no recovery key: %s", out)
	}
	m.restart(func(dir string) {
		text, err := os.ReadFile(vars)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "vars.fd"), text, 0o600)); err != nil {
			t.Fatal(err)
		}
	})
	m.says("a measured value is another than the one it is sealed to", 1)
	recovering := regexp.MustCompile(`(?m)^( *)- slot: 0\n *tpm: \{\}$`).ReplaceAllString(string(m.config), "$0\n$1- slot: 1\n$1  static:\n$1    passphrase: "+key[1])
	m.apply([]byte(recovering))
	m.answers()
	if after := m.identity(); after != before {
		t.Errorf("after its recovery the machine has the identity %q; want %q", after, before)
	}
	m.shows("volumestatus", "phase: ready", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
	m.restart(nil)
	m.answers()
	m.shows("volumestatus", "phase: ready", "encryptionSlot: 0", "mountLocation: /dev/dm-1", "mountLocation: /dev/dm-2")
	var console bytes.Buffer
	if err := m.p.Logs(t.Context(), m.cluster.Name, m.node().Name, provision.LogOptions{}, &console); err != nil {
		t.Fatal(err)
	}
	starts := strings.Split(console.String(), commandLine)
	if last := starts[len(starts)-1]; strings.Contains(last, "a measured value is another") || strings.Contains(last, "a key does not open a volume") {
		t.Error("after the recovery the TPM does not open the volumes")
	}
}
