package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"go.yaml.in/yaml/v3"
)

// Bundle is everything secret that a cluster starts from: the file secrets.yaml. Who has it can join
// machines, become administrator and read the encrypted secrets of Kubernetes.
//
// A Bundle must not be changed while others use it; otherwise it is safe for concurrent use.
type Bundle struct {
	// ClusterID names the cluster towards a discovery service: base64 of KeySize bytes. Not secret.
	ClusterID string
	// ClusterSecret encrypts what members tell each other: base64 of KeySize bytes.
	ClusterSecret Text
	// BootstrapToken admits kubelets (cluster.token of the machine config).
	BootstrapToken Token
	// MachineToken admits machines to trustd (machine.token of the machine config).
	MachineToken Token
	// SecretboxSecret encrypts Kubernetes' secrets in etcd: base64 of KeySize bytes. It may be empty in
	// old bundles that have AESCBCSecret.
	SecretboxSecret Text
	// AESCBCSecret is the older form of the same: base64 of 16, 24 or 32 bytes, or empty.
	AESCBCSecret Text
	// Etcd, Kubernetes, FrontProxy and OS are the authorities.
	Etcd, Kubernetes, FrontProxy, OS *Authority
	// ServiceAccount signs the tokens of Kubernetes' service accounts: RSA 4096 in new bundles, RSA of
	// other sizes or ECDSA in older and imported ones.
	ServiceAccount Key
}

// NewBundle makes the secrets of a new cluster at the time now. Tokens and the like come from r, keys
// always from crypto/rand; nil means crypto/rand for all. It takes seconds, for the RSA key.
func NewBundle(now time.Time, r io.Reader) (*Bundle, error) {
	b := &Bundle{}

	if err := b.fill(r); err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}

	for _, authority := range []struct {
		kind AuthorityKind
		to   **Authority
	}{{OS, &b.OS}, {Etcd, &b.Etcd}, {Kubernetes, &b.Kubernetes}, {FrontProxy, &b.FrontProxy}} {
		a, err := NewAuthority(authority.kind, now)
		if err != nil {
			return nil, fmt.Errorf("new bundle: %w", err)
		}

		*authority.to = a
	}

	key, err := GenerateKey(RSA4096)
	if err != nil {
		return nil, fmt.Errorf("new bundle: %w", err)
	}

	b.ServiceAccount = key

	return b, nil
}

// fill makes every token and secret that is not there yet, always in the same order.
func (b *Bundle) fill(r io.Reader) error {
	if b.ClusterID == "" {
		id, err := newKeyText(r)
		if err != nil {
			return err
		}

		b.ClusterID = id
	}

	for _, text := range []*Text{&b.ClusterSecret, &b.SecretboxSecret} {
		if !text.IsZero() {
			continue
		}

		s, err := newKeyText(r)
		if err != nil {
			return err
		}

		*text = NewText(s)
	}

	for _, token := range []*Token{&b.BootstrapToken, &b.MachineToken} {
		if !token.IsZero() {
			continue
		}

		t, err := NewToken(r)
		if err != nil {
			return err
		}

		*token = t
	}

	return nil
}

// Validate checks that the bundle is complete and each part well formed. If now is not zero, it also
// checks that every authority is valid at that time; those problems wrap ErrClock. The error is a
// *BundleError with every problem.
func (b *Bundle) Validate(now time.Time) error {
	_, err := BundleFromParts(b.Parts())

	var problems BundleError
	if !errors.As(err, &problems) && err != nil {
		return err
	}

	if !now.IsZero() {
		for _, a := range b.authorities() {
			if a.authority == nil || a.authority.pair.IsZero() {
				continue // reported above
			}

			if err := a.authority.CheckTime(now); err != nil {
				problems = append(problems, Problem{Path: a.path, Err: err})
			}
		}
	}

	return problems.orNil()
}

type namedAuthority struct {
	path      string
	authority *Authority
}

func (b *Bundle) authorities() []namedAuthority {
	return []namedAuthority{
		{"certs.etcd", b.Etcd},
		{"certs.k8s", b.Kubernetes},
		{"certs.k8saggregator", b.FrontProxy},
		{"certs.os", b.OS},
	}
}

// Parts returns the textual form of every part that is there.
func (b *Bundle) Parts() Parts {
	return Parts{
		ClusterID:         b.ClusterID,
		ClusterSecret:     b.ClusterSecret,
		BootstrapToken:    NewText(b.BootstrapToken.Reveal()),
		SecretboxSecret:   b.SecretboxSecret,
		AESCBCSecret:      b.AESCBCSecret,
		MachineToken:      NewText(b.MachineToken.Reveal()),
		Etcd:              partsOf(b.Etcd),
		Kubernetes:        partsOf(b.Kubernetes),
		FrontProxy:        partsOf(b.FrontProxy),
		OS:                partsOf(b.OS),
		ServiceAccountKey: NewText(string(b.ServiceAccount.PEM())),
	}
}

func partsOf(a *Authority) PairParts {
	if a == nil {
		return PairParts{}
	}

	return PairParts{Certificate: string(a.CertificatePEM()), Key: NewText(string(a.Key().PEM()))}
}

// bundleFile is the form of secrets.yaml, as the public client writes it.
type bundleFile struct {
	Cluster struct {
		ID     string `yaml:"id"`
		Secret string `yaml:"secret"`
	} `yaml:"cluster"`
	Secrets struct {
		BootstrapToken            string `yaml:"bootstraptoken"`
		SecretboxEncryptionSecret string `yaml:"secretboxencryptionsecret,omitempty"`
		AESCBCEncryptionSecret    string `yaml:"aescbcencryptionsecret,omitempty"`
	} `yaml:"secrets"`
	TrustdInfo struct {
		Token string `yaml:"token"`
	} `yaml:"trustdinfo"`
	Certs struct {
		Etcd              bundlePair `yaml:"etcd"`
		K8s               bundlePair `yaml:"k8s"`
		K8sAggregator     bundlePair `yaml:"k8saggregator"`
		K8sServiceAccount struct {
			Key string `yaml:"key"`
		} `yaml:"k8sserviceaccount"`
		OS bundlePair `yaml:"os"`
	} `yaml:"certs"`
}

type bundlePair struct {
	Crt string `yaml:"crt"`
	Key string `yaml:"key"`
}

// Marshal returns the bundle as secrets.yaml: all private material in the clear, certificates and keys as
// base64 of PEM, indented by four, always the same for the same bundle. It fails, with the error of
// Validate, on a bundle that LoadBundle would refuse.
func (b *Bundle) Marshal() ([]byte, error) {
	if err := b.Validate(time.Time{}); err != nil {
		return nil, fmt.Errorf("marshal bundle: %w", err)
	}

	var file bundleFile

	file.Cluster.ID = b.ClusterID
	file.Cluster.Secret = b.ClusterSecret.Reveal()
	file.Secrets.BootstrapToken = b.BootstrapToken.Reveal()
	file.Secrets.SecretboxEncryptionSecret = b.SecretboxSecret.Reveal()
	file.Secrets.AESCBCEncryptionSecret = b.AESCBCSecret.Reveal()
	file.TrustdInfo.Token = b.MachineToken.Reveal()
	file.Certs.Etcd = filePair(b.Etcd)
	file.Certs.K8s = filePair(b.Kubernetes)
	file.Certs.K8sAggregator = filePair(b.FrontProxy)
	file.Certs.K8sServiceAccount.Key = base64.StdEncoding.EncodeToString(b.ServiceAccount.PEM())
	file.Certs.OS = filePair(b.OS)

	var out bytes.Buffer

	enc := yaml.NewEncoder(&out)
	enc.SetIndent(4)

	if err := errors.Join(enc.Encode(&file), enc.Close()); err != nil {
		return nil, fmt.Errorf("marshal bundle: %w", err)
	}

	return out.Bytes(), nil
}

func filePair(a *Authority) bundlePair {
	return bundlePair{
		Crt: base64.StdEncoding.EncodeToString(a.CertificatePEM()),
		Key: base64.StdEncoding.EncodeToString(a.Key().PEM()),
	}
}
