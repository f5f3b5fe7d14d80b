package contexts

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

func addCommand(f *file) *cobra.Command {
	var ca, crt, key string
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a context",
		Long: "Adds a context with the credentials from files in PEM. It becomes the current one if there is none yet.\n" +
			"Give it endpoints by 'talosctl config endpoint --context NAME'.",
		Example:           "  talosctl config add lab --ca talos.crt --crt jane.crt --key jane.key",
		Args:              command.ExactArgs("NAME"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return command.Usagef(cmd, "expected NAME not to be empty")
			}
			context, err := f.readContext(ca, crt, key)
			if err != nil {
				return err
			}
			c, err := f.openOrNew()
			if err != nil {
				return err
			}
			if c.Contexts[args[0]] != nil {
				return f.explain(fmt.Errorf("there is a context %q already; remove it first, or choose another name", args[0]))
			}
			c.Contexts[args[0]] = context
			if c.Contexts[c.Context] == nil {
				c.Context = args[0]
			}
			if err := f.save(c); err != nil {
				return err
			}
			f.env.Warn("added %s; the current context is %s", args[0], c.Context)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&ca, "ca", "", "the file with the authority's certificate (required)")
	fl.StringVar(&crt, "crt", "", "the file with the client's certificate (required)")
	fl.StringVar(&key, "key", "", "the file with the client's private key (required)")
	command.Require(cmd, "ca", "crt", "key")
	return cmd
}

// readContext returns a context with the credentials from files, checked.
func (f *file) readContext(ca, crt, key string) (*talosconfig.Context, error) {
	var data [3][]byte
	for i, name := range []string{ca, crt, key} {
		var err error
		if data[i], err = f.env.ReadFile(name); err != nil {
			return nil, err
		}
	}
	authorities, err := secret.ParseCertificates(data[0])
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", ca, err)
	}
	for _, a := range authorities {
		if err := secret.CheckAuthority(a); err != nil {
			return nil, fmt.Errorf("read %s: %w", ca, err)
		}
	}
	pair, err := secret.ParsePair(data[1], data[2])
	if err != nil {
		return nil, fmt.Errorf("read %s and %s: %w", crt, key, err)
	}
	return talosconfig.NewContext(nil, nil, secret.CertificatesPEM(authorities...), pair), nil
}

func mergeCommand(f *file) *cobra.Command {
	return &cobra.Command{
		Use:   "merge FILE",
		Short: "Take over the contexts of another talosconfig",
		Long: "Takes over the contexts of another talosconfig, and its current one as the current one. A context whose name is\n" +
			"taken by a different one gets a new name; one that is there already is left alone.",
		Example: "  talosctl config merge demo/talosconfig",
		Args:    command.ExactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := f.env.ReadFile(args[0])
			if err != nil {
				return err
			}
			name := command.FileName(args[0])
			other, warnings, err := talosconfig.Load(data)
			if err != nil {
				return command.About(err, "read talosconfig %s", name)
			}
			for _, w := range warnings {
				f.env.Warn("warning: %s: %s", name, w)
			}
			if len(other.Contexts) == 0 {
				return fmt.Errorf("read talosconfig %s: it has no contexts", name)
			}
			c, err := f.openOrNew()
			if err != nil {
				return err
			}
			before := c.Names()
			renames := c.Merge(other)
			if err := f.save(c); err != nil {
				return err
			}
			f.tellMerged(c, before, renames)
			return nil
		},
	}
}

// tellMerged says which contexts a merge brought.
func (f *file) tellMerged(c *talosconfig.Config, before []string, renames []talosconfig.Rename) {
	for _, r := range renames {
		f.env.Warn("renamed %s to %s, since there is another %s", r.From, r.To, r.From)
	}
	added := slices.DeleteFunc(c.Names(), func(name string) bool { return slices.Contains(before, name) })
	what := "there is nothing new"
	if len(added) > 0 {
		what = "added " + strings.Join(added, ", ")
	}
	if c.Contexts[c.Context] == nil {
		f.env.Warn("%s; there is no current context: choose one by 'talosctl config context NAME'", what)
		return
	}
	f.env.Warn("%s; the current context is %s", what, c.Context)
}

func removeCommand(f *file) *cobra.Command {
	var yes, dry bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove contexts, with their credentials",
		Long: "Removes contexts, with their credentials, after asking. NAME may have wildcards: * for any text, ? for a character,\n" +
			"[a-z] for one of several.",
		Example:           "  talosctl config remove 'lab-*' --dry-run",
		Args:              command.ExactArgs("NAME"),
		ValidArgsFunction: f.completeOneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := path.Match(args[0], ""); err != nil {
				return command.Usagef(cmd, "expected NAME to be a name or a pattern, got %q: %w", args[0], err)
			}
			return f.remove(args[0], yes, dry)
		},
	}
	cmd.Flags().BoolVarP(&yes, "noconfirm", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only say what would be removed")
	return cmd
}

// remove removes the contexts that pattern matches. A name that is one is itself alone, whatever characters it has.
func (f *file) remove(pattern string, yes, dry bool) error {
	c, err := f.open()
	if err != nil {
		return err
	}
	names := []string{pattern}
	if c.Contexts[pattern] == nil {
		names = slices.DeleteFunc(c.Names(), func(name string) bool {
			ok, err := path.Match(pattern, name)
			return err != nil || !ok
		})
	}
	if len(names) == 0 {
		_, _, err := c.Lookup(pattern)
		return f.explain(err)
	}
	what := "context " + strings.Join(names, ", ")
	if len(names) > 1 {
		what = "contexts " + strings.Join(names, ", ")
	}
	if dry {
		f.env.Warn("would remove %s", what)
		return nil
	}
	if !yes {
		if yes, err = f.env.Confirm(fmt.Sprintf("Remove %s?", what)); err != nil {
			return err
		}
		if !yes {
			return fmt.Errorf("nothing was removed")
		}
	}
	for _, name := range names {
		delete(c.Contexts, name)
	}
	lost := c.Context != "" && c.Contexts[c.Context] == nil
	if lost {
		c.Context = ""
	}
	if err := f.save(c); err != nil {
		return err
	}
	f.env.Warn("removed %s", what)
	if lost && len(c.Contexts) > 0 {
		f.env.Warn("there is no current context now; choose one by 'talosctl config context NAME'")
	}
	return nil
}
