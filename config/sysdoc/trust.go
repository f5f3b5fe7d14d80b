package sysdoc

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// TrustedRootsConfig adds certificate authorities to those that the system trusts for TLS, such as your own of a
// registry or a proxy.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: TrustedRootsConfig
//	name: company
//	certificates: |
//	    -----BEGIN CERTIFICATE-----
//	    MIIBiDCCAS+gAwIBAgIQUMAoO0uQ+s/2ck50KXVMATAKBggqhkjOPQQDAjAVMRMw
//	    EQYDVQQKEwprdWJlcm5ldGVzMB4XDTI2MTEyMzA0MDkwNFoXDTM2MTEyMDA0MDkw
//	    NFowFTETMBEGA1UEChMKa3ViZXJuZXRlczBZMBMGByqGSM49AgEGCCqGSM49AwEH
//	    A0IABEZuy9gu8VxOsv+D4bgRSIl1asV1SkQTeTyPkNkKntqdxUn0yLbIgPUjYGji
//	    sKgClAhrU8LDtlsw/YvuuW6QGzCjYTBfMA4GA1UdDwEB/wQEAwIChDAdBgNVHSUE
//	    FjAUBggrBgEFBQcDAQYIKwYBBQUHAwIwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4E
//	    FgQUY8ujmoKAN6tFS1upRQEn9QI3zLcwCgYIKoZIzj0EAwIDRwAwRAIgPHXC/u7X
//	    NXuPii9WduU28LGI+stTOFxKWnHlVcvG/10CIE2SfUqnJHFIJ8Cz+yWb7ElLNbQd
//	    /y9MAXXxxl1d4Dtq
//	    -----END CERTIFICATE-----
type TrustedRootsConfig struct {
	// Name tells the documents apart.
	Name string `yaml:"name" required:"true"`
	// Certificates are the authorities' certificates in PEM, one after the other.
	Certificates scalar.CertPEM `yaml:"certificates" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*TrustedRootsConfig) DocumentKind() string { return "TrustedRootsConfig" }

// DocumentName implements [schema.NamedDocument].
func (c *TrustedRootsConfig) DocumentName() string { return c.Name }

// Validate implements [schema.Validator].
func (c *TrustedRootsConfig) Validate(r *schema.Reporter) {
	checkName(c.Name, "company", r.At("name"))
	certs, _ := c.Certificates.Certificates()
	for i, cert := range certs {
		if !cert.IsCA && cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) != nil {
			r.At("certificates").Warnf("give the certificate of the authority that signed it",
				"certificate %d belongs to no authority; it is trusted for itself only", i+1)
		}
	}
}

// ImageVerificationConfig says which container images may be pulled: those signed with a given key. It is asked when an image
// is pulled, by the machine itself or for a pod; one that is there already may be used.
//
// Example:
//
//	apiVersion: v1alpha1
//	kind: ImageVerificationConfig
//	rules:
//	    - image: registry.example.com/team/*
//	      publicKey:
//	        certificate: |
//	            -----BEGIN PUBLIC KEY-----
//	            MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERm7L2C7xXE6y/4PhuBFIiXVqxXVK
//	            RBN5PI+Q2Qqe2p3FSfTItsiA9SNgaOKwqAKUCGtTwsO2WzD9i+65bpAbMA==
//	            -----END PUBLIC KEY-----
//	    - image: "*"
//	      skip: true
type ImageVerificationConfig struct {
	// Rules are tried in their order; the first whose pattern matches an image decides. An image that none matches may
	// run.
	//
	// Example:
	//
	//	rules:
	//	    - image: registry.example.com/untrusted/*
	//	      deny: true
	Rules []ImageVerificationRule `yaml:"rules"`
}

// ImageVerificationRule says what is asked of the images that match a pattern: exactly one of skip, deny, keyless and
// publicKey is set.
type ImageVerificationRule struct {
	// Image is a pattern of image references, in which "*" stands for any characters. It is matched with the full name alone and
	// with its tag or, if the image is asked for by it, its digest.
	//
	// Example:
	//
	//	image: registry.example.com/team/*
	Image string `yaml:"image" required:"true"`
	// Skip lets the images run without a signature.
	Skip bool `yaml:"skip"`
	// Deny keeps the images from running.
	Deny bool `yaml:"deny"`
	// Keyless asks for a signature by an identity, as Sigstore makes them. This version verifies signatures by key only, so
	// images of such a rule are refused.
	Keyless *KeylessVerifier `yaml:"keyless"`
	// PublicKey asks for a signature by a key.
	PublicKey *PublicKeyVerifier `yaml:"publicKey"`
}

// KeylessVerifier is the identity that must have signed: exactly one of subject and subjectRegex is set.
type KeylessVerifier struct {
	// Issuer is the URL of the OpenID Connect provider that knows the identity.
	Issuer scalar.HTTPSURL `yaml:"issuer" required:"true"`
	// Subject is the identity, such as an e-mail address or the URL of a workflow.
	Subject string `yaml:"subject"`
	// SubjectRegex is a regular expression (RE2) that the identity matches.
	//
	// Example:
	//
	//	subjectRegex: ^https://github\.com/example/.+$
	SubjectRegex string `yaml:"subjectRegex"`
}

// PublicKeyVerifier is the key that must have signed.
type PublicKeyVerifier struct {
	// Certificate is the public key, or a certificate with it, in PEM.
	Certificate VerifyingKeyPEM `yaml:"certificate" required:"true"`
}

// DocumentKind implements [schema.Document].
func (*ImageVerificationConfig) DocumentKind() string { return "ImageVerificationConfig" }

// Validate implements [schema.Validator].
func (c *ImageVerificationConfig) Validate(r *schema.Reporter) {
	all := -1
	for i, rule := range c.Rules {
		if all >= 0 {
			r.At("rules").Item(i).Warnf("put it before", "rule %d matches every image: this one is never reached", all+1)
		}
		if all < 0 && (rule.Image == "*" || rule.Image == "**") {
			all = i
		}
	}
}

// Validate implements [schema.Validator].
func (c *ImageVerificationRule) Validate(r *schema.Reporter) {
	if c.Image == "" || strings.ContainsAny(c.Image, " \t\r\n\x00") {
		r.At("image").Errorf("expected a pattern such as registry.example.com/team/*, got %q", clip(c.Image))
	}
	var got []string
	for _, action := range []struct {
		name string
		set  bool
	}{{"skip", c.Skip}, {"deny", c.Deny}, {"keyless", c.Keyless != nil}, {"publicKey", c.PublicKey != nil}} {
		if action.set {
			got = append(got, action.name)
		}
	}
	switch len(got) {
	case 1:
	case 0:
		r.Errorf("expected exactly one of skip, deny, keyless, publicKey, got none")
	default:
		r.Errorf("expected exactly one of skip, deny, keyless, publicKey, got %s", strings.Join(got, " and "))
	}
}

// Validate implements [schema.Validator].
func (c *KeylessVerifier) Validate(r *schema.Reporter) {
	if (c.Subject == "") == (c.SubjectRegex == "") {
		r.Errorf("expected exactly one of subject and subjectRegex")
		return
	}
	if _, err := regexp.Compile(c.SubjectRegex); err != nil {
		r.At("subjectRegex").Errorf("expected a regular expression (RE2), got %q: %v", clip(c.SubjectRegex), err)
	}
}

// VerifyingKeyPEM is one public key in PEM, alone ("PUBLIC KEY", RFC 7468 §13) or in a certificate, as it was written.
type VerifyingKeyPEM string

// Expects implements [schema.Text].
func (VerifyingKeyPEM) Expects() string {
	return "a public key or a certificate in PEM (-----BEGIN PUBLIC KEY-----)"
}

// UnmarshalText checks that text is one key that can verify signatures.
func (k *VerifyingKeyPEM) UnmarshalText(text []byte) error {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return errors.New("there is no PEM block in it")
	case strings.TrimSpace(string(rest)) != "":
		return errors.New("something follows the PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return fmt.Errorf("the PEM block is a %q", block.Type)
	}
	if err != nil {
		return err
	}
	switch key.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		*k = VerifyingKeyPEM(text)
		return nil
	}
	return fmt.Errorf("a %T cannot verify signatures", key)
}

// MarshalText prints k.
func (k VerifyingKeyPEM) MarshalText() ([]byte, error) { return []byte(k), nil }
