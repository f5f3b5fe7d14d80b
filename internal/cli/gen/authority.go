package gen

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

// authorityHours is how long a new authority lives, unless told otherwise: ten years.
const authorityHours = int(secret.AuthorityTTL / time.Hour)

func caCommand(env command.Env, force *bool) *cobra.Command {
	var organization string
	var rsa bool
	var hours int
	cmd := &cobra.Command{
		Use:   "ca",
		Short: "Make a self-signed certificate authority",
		Long: "Makes a self-signed certificate authority: ORGANIZATION.crt, ORGANIZATION.key, and ORGANIZATION.sha256 with the\n" +
			"hash of its public key, as kubeadm's --discovery-token-ca-cert-hash takes it.",
		Example:           "  talosctl gen ca --organization talos",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ttl, err := lifetime(cmd, hours)
			if err != nil {
				return err
			}
			if err := checkFileName(cmd, "--organization", organization); err != nil {
				return err
			}
			kind := secret.Ed25519
			if rsa {
				kind = secret.RSA4096
			}
			a, err := secret.NewCustomAuthority(secret.AuthoritySpec{Organization: organization, Key: kind, TTL: ttl}, env.Now())
			if err != nil {
				return err
			}
			// The form of kubeadm: the hash of the key alone, which outlives a renewal of the certificate.
			hash := sha256.Sum256(a.Certificate().RawSubjectPublicKeyInfo)
			return env.WriteFiles(*force,
				command.File{Name: organization + ".crt", Data: a.CertificatePEM()},
				command.File{Name: organization + ".key", Data: a.Key().PEM()},
				command.File{Name: organization + ".sha256", Data: []byte("sha256:" + hex.EncodeToString(hash[:]) + "\n")},
			)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&organization, "organization", "", "the organisation in the certificate, and the name of the files (required)")
	fl.BoolVar(&rsa, "rsa", false, "make an RSA key (default: Ed25519)")
	fl.IntVar(&hours, "hours", authorityHours, "how long the authority lives")
	command.Require(cmd, "organization")
	return cmd
}

func keypairCommand(env command.Env, force *bool) *cobra.Command {
	var organization string
	var ips []string
	var hours int
	cmd := &cobra.Command{
		Use:   "keypair",
		Short: "Make a key and a self-signed certificate for it",
		Long: "Makes an Ed25519 key and a self-signed certificate, for a server that its clients trust by the certificate itself:\n" +
			"ORGANIZATION.crt and ORGANIZATION.key.",
		Example:           "  talosctl gen keypair --organization registry --ip 10.5.0.1",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ttl, err := lifetime(cmd, hours)
			if err != nil {
				return err
			}
			if err := checkFileName(cmd, "--organization", organization); err != nil {
				return err
			}
			leaf := secret.Leaf{Organization: []string{organization}, Usage: secret.Server | secret.Client, TTL: ttl}
			if leaf.SANs.IPs, err = addresses(cmd, ips); err != nil {
				return err
			}
			if len(ips) == 0 {
				return command.Usagef(cmd, "expected --ip to be an address such as 10.5.0.2, got none")
			}
			pair, err := selfSigned(env, leaf)
			if err != nil {
				return err
			}
			return env.WriteFiles(*force,
				command.File{Name: organization + ".crt", Data: pair.CertificatePEM()},
				command.File{Name: organization + ".key", Data: pair.Key().PEM()},
			)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&organization, "organization", "", "the organisation in the certificate, and the name of the files (required)")
	fl.StringSliceVar(&ips, "ip", nil, "an address that the certificate is for; may be given several times (required)")
	fl.IntVar(&hours, "hours", authorityHours, "how long the certificate is valid")
	command.Require(cmd, "organization", "ip")
	return cmd
}

// selfSigned makes a key and a certificate that it signs itself. leaf must have an address: a server's certificate without one
// is trusted by nobody, and could not be told from its issuer's. It is that of an authority with the same name and the same
// key, so that the certificate is its own issuer, and yet may not vouch for others.
func selfSigned(env command.Env, leaf secret.Leaf) (secret.Pair, error) {
	a, err := secret.NewCustomAuthority(secret.AuthoritySpec{
		Organization: leaf.Organization[0], Key: secret.Ed25519, TTL: leaf.TTL,
	}, env.Now())
	if err != nil {
		return secret.Pair{}, err
	}
	request, err := secret.NewCSR(a.Key(), leaf)
	if err != nil {
		return secret.Pair{}, err
	}
	csr, err := secret.ParseCSR(request)
	if err != nil {
		return secret.Pair{}, err
	}
	cert, err := a.SignCSR(csr, secret.CSRPolicy{Usage: leaf.Usage, TTL: leaf.TTL, KeepOrganization: true}, env.Now())
	if err != nil {
		return secret.Pair{}, err
	}
	return secret.NewPair(cert, a.Key())
}

// addresses reads the values of --ip.
func addresses(cmd *cobra.Command, texts []string) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, text := range texts {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, command.Usagef(cmd, "expected --ip to be an address such as 10.5.0.2, got %q", text)
		}
		out = append(out, ip)
	}
	return out, nil
}

// readAuthority reads the authority whose certificate and key are in name.crt and name.key.
func readAuthority(env command.Env, name string) (*secret.Authority, error) {
	crt, err := env.ReadFile(name + ".crt")
	if err != nil {
		return nil, err
	}
	key, err := env.ReadFile(name + ".key")
	if err != nil {
		return nil, err
	}
	a, err := secret.ParseAuthority(crt, key)
	if err != nil {
		return nil, fmt.Errorf("read %s.crt and %s.key: %w", name, name, err)
	}
	return a, nil
}
