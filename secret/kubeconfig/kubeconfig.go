package kubeconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"

	"go.yaml.in/yaml/v3"

	"talos.internal/secret"
)

// Spec is a kubeconfig with one cluster, one user and one context, which is current.
type Spec struct {
	// Cluster, User and Context are the names of the entries. None may be empty.
	Cluster, User, Context string
	// Namespace is the context's; empty leaves it out, which means "default".
	Namespace string
	// Server is the address of the API server: https://host:port.
	Server string
	// CA are the authorities by which the server is known: several during a rotation, at least one.
	CA []*x509.Certificate
	// Client proves who the user is.
	Client secret.Pair
}

// Admin is the kubeconfig of an administrator, with the names that the public client gives: the cluster's
// own, and admin@<cluster> for user and context.
func Admin(cluster, server string, ca []*x509.Certificate, client secret.Pair) Spec {
	name := "admin@" + cluster

	return Spec{
		Cluster: cluster, User: name, Context: name, Namespace: "default",
		Server: server, CA: ca, Client: client,
	}
}

type file struct {
	APIVersion     string         `yaml:"apiVersion"`
	Kind           string         `yaml:"kind"`
	Clusters       []namedCluster `yaml:"clusters"`
	Users          []namedUser    `yaml:"users"`
	Contexts       []namedContext `yaml:"contexts"`
	CurrentContext string         `yaml:"current-context"`
}

type namedCluster struct {
	Name    string  `yaml:"name"`
	Cluster cluster `yaml:"cluster"`
}

type cluster struct {
	Server                   string `yaml:"server"`
	CertificateAuthorityData string `yaml:"certificate-authority-data"`
}

type namedUser struct {
	Name string `yaml:"name"`
	User user   `yaml:"user"`
}

type user struct {
	ClientCertificateData string `yaml:"client-certificate-data"`
	ClientKeyData         string `yaml:"client-key-data"`
}

type namedContext struct {
	Name    string  `yaml:"name"`
	Context context `yaml:"context"`
}

type context struct {
	Cluster   string `yaml:"cluster"`
	Namespace string `yaml:"namespace,omitempty"`
	User      string `yaml:"user"`
}

// Marshal returns the file's text, always the same for the same Spec. It has the private key in the clear.
// The error names every field that is missing or malformed.
func (s Spec) Marshal() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("make kubeconfig: %w", err)
	}

	encode := base64.StdEncoding.EncodeToString

	return marshal(file{
		APIVersion: "v1",
		Kind:       "Config",
		Clusters: []namedCluster{{Name: s.Cluster, Cluster: cluster{
			Server:                   s.Server,
			CertificateAuthorityData: encode(secret.CertificatesPEM(s.CA...)),
		}}},
		Users: []namedUser{{Name: s.User, User: user{
			ClientCertificateData: encode(s.Client.CertificatePEM()),
			ClientKeyData:         encode(s.Client.Key().PEM()),
		}}},
		Contexts: []namedContext{{Name: s.Context, Context: context{
			Cluster: s.Cluster, Namespace: s.Namespace, User: s.User,
		}}},
		CurrentContext: s.Context,
	})
}

// Client returns the client certificate of the current context of a kubeconfig, which must have it inline.
//
// The error names what is missing and quotes no credentials.
func Client(data []byte) (secret.Pair, error) {
	var f file
	if err := yaml.Unmarshal(data, &f); err != nil {
		return secret.Pair{}, errors.New("read kubeconfig: it is not a kubeconfig in YAML")
	}

	for _, c := range f.Contexts {
		if c.Name != f.CurrentContext {
			continue
		}

		for _, u := range f.Users {
			if u.Name != c.Context.User {
				continue
			}

			cert, err1 := base64.StdEncoding.DecodeString(u.User.ClientCertificateData)
			key, err2 := base64.StdEncoding.DecodeString(u.User.ClientKeyData)

			if err1 != nil || err2 != nil {
				return secret.Pair{}, fmt.Errorf("read kubeconfig: the certificate or key of user %q is not base64", u.Name)
			}

			pair, err := secret.ParsePair(cert, key)
			if err != nil {
				return secret.Pair{}, fmt.Errorf("read kubeconfig: user %q: %w", u.Name, err)
			}

			return pair, nil
		}
	}

	return secret.Pair{}, fmt.Errorf("read kubeconfig: no user of the current context %q", f.CurrentContext)
}

func (s Spec) validate() error {
	var errs []error

	for _, name := range []struct{ field, value string }{
		{"cluster", s.Cluster}, {"user", s.User}, {"context", s.Context},
	} {
		if name.value == "" {
			errs = append(errs, fmt.Errorf("no name of the %s", name.field))
		}
	}

	if u, err := url.Parse(s.Server); err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		errs = append(errs, errors.New("server: want https://host:port"))
	}

	if len(s.CA) == 0 {
		errs = append(errs, errors.New("no certificate of an authority"))
	}

	if s.Client.IsZero() {
		errs = append(errs, errors.New("no client certificate"))
	}

	return errors.Join(errs...)
}

// marshal indents as kubectl does.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer

	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()

	if err := errors.Join(enc.Encode(v), enc.Close()); err != nil {
		return nil, fmt.Errorf("encode kubeconfig: %w", err)
	}

	return out.Bytes(), nil
}
