package secret

import (
	"errors"
	"fmt"
	"strings"
)

// Parts are the contents of a bundle as text, as machine configs carry them too: certificates and keys in
// PEM (not base64 of it), secrets in base64. From a set of Parts comes a checked [Bundle].
type Parts struct {
	ClusterID         string
	ClusterSecret     Text
	BootstrapToken    Text
	SecretboxSecret   Text
	AESCBCSecret      Text
	MachineToken      Text
	Etcd              PairParts
	Kubernetes        PairParts
	FrontProxy        PairParts
	OS                PairParts
	ServiceAccountKey Text
}

// PairParts are a certificate and its key, each in PEM.
type PairParts struct {
	Certificate string
	Key         Text
}

// Problem is one thing that is wrong with a bundle.
type Problem struct {
	// Path is the key within secrets.yaml, such as certs.etcd.key; empty for the document as a whole.
	Path string
	// Line counts from one; zero if there is none.
	Line int
	// Err is the cause. It never quotes a value.
	Err error
}

// Error returns line, path and cause.
func (p Problem) Error() string {
	var b strings.Builder

	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}

	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}

	return b.String() + p.Err.Error()
}

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// BundleError is every problem of a bundle, in the order of the file. It has at least one.
type BundleError []Problem

// Error returns one problem a line.
func (e BundleError) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.Error()
	}

	return strings.Join(lines, "\n")
}

// Unwrap returns the problems.
func (e BundleError) Unwrap() []error {
	errs := make([]error, len(e))
	for i, p := range e {
		errs[i] = p
	}

	return errs
}

func (e BundleError) orNil() error {
	if len(e) == 0 {
		return nil
	}

	return e
}

var errMissing = errors.New("missing")

// assembler collects problems while it builds a bundle.
type assembler struct {
	problems BundleError
	// skip holds paths with a problem of their own already, whose emptiness says nothing new.
	skip map[string]bool
}

func (a *assembler) add(path string, err error) {
	if !a.skip[path] {
		a.problems = append(a.problems, Problem{Path: path, Err: err})
	}
}

// BundleFromParts checks all parts and builds the bundle. Its error is a BundleError with every problem:
// missing or malformed parts, a certificate and a key that do not belong together, a certificate that is
// not an authority's. Validity in time is not checked: see [Bundle.Validate].
func BundleFromParts(p Parts) (*Bundle, error) {
	var a assembler

	b := a.assemble(p)
	if err := a.problems.orNil(); err != nil {
		return nil, err
	}

	return b, nil
}

// assemble goes through the parts in the order of the file.
func (a *assembler) assemble(p Parts) *Bundle {
	b := &Bundle{}

	b.ClusterID = a.keyText("cluster.id", NewText(p.ClusterID), KeySize).Reveal()
	b.ClusterSecret = a.keyText("cluster.secret", p.ClusterSecret, KeySize)
	b.BootstrapToken = a.token("secrets.bootstraptoken", p.BootstrapToken)

	switch {
	case p.SecretboxSecret.IsZero() && p.AESCBCSecret.IsZero():
		a.add("secrets.secretboxencryptionsecret", errMissing)
	case !p.SecretboxSecret.IsZero():
		b.SecretboxSecret = a.keyText("secrets.secretboxencryptionsecret", p.SecretboxSecret, KeySize)
	}

	if !p.AESCBCSecret.IsZero() {
		b.AESCBCSecret = a.keyText("secrets.aescbcencryptionsecret", p.AESCBCSecret, 16, 24, 32)
	}

	b.MachineToken = a.token("trustdinfo.token", p.MachineToken)
	b.Etcd = a.authority("certs.etcd", p.Etcd)
	b.Kubernetes = a.authority("certs.k8s", p.Kubernetes)
	b.FrontProxy = a.authority("certs.k8saggregator", p.FrontProxy)
	b.ServiceAccount = a.serviceAccount("certs.k8sserviceaccount.key", p.ServiceAccountKey)
	b.OS = a.authority("certs.os", p.OS)

	return b
}

func (a *assembler) keyText(path string, text Text, sizes ...int) Text {
	if text.IsZero() {
		a.add(path, errMissing)

		return Text{}
	}

	if _, err := DecodeKeyText(text.Reveal(), sizes...); err != nil {
		a.add(path, err)

		return Text{}
	}

	return text
}

func (a *assembler) token(path string, text Text) Token {
	if text.IsZero() {
		a.add(path, errMissing)

		return Token{}
	}

	token, err := ParseToken(text.Reveal())
	if err != nil {
		a.add(path, err)
	}

	return token
}

func (a *assembler) authority(path string, parts PairParts) *Authority {
	if parts.Certificate == "" {
		a.add(path+".crt", errMissing)
	} else if cert, err := ParseCertificate([]byte(parts.Certificate)); err != nil {
		a.add(path+".crt", err)
	} else if err := CheckAuthority(cert); err != nil {
		a.add(path+".crt", err)
	}

	if parts.Key.IsZero() {
		a.add(path+".key", errMissing)
	} else if _, err := ParseKey([]byte(parts.Key.Reveal())); err != nil {
		a.add(path+".key", err)
	}

	authority, err := ParseAuthority([]byte(parts.Certificate), []byte(parts.Key.Reveal()))
	if err == nil || a.has(path) {
		return authority
	}

	a.add(path, err) // each is sound; the two do not belong together

	return nil
}

func (a *assembler) serviceAccount(path string, text Text) Key {
	if text.IsZero() {
		a.add(path, errMissing)

		return Key{}
	}

	key, err := ParseKey([]byte(text.Reveal()))
	if err != nil {
		a.add(path, err)

		return Key{}
	}

	if key.Kind() == Ed25519 {
		a.add(path, errors.New("a service account signs with RSA or ECDSA only; found Ed25519"))
	}

	return key
}

// has reports whether there is a problem at path or below it.
func (a *assembler) has(path string) bool {
	for _, p := range a.problems {
		if strings.HasPrefix(p.Path+".", path+".") {
			return true
		}
	}

	return a.skip[path+".crt"] || a.skip[path+".key"]
}
