package gen

import (
	"crypto/x509"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/image/bootkeys"
)

// secureBootDir is where the keys are put, unless told otherwise.
const secureBootDir = "_out"

func secureBootCommand(env command.Env, force *bool) *cobra.Command {
	out := secureBootDir
	group := command.Group("secureboot", "Make the keys of Secure Boot and of measured boot",
		secureBootUKICommand(env, force, &out),
		secureBootPCRCommand(env, force, &out),
		secureBootDatabaseCommand(env, force, &out),
	)
	group.PersistentFlags().StringVarP(&out, "output", "o", secureBootDir, "the folder to write to")
	return group
}

func secureBootUKICommand(env command.Env, force *bool, out *string) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "uki",
		Short: "Make the key that signs what a machine boots, and its certificate",
		Long: "Makes the key that signs boot loader and unified kernel images, and its certificate. Machines that have enrolled\n" +
			"the certificate start what is signed by the key, and nothing else: keep it where nobody comes by it.",
		Example:           "  talosctl gen secureboot uki --common-name Lab",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return command.Usagef(cmd, "expected --common-name to be a name, got none")
			}
			files, err := bootkeys.New(name, env.Now())
			if err != nil {
				return err
			}
			return writeKeys(env, *force, *out, files)
		},
	}
	cmd.Flags().StringVar(&name, "common-name", "Test UKI Signing Key", "the name in the certificate, which firmware shows")
	return cmd
}

func secureBootPCRCommand(env command.Env, force *bool, out *string) *cobra.Command {
	return &cobra.Command{
		Use:   "pcr",
		Short: "Make the key that signs what may unseal a machine's disks",
		Long: "Makes the key that signs which measurements of a start may unseal what a machine's TPM keeps: those of the images\n" +
			"that are built with it. A disk that is encrypted by way of the TPM opens in no other image.",
		Example:           "  talosctl gen secureboot pcr",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			files, err := bootkeys.NewPCR()
			if err != nil {
				return err
			}
			return writeKeys(env, *force, *out, files)
		},
	}
}

func secureBootDatabaseCommand(env command.Env, force *bool, out *string) *cobra.Command {
	var enrolled []string
	var cert, key string
	cmd := &cobra.Command{
		Use:   "database",
		Short: "Make what a machine's firmware enrols",
		Long: "Makes the updates of the firmware's variables PK, KEK and db that images bring along, and the same as lists without\n" +
			"signature (.esl) for firmware that takes these by its menu. A machine in setup mode that takes them belongs to the\n" +
			"signing key, and starts what is signed by the enrolled certificates. Cards and firmware drivers that are signed by\n" +
			"Microsoft need that certificate enrolled, too: give --enrolled-certificate several times.",
		Example: "  talosctl gen secureboot database\n" +
			"  talosctl gen secureboot database --enrolled-certificate _out/uki-signing-cert.pem --enrolled-certificate other.pem",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			in := func(name, file string) string {
				if name == "" {
					return filepath.Join(*out, file)
				}
				return name
			}
			if len(enrolled) == 0 {
				enrolled = []string{filepath.Join(*out, bootkeys.SigningCert)}
			}
			var certs []*x509.Certificate
			for _, name := range enrolled {
				c, err := readCertificate(env, name)
				if err != nil {
					return err
				}
				certs = append(certs, c)
			}
			signer, err := readSigner(env, in(key, bootkeys.SigningKey), in(cert, bootkeys.SigningCert))
			if err != nil {
				return err
			}
			files, err := bootkeys.Database(certs, signer, env.Now())
			if err != nil {
				return err
			}
			return writeKeys(env, *force, *out, files)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&enrolled, "enrolled-certificate", nil, "a certificate to be enrolled, PEM or DER; may be given several times (default: "+bootkeys.SigningCert+" of the output folder)")
	fl.StringVar(&cert, "signing-certificate", "", "the certificate of the machine's owner (default: "+bootkeys.SigningCert+" of the output folder)")
	fl.StringVar(&key, "signing-key", "", "its key (default: "+bootkeys.SigningKey+" of the output folder)")
	return cmd
}

func readCertificate(env command.Env, name string) (*x509.Certificate, error) {
	data, err := env.ReadFile(name)
	if err != nil {
		return nil, err
	}
	c, err := bootkeys.ParseCertificate(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", command.FileName(name), err)
	}
	return c, nil
}

func readSigner(env command.Env, key, cert string) (bootkeys.Signer, error) {
	keyData, err := env.ReadFile(key)
	if err != nil {
		return bootkeys.Signer{}, err
	}
	certData, err := env.ReadFile(cert)
	if err != nil {
		return bootkeys.Signer{}, err
	}
	s, err := bootkeys.ParseSigner(keyData, certData)
	if err != nil {
		return bootkeys.Signer{}, fmt.Errorf("read %s and %s: %w", command.FileName(key), command.FileName(cert), err)
	}
	return s, nil
}

func writeKeys(env command.Env, force bool, dir string, files []bootkeys.File) error {
	var all []command.File
	for _, f := range files {
		all = append(all, command.File{Name: filepath.Join(dir, f.Name), Data: f.Data})
	}
	return env.WriteFiles(force, all...)
}
