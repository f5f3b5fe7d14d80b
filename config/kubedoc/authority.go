package kubedoc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// Authority is a certificate authority with the key that it signs with.
type Authority struct {
	// Cert is the authority's certificate in PEM.
	Cert scalar.CertPEM `yaml:"cert"`
	// Key is the private key in PEM that belongs to the certificate. Only control plane nodes have it.
	Key scalar.KeyPEM `yaml:"key" secret:"true"`
}

// Validate implements [schema.Validator].
func (c *Authority) Validate(r *schema.Reporter) {
	certs, err := c.Cert.Certificates()
	switch {
	case err != nil:
		r.At("cert").Errorf("expected %s: %v", c.Cert.Expects(), err)
		return
	case len(certs) == 0:
		r.Errorf("the key %q is required", "cert")
		return
	}
	checkAuthority(certs[0], r.At("cert"))
	if c.Key == "" {
		return
	}
	key, err := parseKey(string(c.Key))
	if err != nil {
		r.At("key").Errorf("expected %s: %v", c.Key.Expects(), err)
		return
	}
	public, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		r.At("key").Hintf("take both from the same authority", "the key does not belong to the certificate")
	}
}

// checkAuthority reports a certificate that may not sign others (RFC 5280 §4.2.1.9 and §4.2.1.3).
func checkAuthority(cert *x509.Certificate, r *schema.Reporter) {
	switch {
	case !cert.BasicConstraintsValid || !cert.IsCA:
		r.Hintf("give the authority's certificate, not one that it signed", "expected the certificate of an authority (CA:TRUE)")
	case cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0:
		r.Errorf("the certificate's key usage does not allow it to sign certificates")
	}
}

// checkAccepted reports certificates in list that belong to no authority.
func checkAccepted(list []scalar.CertPEM, r *schema.Reporter) {
	for i, c := range list {
		certs, err := c.Certificates()
		if err != nil || len(certs) == 0 {
			r.Item(i).Errorf("expected %s, got nothing that parses", c.Expects())
			continue
		}
		for _, cert := range certs {
			checkAuthority(cert, r.Item(i))
		}
	}
}

// parseKey parses a private key in PEM, in any of the forms that [scalar.KeyPEM] accepts.
func parseKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("there is no PEM block in it")
	}
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("it does not parse")
}

// KubeAPIServerCAConfig has the certificate authority of the Kubernetes API: of its servers and of its clients.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAPIServerCAConfig
//	acceptedCAs:
//	    - |
//	        -----BEGIN CERTIFICATE-----
//	        MIIBiDCCAS+gAwIBAgIQUMAoO0uQ+s/2ck50KXVMATAKBggqhkjOPQQDAjAVMRMw
//	        EQYDVQQKEwprdWJlcm5ldGVzMB4XDTI2MTEyMzA0MDkwNFoXDTM2MTEyMDA0MDkw
//	        NFowFTETMBEGA1UEChMKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqGSM49AwEH
//	        A0IABEZuy9gu8VxOsv+D4bgRSIl1asV1SkQTeTyPkNkKntqdxUn0yLbIgPUjYGji
//	        sKgClAhrU8LDtlsw/YvuuW6QGzCjYTBfMA4GA1UdDwEB/wQEAwIChDAdBgNVHSUE
//	        FjAUBggrBgEFBQcDAQYIKwYBBQUHAwIwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4E
//	        FgQUY8ujmoKAN6tFS1upRQEn9QI3zLcwCgYIKoZIzj0EAwIDRwAwRAIgPHXC/u7X
//	        NXuPii9WduU28LGI+stTOFxKWnHlVcvG/10CIE2SfUqnJHFIJ8Cz+yWb7ElLNbQd
//	        /y9MAXXxxl1d4Dtq
//	        -----END CERTIFICATE-----
type KubeAPIServerCAConfig struct {
	// IssuingCA is the authority that signs; control plane nodes have it.
	IssuingCA *Authority `yaml:"issuingCA"`
	// AcceptedCAs are more authorities whose certificates are trusted, each in PEM: on a worker the cluster's own, and on
	// all machines the other one while an authority is being replaced.
	AcceptedCAs []scalar.CertPEM `yaml:"acceptedCAs"`
}

// DocumentKind implements [schema.Document].
func (*KubeAPIServerCAConfig) DocumentKind() string { return "KubeAPIServerCAConfig" }

// Validate implements [schema.Validator].
func (c *KubeAPIServerCAConfig) Validate(r *schema.Reporter) {
	checkAccepted(c.AcceptedCAs, r.At("acceptedCAs"))
	if c.IssuingCA == nil && len(c.AcceptedCAs) == 0 {
		r.Errorf("expected issuingCA or acceptedCAs, or both")
	}
}

// KubeAggregatorCAConfig has the certificate authority of the aggregation layer: with its certificates the API server
// proves itself to extension API servers such as metrics-server.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeAggregatorCAConfig
//	acceptedCAs:
//	    - |
//	        -----BEGIN CERTIFICATE-----
//	        MIIBiDCCAS+gAwIBAgIQUMAoO0uQ+s/2ck50KXVMATAKBggqhkjOPQQDAjAVMRMw
//	        EQYDVQQKEwprdWJlcm5ldGVzMB4XDTI2MTEyMzA0MDkwNFoXDTM2MTEyMDA0MDkw
//	        NFowFTETMBEGA1UEChMKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqGSM49AwEH
//	        A0IABEZuy9gu8VxOsv+D4bgRSIl1asV1SkQTeTyPkNkKntqdxUn0yLbIgPUjYGji
//	        sKgClAhrU8LDtlsw/YvuuW6QGzCjYTBfMA4GA1UdDwEB/wQEAwIChDAdBgNVHSUE
//	        FjAUBggrBgEFBQcDAQYIKwYBBQUHAwIwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4E
//	        FgQUY8ujmoKAN6tFS1upRQEn9QI3zLcwCgYIKoZIzj0EAwIDRwAwRAIgPHXC/u7X
//	        NXuPii9WduU28LGI+stTOFxKWnHlVcvG/10CIE2SfUqnJHFIJ8Cz+yWb7ElLNbQd
//	        /y9MAXXxxl1d4Dtq
//	        -----END CERTIFICATE-----
type KubeAggregatorCAConfig struct {
	// IssuingCA is the authority that signs.
	IssuingCA *Authority `yaml:"issuingCA"`
	// AcceptedCAs are more authorities whose certificates are trusted, each in PEM: the other one while an authority is
	// being replaced.
	AcceptedCAs []scalar.CertPEM `yaml:"acceptedCAs"`
}

// DocumentKind implements [schema.Document].
func (*KubeAggregatorCAConfig) DocumentKind() string { return "KubeAggregatorCAConfig" }

// Validate implements [schema.Validator].
func (c *KubeAggregatorCAConfig) Validate(r *schema.Reporter) {
	checkAccepted(c.AcceptedCAs, r.At("acceptedCAs"))
	if c.IssuingCA == nil && len(c.AcceptedCAs) == 0 {
		r.Errorf("expected issuingCA or acceptedCAs, or both")
	}
}

// KubeServiceAccountConfig has the keys with which tokens of Kubernetes service accounts are signed and checked.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: KubeServiceAccountConfig
//	issuer:
//	    privateKey: |
//	        -----BEGIN EC PRIVATE KEY-----
//	        MHcCAQEEINIkGjttS3lkx/lO0I+zHqUOTA96g9sqpug8BfUQNgSroAoGCCqGSM49
//	        AwEHoUQDQgAERm7L2C7xXE6y/4PhuBFIiXVqxXVKRBN5PI+Q2Qqe2p3FSfTItsiA
//	        9SNgaOKwqAKUCGtTwsO2WzD9i+65bpAbMA==
//	        -----END EC PRIVATE KEY-----
//	    issuerURL: https://10.5.0.2:6443
type KubeServiceAccountConfig struct {
	// Issuer signs new tokens.
	Issuer *ServiceAccountIssuer `yaml:"issuer" required:"true"`
	// Accepted are keys, issuers and audiences of tokens that are accepted besides the issuer's own, such as the former
	// ones after a change. Left out, only the issuer's own tokens are accepted.
	Accepted *AcceptedServiceAccounts `yaml:"accepted"`
}

// ServiceAccountIssuer signs tokens of service accounts.
type ServiceAccountIssuer struct {
	// PrivateKey is the signing key in PEM: RSA, or ECDSA on P-256, P-384 or P-521.
	PrivateKey scalar.KeyPEM `yaml:"privateKey" required:"true" secret:"true"`
	// IssuerURL is the issuer that new tokens name, in most clusters the cluster's endpoint.
	IssuerURL scalar.HTTPURL `yaml:"issuerURL" required:"true"`
}

// AcceptedServiceAccounts are the tokens that are accepted besides the issuer's own.
type AcceptedServiceAccounts struct {
	// PublicKeys are more keys, in PEM, that a token may be signed with: those that belong to former private keys.
	//
	// Example:
	//
	//	publicKeys:
	//	    - |
	//	        -----BEGIN PUBLIC KEY-----
	//	        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERm7L2C7xXE6y/4PhuBFIiXVqxXVK
	//	        RBN5PI+Q2Qqe2p3FSfTItsiA9SNgaOKwqAKUCGtTwsO2WzD9i+65bpAbMA==
	//	        -----END PUBLIC KEY-----
	PublicKeys []PublicKeyPEM `yaml:"publicKeys"`
	// Issuers are more issuers that a token may name.
	//
	// Example:
	//
	//	issuers:
	//	    - https://old.example.com:6443
	Issuers []scalar.HTTPURL `yaml:"issuers"`
	// Audiences are the audiences that a token may be for, of which it needs one. Left out, they are the issuers.
	//
	// Example:
	//
	//	audiences:
	//	    - https://10.5.0.2:6443
	Audiences []string `yaml:"audiences"`
}

// DocumentKind implements [schema.Document].
func (*KubeServiceAccountConfig) DocumentKind() string { return "KubeServiceAccountConfig" }

// Validate implements [schema.Validator].
func (c *ServiceAccountIssuer) Validate(r *schema.Reporter) {
	key, err := parseKey(string(c.PrivateKey))
	if err != nil {
		r.At("privateKey").Errorf("expected %s: %v", c.PrivateKey.Expects(), err)
		return
	}
	if err := tokenKey(key.Public()); err != nil {
		r.At("privateKey").Errorf("%v", err)
	}
}

// Validate implements [schema.Validator].
func (c *AcceptedServiceAccounts) Validate(r *schema.Reporter) {
	for i, a := range c.Audiences {
		if strings.TrimSpace(a) == "" {
			r.At("audiences").Item(i).Errorf("expected an audience such as https://10.5.0.2:6443, got nothing")
		}
	}
}

// leastTokenBits is the size below which an RSA key is refused by Go's own TLS and JOSE libraries.
const leastTokenBits = 2048

// tokenKey reports a key that Kubernetes cannot sign or check tokens with.
func tokenKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < leastTokenBits {
			return fmt.Errorf("the RSA key has %d bits; at least %d are needed", k.N.BitLen(), leastTokenBits)
		}
		return nil
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256, 384, 521:
			return nil
		}
		return fmt.Errorf("the ECDSA key is on the curve %s; expected P-256, P-384 or P-521", k.Curve.Params().Name)
	case ed25519.PublicKey:
		return errors.New("expected an RSA or ECDSA key, got an Ed25519 key")
	default:
		return fmt.Errorf("expected an RSA or ECDSA key, got a %T", key)
	}
}

// PublicKeyPEM is one or more public keys in PEM, RSA or ECDSA, as they were written: SubjectPublicKeyInfo
// ("PUBLIC KEY"), PKCS #1 ("RSA PUBLIC KEY"), or a certificate's.
type PublicKeyPEM string

// Expects implements [schema.Text].
func (PublicKeyPEM) Expects() string { return "a public key in PEM (-----BEGIN PUBLIC KEY-----)" }

// UnmarshalText checks that each block of text is a public key.
func (k *PublicKeyPEM) UnmarshalText(text []byte) error {
	n := 0
	for rest := text; ; n++ {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && n == 0:
			return errors.New("there is no PEM block in it")
		case block == nil && strings.TrimSpace(string(rest)) != "":
			return errors.New("there is something other than PEM blocks in it")
		case block == nil:
			*k = PublicKeyPEM(text)
			return nil
		}
		key, err := publicKey(block)
		if err != nil {
			return err
		}
		if err := tokenKey(key); err != nil {
			return err
		}
	}
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	default:
		return nil, fmt.Errorf("the PEM block is a %q", block.Type)
	}
}

// MarshalText prints k.
func (k PublicKeyPEM) MarshalText() ([]byte, error) { return []byte(k), nil }
