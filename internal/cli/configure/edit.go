package configure

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"talos.internal/client"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

func parseByte(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 0, 8)
	return uint32(n), err
}

// mark begins the lines that are for the person who edits. They are taken out before the config is sent.
const mark = "#! "

func editCommand(env command.Env) *cobra.Command {
	var h how
	cmd := &cobra.Command{
		Use:     "machineconfig",
		Aliases: []string{"mc", "machineconfigs"},
		Short:   "Change the config of machines in an editor",
		Long: "Opens the config of each machine in the editor that $TALOS_EDITOR or $EDITOR names, else in vi, and applies what was\n" +
			"changed. If it cannot be applied the editor opens again, with the reason above the text. To give up, leave the text\n" +
			"as it is, or empty it.",
		Example:           "  talosctl -n 10.5.0.2 edit machineconfig --mode try",
		Args:              machineConfigArg,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	h.bind(cmd)
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := h.check(cmd); err != nil {
			return err
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			for _, node := range s.Nodes() {
				if err := h.edit(ctx, s, node); err != nil {
					if ctx.Err() != nil {
						return err
					}
					s.Fail(node, err)
				}
			}
			return nil
		})
	}
	return cmd
}

// edit lets a person change the config of a node until it is applied or he gives up. What he wrote is never lost: after an
// error that ends it, the file stays and the error names it.
func (h *how) edit(ctx context.Context, s *nodes.Session, node string) error {
	old, err := nodes.One(ctx, s, node, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]byte, error) { return current(ctx, c) })
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "talosctl-edit-*.yaml")
	if err != nil {
		return err
	}
	name := file.Name()
	if err := file.Close(); err != nil {
		return err
	}
	text, reason := old, ""
	for {
		if err := os.WriteFile(name, append(header(node, reason), text...), 0o600); err != nil {
			return err
		}
		if err := runEditor(ctx, s.Env(), name); err != nil {
			return kept(err, name)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		edited := withoutMarks(data)
		if len(bytes.TrimSpace(edited)) == 0 || bytes.Equal(edited, old) {
			s.Warn(node, "the config was not changed")
			return os.Remove(name)
		}
		if reason != "" && bytes.Equal(edited, text) {
			return kept(fmt.Errorf("the mistake was left as it is: %s", reason), name)
		}
		text = edited
		// The machine judges it, and not this client: one of them may know what the other does not.
		answer, err := nodes.One(ctx, s, node, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (applied, error) {
			a, err := h.apply(ctx, c, text)
			return applied{func() error { return tell(s, node, a) }}, err
		})
		if ctx.Err() != nil {
			return kept(context.Cause(ctx), name)
		}
		if err != nil {
			reason = client.Explain(err)
			continue
		}
		return errors.Join(answer.tell(), os.Remove(name))
	}
}

type applied struct{ tell func() error }

func kept(err error, file string) error {
	return fmt.Errorf("edit the config: %w; your text is in %s", err, file)
}

// header are the lines above the text.
func header(node, reason string) []byte {
	lines := []string{"The config of " + node + ". Lines that begin like this one are not part of it."}
	if reason != "" {
		lines = append(lines, "", "It could not be applied:")
		lines = append(lines, strings.Split(strings.TrimRight(reason, "\n"), "\n")...)
	}
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(strings.TrimRight(mark+l, " ") + "\n")
	}
	return b.Bytes()
}

// withoutMarks returns text without the lines of headers. Only those at its beginning are: further down such a line may be
// the content of a string.
func withoutMarks(text []byte) []byte {
	for {
		line, rest, more := bytes.Cut(text, []byte("\n"))
		if !bytes.HasPrefix(line, []byte(strings.TrimRight(mark, " "))) {
			return text
		}
		if !more {
			return nil
		}
		text = rest
	}
}

// runEditor opens a file in the person's editor and waits until he leaves it.
func runEditor(ctx context.Context, env command.Env, file string) error {
	editor := cmp.Or(env.Getenv("TALOS_EDITOR"), env.Getenv("EDITOR"), "vi")
	words := strings.Fields(editor) // such as "code --wait"
	if len(words) == 0 {
		words = []string{"vi"}
	}
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], file)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = env.Stdin, env.Stdout, env.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the editor %s: %w", editor, err)
	}
	return nil
}
