package kubeletctrl

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/resource/secrets"
	"talos.internal/secret"
)

// prepare writes the files for a run of kubelet, and takes away credentials that are of no use any more. What it decides it tells
// the log.
func prepare(r run, d Deps, now time.Time, log io.Writer) error {
	if err := writeFiles(r, d, now, log); err != nil {
		return fmt.Errorf("write the files of kubelet: %w", err)
	}
	for _, m := range r.spec.ExtraMounts {
		if m.Type == "" || m.Type == "bind" {
			if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
				if err := os.MkdirAll(m.Source, 0o700); err != nil {
					return fmt.Errorf("make the directory that kubelet mounts at %s: %w", m.Destination, err)
				}
			}
		}
	}
	return nil
}

func writeFiles(r run, d Deps, now time.Time, log io.Writer) error {
	for _, dir := range []string{d.Etc, filepath.Dir(d.caFile()), d.Root, d.pki(), d.Resolved} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	cas := authorities(r.keys)
	if err := replace(d.caFile(), cas, 0o644); err != nil {
		return err
	}
	if err := writeYAML(d.configFile(), r.spec.Config); err != nil {
		return err
	}
	if len(r.spec.CredentialProviderConfig) > 0 {
		if err := writeYAML(d.credentialsFile(), r.spec.CredentialProviderConfig); err != nil {
			return err
		}
	}
	if err := writeYAML(d.bootstrapFile(), kubeconfig(r.keys, cas, object{
		"token": r.keys.BootstrapTokenID + "." + r.keys.BootstrapTokenSecret,
	})); err != nil {
		return err
	}
	joined := true
	if why := usable(d.clientCertFile(), r.spec.ExpectedNodename, cas, now); why != nil {
		how := "kubelet asks for a certificate with the bootstrap token"
		if r.issuer.Key != nil {
			how = "kubelet is given a certificate by the cluster's authority"
		}
		if !errors.Is(why, fs.ErrNotExist) {
			_, _ = fmt.Fprintf(log, "%s: %v\n", how, why)
		}
		if err := removeAll(d.kubeconfigFile(), d.clientCertFile()); err != nil {
			return err
		}
		if joined = r.issuer.Key != nil; joined {
			if err := issue(r.issuer, r.spec.ExpectedNodename, d.clientCertFile(), now); err != nil {
				return err
			}
		}
	}
	if joined {
		// kubelet would write the kubeconfig once, and keep an address and authorities that are not the cluster's any more.
		if err := writeYAML(d.kubeconfigFile(), kubeconfig(r.keys, cas, object{
			"client-certificate": d.clientCertFile(), "client-key": d.clientCertFile(),
		})); err != nil {
			return err
		}
	}
	// kubelet makes this one itself, for the name that it has at the time, and never looks at it again.
	if err := serves(d.servingCertFile(), r.spec.ExpectedNodename, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_, _ = fmt.Fprintf(log, "kubelet makes its own certificate anew: %v\n", err)
		return removeAll(d.servingCertFile(), d.pki()+"/kubelet.key")
	}
	return nil
}

// authorities are those of the cluster in PEM.
func authorities(keys secrets.Kubelet) []byte {
	var out []byte
	for _, ca := range keys.AcceptedCAs {
		out = append(append(out, bytes.TrimSpace(ca.Crt)...), '\n')
	}
	return out
}

// kubeconfig leads to the cluster as user.
func kubeconfig(keys secrets.Kubelet, cas []byte, user object) object {
	cluster := object{"server": keys.Endpoint.String(), "certificate-authority-data": base64.StdEncoding.EncodeToString(cas)}
	if keys.EndpointTLSServerName != "" {
		cluster["tls-server-name"] = keys.EndpointTLSServerName
	}
	return object{
		"apiVersion": "v1", "kind": "Config", "current-context": "default",
		"clusters": list{object{"name": "default", "cluster": cluster}},
		"users":    list{object{"name": "default", "user": user}},
		"contexts": list{object{"name": "default", "context": object{"cluster": "default", "user": "default", "namespace": "default"}}},
	}
}

// issue makes a client certificate for the node. current becomes a link to it, as kubelet keeps them: it renews the certificate by
// the API like any other.
func issue(by secrets.CertificateAndKey, nodename, current string, now time.Time) error {
	ca, err := secret.ParseAuthority(by.Crt, by.Key)
	if err != nil {
		return fmt.Errorf("read the authority of Kubernetes: %w", err)
	}
	pair, err := ca.Issue(secret.KubeletNode(nodename), now)
	if err != nil {
		return fmt.Errorf("issue a certificate to kubelet: %w", err)
	}
	file := filepath.Join(filepath.Dir(current), "kubelet-client-"+now.UTC().Format("2006-01-02-15-04-05")+".pem")
	if err := replace(file, slices.Concat(pair.CertificatePEM(), pair.Key().PEM()), 0o600); err != nil {
		return err
	}
	return os.Symlink(file, current)
}

// usable returns why the node cannot use the client certificate in a file, which has the key too. One that is not there is
// fs.ErrNotExist.
func usable(file, nodename string, cas []byte, now time.Time) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	cert := pair.Leaf
	if want := "system:node:" + nodename; cert.Subject.CommonName != want {
		return fmt.Errorf("%s is for %q, and this node is %q", file, cert.Subject.CommonName, want)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cas)
	if _, err := cert.Verify(x509.VerifyOptions{
		Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// serves returns why a certificate that kubelet made for itself is not for the node by this name.
func serves(file, nodename string, now time.Time) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	cert, err := firstCertificate(data)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := cert.VerifyHostname(nodename); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if now.After(cert.NotAfter) {
		return fmt.Errorf("%s was valid until %s", file, cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

func removeAll(files ...string) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, os.RemoveAll(f))
	}
	return errors.Join(errs...)
}

func writeYAML(name string, content object) error {
	text, err := yaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return replace(name, text, 0o600)
}

// replace puts a file in its place as a whole.
func replace(name string, content []byte, mode fs.FileMode) (err error) {
	temporary := name + ".tmp"
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temporary))
		}
	}()
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	return os.Rename(temporary, name)
}

func firstCertificate(data []byte) (*x509.Certificate, error) {
	certs, err := secret.ParseCertificates(data)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}
