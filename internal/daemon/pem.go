package daemon

import (
	"crypto/x509"
	"fmt"

	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// certificatesOf reads certificates in PEM.
func certificatesOf(in []secrets.Certificate) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for i, c := range in {
		certs, err := secret.ParseCertificates(c.Crt)
		if err != nil {
			return nil, fmt.Errorf("accepted authority %d: %w", i+1, err)
		}
		out = append(out, certs...)
	}
	return out, nil
}
