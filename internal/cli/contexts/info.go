package contexts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/cli/command"
)

// info is what config info says. The order of the fields is that of the output.
type info struct {
	Context   string   `json:"context" yaml:"context"`
	Nodes     []string `json:"nodes" yaml:"nodes"`
	Endpoints []string `json:"endpoints" yaml:"endpoints"`
	Roles     []string `json:"roles" yaml:"roles"`
	// TTL says how far away the certificate's end is, and NotAfter, in RFC 3339, when it is. Both are empty without one.
	TTL      string `json:"certTTL" yaml:"certTTL"`
	NotAfter string `json:"certNotAfter" yaml:"certNotAfter"`
}

func infoCommand(f *file) *cobra.Command {
	var context, output string
	cmd := &cobra.Command{
		Use:               "info",
		Short:             "Show the current context: nodes, endpoints, roles, and when its certificate expires",
		Example:           "  talosctl config info --output json",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			write := map[string]func(io.Writer, info) error{"text": writeText, "json": writeJSON, "yaml": writeYAML}[output]
			if write == nil {
				return command.Usagef(cmd, "expected --output to be text, json or yaml, got %q", output)
			}
			return f.info(context, write)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "the form of the output: text, json or yaml")
	command.Complete(cmd, "output", cobra.FixedCompletions([]string{"text", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	f.contextFlag(cmd, &context)
	return cmd
}

// info writes what there is to say about the named context. A certificate that is broken or expired does not keep the rest
// from being shown.
func (f *file) info(name string, write func(io.Writer, info) error) error {
	c, err := f.open()
	if err != nil {
		return err
	}
	name, context, err := c.Lookup(name)
	if err != nil {
		return f.explain(err)
	}
	now := f.env.Now()
	id, broken := context.Identity()
	if err := write(f.env.Stdout, describe(name, context, id, now)); err != nil {
		return err
	}
	if broken != nil {
		return f.explain(fmt.Errorf("context %s: %w", name, broken))
	}
	if !id.NotAfter.IsZero() && now.After(id.NotAfter) {
		f.env.Warn("warning: the certificate has expired; make a new one by 'talosctl config new'")
	}
	return nil
}

func describe(name string, c *talosconfig.Context, id talosconfig.Identity, now time.Time) info {
	i := info{
		Context: name,
		Nodes:   append([]string{}, c.Nodes...), Endpoints: append([]string{}, c.Endpoints...), Roles: append([]string{}, id.Roles...),
	}
	if !id.NotAfter.IsZero() {
		i.TTL = relative(id.NotAfter.Sub(now))
		i.NotAfter = id.NotAfter.UTC().Format(time.RFC3339)
	}
	return i
}

func writeText(w io.Writer, i info) error {
	expires := "not defined"
	if i.NotAfter != "" {
		expires = fmt.Sprintf("%s (%s)", i.TTL, i.NotAfter[:len(time.DateOnly)])
	}
	_, err := fmt.Fprintf(w, "%-20s %s\n%-20s %s\n%-20s %s\n%-20s %s\n%-20s %s\n",
		"Current context:", i.Context,
		"Nodes:", orUndefined(i.Nodes),
		"Endpoints:", orUndefined(i.Endpoints),
		"Roles:", orUndefined(i.Roles),
		"Certificate expires:", expires)
	return err
}

func orUndefined(list []string) string {
	if len(list) == 0 {
		return "not defined"
	}
	return orNone(list)
}

func writeJSON(w io.Writer, i info) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "    ")
	return enc.Encode(i)
}

func writeYAML(w io.Writer, i info) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(4)
	if err := enc.Encode(i); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// relative says how far from now something is, in the largest unit of which there is about one: "3 weeks from now",
// "1 day ago".
func relative(d time.Duration) string {
	suffix := "from now"
	if d < 0 {
		d, suffix = -d, "ago"
	}
	const day = 24 * time.Hour
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"year", 365 * day}, {"month", 30 * day}, {"week", 7 * day}, {"day", day}, {"hour", time.Hour}, {"minute", time.Minute}} {
		// A certificate that was made a moment ago for a year has a year left, not eleven months.
		n := int(math.Round(float64(d) / float64(unit.size)))
		if d < unit.size*98/100 {
			continue
		}
		if n == 1 {
			return fmt.Sprintf("1 %s %s", unit.name, suffix)
		}
		return fmt.Sprintf("%d %ss %s", n, unit.name, suffix)
	}
	return "less than a minute " + suffix
}
