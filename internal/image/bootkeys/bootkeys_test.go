package bootkeys

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/uefi"
)

var now = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

// folder makes a folder with all keys; enrolled are further certificates.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	add(t, dir)(New("owner", now))
	add(t, dir)(NewPCR())
	k, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.PCR == nil || len(k.Enrol) != 0 {
		t.Errorf("without a database: PCR key %v, %d updates", k.PCR != nil, len(k.Enrol))
	}
	add(t, dir)(Database([]*x509.Certificate{k.Certificate}, k.Signer, now))
	return dir
}

func add(t *testing.T, dir string) func([]File, error) {
	return func(files []File, err error) {
		t.Helper()
		for _, f := range files {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFolderOfKeysIsRead(t *testing.T) {
	dir := folder(t)
	k, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range k.Enrol {
		names = append(names, f.Name)
	}
	if got := strings.Join(names, " "); got != "db.auth KEK.auth PK.auth" || k.PCR == nil || k.Certificate.Subject.CommonName != "owner" {
		t.Errorf("Load: updates %s, PCR key %v, certificate of %s", got, k.PCR != nil, k.Certificate.Subject)
	}
	der, err := os.ReadFile(filepath.Join(dir, SigningCertDER))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := ParseCertificate(der); err != nil || !c.Equal(k.Certificate) {
		t.Errorf("the certificate in DER is another one: %v", err)
	}
	for _, v := range variables() {
		list, err := os.ReadFile(filepath.Join(dir, v.Name+".esl"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := uefi.ParseSignatures(list)
		if err != nil || len(s) != 1 || !s.Certificates()[0].Equal(k.Certificate) {
			t.Errorf("%s.esl: %d entries, %v; want the certificate", v.Name, len(s), err)
		}
	}
}

func TestKeysThatDoNotBelongTogetherAreRefused(t *testing.T) {
	copyFile := func(to, name, from string) {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err := errors.Join(err, os.WriteFile(filepath.Join(to, name), data, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	other := folder(t)
	for _, c := range []struct {
		name   string
		change func(dir string)
		want   string
	}{
		{"no folder", func(dir string) { os.RemoveAll(dir) }, "talosctl gen secureboot uki"},
		{"another's certificate", func(dir string) { copyFile(dir, SigningCert, other) }, "the key is not that of the certificate"},
		{"another's database", func(dir string) {
			for _, v := range variables() {
				copyFile(dir, Update(v), other)
			}
		}, "does not enrol CN=owner"},
		{"another's PK", func(dir string) { copyFile(dir, "PK.auth", other) }, "KEK.auth: verify an update of KEK"},
		{"no PK", func(dir string) { os.Remove(filepath.Join(dir, "PK.auth")) }, "PK.auth: no such file"},
		{"a variable for another", func(dir string) {
			data, err := os.ReadFile(filepath.Join(dir, "KEK.auth"))
			if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "PK.auth"), data, 0o600)); err != nil {
				t.Fatal(err)
			}
		}, "PK.auth: verify an update of PK"},
		{"a broken PCR key", func(dir string) { add(t, dir)([]File{{PCRKey, []byte("key")}}, nil) }, "not one block of PEM"},
		{"a certificate as key", func(dir string) {
			data, err := os.ReadFile(filepath.Join(dir, SigningCert))
			add(t, dir)([]File{{PCRKey, data}}, err)
		}, "expected RSA PRIVATE KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := folder(t)
			c.change(dir)
			if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Load = %v; want %q", err, c.want)
			}
		})
	}
}

func TestADatabaseNeedsCertificates(t *testing.T) {
	if _, err := Database(nil, Signer{}, now); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("Database of nothing = %v; want fs.ErrInvalid", err)
	}
}
