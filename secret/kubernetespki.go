package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// BundleFromKubernetesPKI makes the bundle for a cluster that takes over the authorities of an existing
// one, from the directory where kubeadm keeps them (/etc/kubernetes/pki), handed in as fsys:
//
//	ca.crt  ca.key  front-proxy-ca.crt  front-proxy-ca.key  sa.key  etcd/ca.crt  etcd/ca.key
//
// All else is made anew, at the time now and from r as in [NewBundle], the bootstrap token only if the
// given one is zero. Every problem is reported, each with the name of its file; an authority that is not
// valid at now is one, and wraps ErrClock.
func BundleFromKubernetesPKI(fsys fs.FS, bootstrap Token, now time.Time, r io.Reader) (*Bundle, error) {
	var (
		b    = &Bundle{BootstrapToken: bootstrap}
		errs []error
	)

	for _, from := range []struct {
		name string
		to   **Authority
	}{
		{"ca", &b.Kubernetes},
		{"front-proxy-ca", &b.FrontProxy},
		{"etcd/ca", &b.Etcd},
	} {
		a, err := readAuthority(fsys, from.name, now)
		if err != nil {
			errs = append(errs, err)
		}

		*from.to = a
	}

	key, err := readKey(fsys, "sa.key")

	switch {
	case err != nil:
		errs = append(errs, err)
	case key.Kind() == Ed25519:
		errs = append(errs, errors.New("sa.key: Kubernetes signs with RSA or ECDSA only; found Ed25519"))
	}

	if err := errors.Join(errs...); err != nil {
		return nil, err
	}

	b.ServiceAccount = key

	if b.OS, err = NewAuthority(OS, now); err != nil {
		return nil, err
	}

	if err := b.fill(r); err != nil {
		return nil, err
	}

	return b, nil
}

// readAuthority reads name.crt and name.key.
func readAuthority(fsys fs.FS, name string, now time.Time) (*Authority, error) {
	certFile, keyFile := name+".crt", name+".key"

	certPEM, errCert := fs.ReadFile(fsys, certFile)
	if errCert == nil {
		if cert, err := ParseCertificate(certPEM); err != nil {
			errCert = fmt.Errorf("%s: %w", certFile, err)
		} else if err := CheckAuthority(cert); err != nil {
			errCert = fmt.Errorf("%s: %w", certFile, err)
		}
	}

	key, errKey := readKey(fsys, keyFile)
	if err := errors.Join(errCert, errKey); err != nil {
		return nil, err
	}

	a, err := ParseAuthority(certPEM, key.PEM())
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certFile, keyFile, err)
	}

	if err := a.CheckTime(now); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}

	return a, nil
}

// readKey reads one private key. The errors of fs.ReadFile name the file by themselves.
func readKey(fsys fs.FS, name string) (Key, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return Key{}, err
	}

	key, err := ParseKey(data)
	if err != nil {
		return Key{}, fmt.Errorf("%s: %w", name, err)
	}

	return key, nil
}
