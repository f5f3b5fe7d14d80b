package talosconfig

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"talos.internal/secret"
)

// Material is what a TLS connection of a context needs.
type Material struct {
	// CA are the authorities that may vouch for a server; nil if the context names none, which leaves it
	// to the system's.
	CA []*x509.Certificate
	// Client proves who the client is; zero if the context has no certificate and no key.
	Client secret.Pair
}

// Material decodes the credentials. The error joins every problem, each with its key: broken base64 or
// PEM, an authority that is none, a certificate without key or the reverse, the two not belonging together.
func (c *Context) Material() (Material, error) {
	var (
		m    Material
		errs []error
	)

	if c.CA != "" {
		ca, err := decode("ca", c.CA, secret.ParseCertificates)
		for _, cert := range ca {
			err = errors.Join(err, inKey("ca", secret.CheckAuthority(cert)))
		}

		m.CA = ca
		errs = append(errs, err)
	}

	switch {
	case c.Crt == "" && c.Key.IsZero():
	case c.Crt == "":
		errs = append(errs, errors.New("crt: missing, but there is a key"))
	case c.Key.IsZero():
		errs = append(errs, errors.New("key: missing, but there is a crt"))
	default:
		cert, errCert := decode("crt", c.Crt, secret.ParseCertificate)
		key, errKey := decode("key", c.Key.Reveal(), secret.ParseKey)
		errs = append(errs, errCert, errKey)

		if errCert == nil && errKey == nil {
			pair, err := secret.NewPair(cert, key)
			m.Client = pair
			errs = append(errs, inKey("crt and key", err))
		}
	}

	if err := errors.Join(errs...); err != nil {
		return Material{}, err
	}

	return m, nil
}

// Identity is what the client certificate says of its owner.
type Identity struct {
	// Roles in the order of the certificate.
	Roles []string
	// NotBefore and NotAfter bound the certificate's validity.
	NotBefore, NotAfter time.Time
}

// Identity reads the client certificate; the key may be missing or broken. It is the zero Identity if the
// context has no certificate.
func (c *Context) Identity() (Identity, error) {
	if c.Crt == "" {
		return Identity{}, nil
	}

	cert, err := decode("crt", c.Crt, secret.ParseCertificate)
	if err != nil {
		return Identity{}, err
	}

	return Identity{Roles: secret.Roles(cert), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter}, nil
}

// decode reads base64 of PEM.
func decode[T any](key, text string, parse func([]byte) (T, error)) (T, error) {
	var none T

	pem, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return none, fmt.Errorf("%s: not base64: %w", key, err)
	}

	value, err := parse(pem)
	if err != nil {
		return none, inKey(key, err)
	}

	return value, nil
}

func inKey(key string, err error) error {
	if err == nil {
		return nil
	}

	return fmt.Errorf("%s: %w", key, err)
}
