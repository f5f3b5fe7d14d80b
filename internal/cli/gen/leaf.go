package gen

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

func keyCommand(env command.Env, force *bool) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:               "key",
		Short:             "Make a private key",
		Long:              "Makes an Ed25519 private key: NAME.key.",
		Example:           "  talosctl gen key --name jane",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFileName(cmd, "--name", filepath.Base(name)); err != nil {
				return err
			}
			key, err := secret.GenerateKey(secret.Ed25519)
			if err != nil {
				return err
			}
			return env.WriteFiles(*force, command.File{Name: name + ".key", Data: key.PEM()})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "the file's name, without .key (required)")
	command.Require(cmd, "name")
	return cmd
}

func csrCommand(env command.Env, force *bool) *cobra.Command {
	var keyFile string
	var ips, roles []string
	cmd := &cobra.Command{
		Use:   "csr",
		Short: "Make a certificate signing request",
		Long: "Makes a request for a certificate, to be signed by 'talosctl gen crt'. It is written beside the key, with the\n" +
			"extension .csr.",
		Example:           "  talosctl gen csr --key jane.key --roles os:reader",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			leaf := secret.Leaf{Organization: roles}
			var err error
			if leaf.SANs.IPs, err = addresses(cmd, ips); err != nil {
				return err
			}
			env.WarnRoles(roles)
			data, err := env.ReadFile(keyFile)
			if err != nil {
				return err
			}
			key, err := secret.ParseKey(data)
			if err != nil {
				return fmt.Errorf("read %s: %w", command.FileName(keyFile), err)
			}
			request, err := secret.NewCSR(key, leaf)
			if err != nil {
				return err
			}
			name := strings.TrimSuffix(keyFile, filepath.Ext(keyFile)) + ".csr"
			if keyFile == "-" {
				name = "-"
			}
			return env.Output(name, *force, request)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&keyFile, "key", "", "the file with the private key, - for standard input (required)")
	fl.StringSliceVar(&ips, "ip", nil, "an address that the certificate is to be for; may be given several times")
	fl.StringSliceVar(&roles, "roles", []string{secret.RoleAdmin}, "the roles that the certificate is to carry")
	command.Require(cmd, "key")
	return cmd
}

func crtCommand(env command.Env, force *bool) *cobra.Command {
	var ca, csrFile, name string
	var hours int
	cmd := &cobra.Command{
		Use:   "crt",
		Short: "Sign a certificate",
		Long: "Signs a request by an authority: NAME.crt. The certificate carries the roles and the addresses of the request;\n" +
			"it is good for a client and for a server.",
		Example:           "  talosctl gen crt --ca talos --csr jane.csr --name jane",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ttl, err := lifetime(cmd, hours)
			if err != nil {
				return err
			}
			if err := checkFileName(cmd, "--name", filepath.Base(name)); err != nil {
				return err
			}
			a, err := readAuthority(env, strings.TrimSuffix(ca, ".crt"))
			if err != nil {
				return err
			}
			data, err := env.ReadFile(csrFile)
			if err != nil {
				return err
			}
			csr, err := secret.ParseCSR(data)
			if err != nil {
				return fmt.Errorf("read %s: %w", command.FileName(csrFile), err)
			}
			policy := secret.CSRPolicy{Usage: secret.Server | secret.Client, TTL: ttl, KeepOrganization: true}
			crt, err := a.SignCSR(csr, policy, env.Now())
			if err != nil {
				return err
			}
			if err := env.WriteFiles(*force, command.File{Name: name + ".crt", Data: secret.CertificatesPEM(crt)}); err != nil {
				return err
			}
			who := secret.Roles(crt)
			for _, ip := range crt.IPAddresses {
				who = append(who, ip.String())
			}
			env.Warn("%s.crt is %s", name, summary(append(who, crt.DNSNames...), crt.NotAfter))
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&ca, "ca", "", "the name of the authority's files, without .crt and .key (required)")
	fl.StringVar(&csrFile, "csr", "", "the file with the request, - for standard input (required)")
	fl.StringVar(&name, "name", "", "the file's name, without .crt (required)")
	fl.IntVar(&hours, "hours", 24, "how long the certificate is valid")
	command.Require(cmd, "ca", "csr", "name")
	return cmd
}
