package images

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// dockerCredentials returns what ~/.docker/config.json says of a host, or the file config.json in the folder that DOCKER_CONFIG
// names. The file is read at the first question. Programs that keep credentials, which the file may name, are not started.
func dockerCredentials(env command.Env) func(host string) (user, password string, err error) {
	read := sync.OnceValues(func() (map[string]dockerAuth, error) { return readDocker(env) })
	return func(host string) (string, string, error) {
		auths, err := read()
		if err != nil {
			return "", "", err
		}
		names := []string{host, "https://" + host}
		if host == "registry-1.docker.io" {
			names = append(names, "https://index.docker.io/v1/", "docker.io")
		}
		for _, name := range names {
			if a, ok := auths[name]; ok {
				return a.credentials(name)
			}
		}
		return "", "", nil
	}
}

// dockerAuth is an entry of auths in Docker's config.json.
type dockerAuth struct {
	Auth          string `json:"auth"` // base64 of USER:PASSWORD
	IdentityToken string `json:"identitytoken"`
}

func (a dockerAuth) credentials(name string) (user, password string, err error) {
	if a.IdentityToken != "" {
		return "", a.IdentityToken, nil
	}
	if a.Auth == "" {
		return "", "", nil
	}
	b, err := base64.StdEncoding.DecodeString(a.Auth)
	user, password, ok := strings.Cut(string(b), ":")
	if err != nil || !ok {
		return "", "", fmt.Errorf("credentials for %s in Docker's config.json are not USER:PASSWORD in base64", name)
	}
	return user, password, nil
}

func readDocker(env command.Env) (map[string]dockerAuth, error) {
	dir := env.Getenv("DOCKER_CONFIG")
	if dir == "" {
		if env.Home == "" {
			return nil, nil
		}
		dir = filepath.Join(env.Home, ".docker")
	}
	b, err := env.ReadFile(filepath.Join(dir, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var file struct {
		Auths map[string]dockerAuth `json:"auths"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, "config.json"), err)
	}
	return file.Auths, nil
}

// withTLS puts TLS on a listener.
func withTLS(l net.Listener, certFile, keyFile string) (net.Listener, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the certificate to serve with: %w", err), l.Close())
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

// mirrorPatch makes machines ask the endpoint for the images of registries.
func mirrorPatch(registries []string, endpoint string) string {
	var b strings.Builder
	for i, name := range registries {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: %s\nendpoints:\n    - url: %s\n", strconv.Quote(name), endpoint)
	}
	return b.String()
}

// tlsPatch makes machines believe the authority for a registry.
func tlsPatch(registry string, ca []byte) string {
	text := strings.TrimSuffix(string(ca), "\n")
	return fmt.Sprintf("apiVersion: v1alpha1\nkind: RegistryTLSConfig\nname: %s\nca: |\n    %s\n", strconv.Quote(registry), strings.ReplaceAll(text, "\n", "\n    "))
}

// certFlags are those of cache-cert-gen.
type certFlags struct {
	addresses, names  []string
	ca, cert, keyFile string
	port              uint16
	force             bool
}

func cacheCertGenCommand(env command.Env) *cobra.Command {
	var f certFlags
	cmd := &cobra.Command{
		Use: "cache-cert-gen", Short: "Make a certificate to serve image caches with",
		Long: "Makes a certificate for 'talosctl image cache-serve', and an authority that has signed it and signs nothing else:\n" +
			"its key is not kept. The patch that makes machines believe the authority is printed.",
		Example: "  talosctl image cache-cert-gen --advertised-address 10.5.0.1 >tls-patch.yaml",
		Args:    command.ExactArgs(), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error { return generateCert(cmd, env, f) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.addresses, "advertised-address", nil, "an address that machines reach the cache by")
	fl.StringSliceVar(&f.names, "advertised-name", nil, "a DNS name that machines reach the cache by")
	fl.Uint16Var(&f.port, "advertised-port", 3172, "the port that machines reach the cache at")
	fl.StringVar(&f.ca, "tls-ca-file", "ca.crt", "where the authority's certificate is written")
	fl.StringVar(&f.cert, "tls-cert-file", "tls.crt", "where the certificate is written")
	fl.StringVar(&f.keyFile, "tls-key-file", "tls.key", "where the certificate's private key is written")
	fl.BoolVarP(&f.force, "force", "f", false, "replace files that are there")
	return cmd
}

func generateCert(cmd *cobra.Command, env command.Env, f certFlags) error {
	if len(f.addresses)+len(f.names) == 0 {
		return command.Usagef(cmd, "--advertised-address or --advertised-name must be given")
	}
	for _, a := range f.addresses {
		if _, err := netip.ParseAddr(a); err != nil {
			return command.Usagef(cmd, "--advertised-address: %w", err)
		}
	}
	sans, err := secret.ParseSANs(append(append([]string(nil), f.addresses...), f.names...))
	if err != nil {
		return command.Usagef(cmd, "--advertised-name: %w", err)
	}
	now := env.Now()
	authority, err := secret.NewCustomAuthority(secret.AuthoritySpec{Organization: "image cache", Key: secret.ECDSAP256, TTL: secret.AuthorityTTL}, now)
	if err != nil {
		return err
	}
	pair, err := authority.Issue(secret.Leaf{CommonName: "image cache", SANs: sans, Usage: secret.Server, TTL: secret.AuthorityTTL}, now)
	if err != nil {
		return err
	}
	ca := authority.CertificatePEM()
	err = env.WriteFiles(f.force, command.File{Name: f.ca, Data: ca}, command.File{Name: f.cert, Data: pair.CertificatePEM()},
		command.File{Name: f.keyFile, Data: pair.Key().PEM()})
	if err != nil {
		return err
	}
	var patches []string
	for _, host := range append(append([]string(nil), f.addresses...), f.names...) {
		patches = append(patches, tlsPatch(net.JoinHostPort(host, strconv.Itoa(int(f.port))), ca))
	}
	_, err = fmt.Fprint(env.Stdout, strings.Join(patches, "---\n"))
	return err
}
