package kubeapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"
)

// Config says where an API server is and how a caller proves itself.
type Config struct {
	// Server is https://host:port.
	Server *url.URL
	// ServerName is the name in the server's certificate; empty takes the host of Server.
	ServerName string
	// CA is who vouches for the server, in PEM.
	CA []byte
	// Token is a bearer token; empty without one.
	Token string
	// Certificate is called for each connection, so that one that was renewed on disk is used; nil without one.
	Certificate func() (*tls.Certificate, error)
}

// kubeconfig is what is read of such a file (client-go's clientcmd/api/v1).
type kubeconfig struct {
	Clusters []struct {
		Name    string
		Cluster struct {
			Server        string
			TLSServerName string `yaml:"tls-server-name"`
			CA            string `yaml:"certificate-authority"`
			CAData        string `yaml:"certificate-authority-data"`
		}
	}
	Users []struct {
		Name string
		User struct {
			Cert     string `yaml:"client-certificate"`
			CertData string `yaml:"client-certificate-data"`
			Key      string `yaml:"client-key"`
			KeyData  string `yaml:"client-key-data"`
			Token    string
		}
	}
	Contexts []struct {
		Name    string
		Context struct{ Cluster, User string }
	}
	CurrentContext string `yaml:"current-context"`
}

// ParseKubeconfig returns what the current context of a kubeconfig says. Files that it names are read below root, which is empty for
// the real root; the client's certificate is read again for each connection.
//
// What kubelets, and the controllers of this system, write is understood: programs that give credentials are not. The error names
// what is missing and quotes no credentials.
func ParseKubeconfig(data []byte, root string) (Config, error) {
	var f kubeconfig
	if err := yaml.Unmarshal(data, &f); err != nil {
		return Config{}, errors.New("read kubeconfig: it is not a kubeconfig in YAML")
	}
	out, err := f.config(func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(root, name)) })
	if err != nil {
		return Config{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	return out, nil
}

func (f *kubeconfig) config(read func(name string) ([]byte, error)) (Config, error) {
	var out Config
	cluster, user := "", ""
	for _, c := range f.Contexts {
		if c.Name == f.CurrentContext {
			cluster, user = c.Context.Cluster, c.Context.User
		}
	}
	if cluster == "" {
		return out, fmt.Errorf("no cluster of the current context %q", f.CurrentContext)
	}
	for _, c := range f.Clusters {
		if c.Name != cluster {
			continue
		}
		u, err := url.Parse(c.Cluster.Server)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return out, fmt.Errorf("cluster %q: want a server like https://host:port", cluster)
		}
		out.Server, out.ServerName = u, c.Cluster.TLSServerName
		if out.CA, err = content(c.Cluster.CAData, c.Cluster.CA, read); err != nil {
			return out, fmt.Errorf("authority of cluster %q: %w", cluster, err)
		}
	}
	if out.Server == nil {
		return out, fmt.Errorf("no cluster %q", cluster)
	}
	for _, u := range f.Users {
		if u.Name != user {
			continue
		}
		user := u.User
		out.Token = user.Token
		if user.CertData != "" || user.Cert != "" {
			out.Certificate = func() (*tls.Certificate, error) {
				cert, err1 := content(user.CertData, user.Cert, read)
				key, err2 := content(user.KeyData, user.Key, read)
				if err := errors.Join(err1, err2); err != nil {
					return nil, fmt.Errorf("read the client certificate of user %q: %w", u.Name, err)
				}
				pair, err := tls.X509KeyPair(cert, key)
				if err != nil {
					return nil, fmt.Errorf("read the client certificate of user %q: %w", u.Name, err)
				}
				return &pair, nil
			}
			if _, err := out.Certificate(); err != nil {
				return out, err
			}
		}
	}
	if out.Certificate == nil && out.Token == "" {
		return out, fmt.Errorf("no credentials of user %q", user)
	}
	return out, nil
}

// content returns what data is in base64, or else what the file has.
func content(data, name string, read func(string) ([]byte, error)) ([]byte, error) {
	switch {
	case data != "":
		b, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, errors.New("it is not base64")
		}
		return b, nil
	case name != "":
		return read(name)
	}
	return nil, errors.New("it is missing")
}

// tls returns the client's side of a connection.
func (c Config) tls() (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.CA) {
		return nil, errors.New("no certificate of an authority for the API server")
	}
	out := &tls.Config{RootCAs: pool, ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.Certificate != nil {
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.Certificate() }
	}
	return out, nil
}
