// Package dashboard has the command that shows how machines do on a terminal's screen, and the screen itself.
//
// A [Source] is asked for a [Sample] of a machine at regular times. What the screen shows of samples is a pure function of
// them and of its size; keys choose the machine and the service whose log is shown.
package dashboard

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// New returns the command.
func New(env command.Env) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "Show how machines do on the screen",
		Long: "Shows CPU, memory, services and logs of machines, until q is pressed. Left and right choose the machine, up and down\n" +
			"the service whose log is shown.",
		Example:           "  talosctl -n 10.5.0.2,10.5.0.3 dashboard\n  talosctl -n 10.5.0.2 dashboard --update-interval 10s",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().DurationVarP(&every, "update-interval", "d", 3*time.Second, "how often to ask")
	f := nodes.Bind(cmd, env)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond {
			return command.Usagef(cmd, "expected --update-interval to be 100ms or more, got %s", every)
		}
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			if !isTerminal(env.Stdout) || !isTerminal(env.Stdin) {
				return errors.New("the dashboard needs a terminal; 'talosctl service' and 'talosctl memory' print what it shows")
			}
			return Run(ctx, remote{s}, every, env.Stdin, env.Stdout)
		})
	}
	return cmd
}

// isTerminal is as near as one gets without a system call of its own.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Source is where samples come from.
type Source interface {
	// Machines are the names of the machines that there are, at least one.
	Machines() []string
	// Sample asks a machine how it does, and for the end of the log of a service, unless that is empty. What cannot be had
	// is left out, and the sample says why. It returns within a few seconds.
	Sample(ctx context.Context, machine, service string) Sample
}

// Run shows the machines of src until a person leaves or ctx ends. It asks every so often.
func Run(ctx context.Context, src Source, every time.Duration, in io.Reader, out io.Writer, opts ...tea.ProgramOption) error {
	m := &model{ctx: ctx, src: src, every: every, screen: newScreen(src.Machines())}
	opts = append([]tea.ProgramOption{tea.WithContext(ctx), tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler()}, opts...)
	_, err := tea.NewProgram(m, opts...).Run()
	if ctx.Err() != nil || errors.Is(err, tea.ErrInterrupted) {
		return nil // left by a signal in place of a key
	}
	return err
}

// model is the screen as bubbletea wants it. It is used from one goroutine; samples come as messages.
type model struct {
	ctx    context.Context // of the run: bubbletea gives none to commands
	src    Source
	every  time.Duration
	screen screen
}

// came is a sample that has come.
type came struct {
	machine string
	sample  Sample
	planned bool // whether the next one is to follow it
}

// due says that a machine is to be asked again.
type due struct{ machine string }

func (m *model) ask(machine string, planned bool) tea.Cmd {
	service := m.screen.service(machine)
	return func() tea.Msg { return came{machine, m.src.Sample(m.ctx, machine, service), planned} }
}

// Init implements [tea.Model]: every machine is asked.
func (m *model) Init() tea.Cmd {
	var all []tea.Cmd
	for _, machine := range m.screen.machines {
		all = append(all, m.ask(machine, true))
	}
	return tea.Batch(all...)
}

// Update implements [tea.Model].
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.screen.width, m.screen.height = msg.Width, msg.Height
	case came:
		m.screen.put(msg.machine, msg.sample)
		if msg.planned {
			return m, tea.Tick(m.every, func(time.Time) tea.Msg { return due{msg.machine} })
		}
	case due:
		return m, m.ask(msg.machine, true)
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		case "left", "h", "shift+tab":
			m.screen.turn(-1)
		case "right", "l", "tab":
			m.screen.turn(1)
		case "up", "k":
			m.screen.choose(-1)
			return m, m.ask(m.screen.machine(), false) // the log is to come at once
		case "down", "j":
			m.screen.choose(1)
			return m, m.ask(m.screen.machine(), false)
		}
	}
	return m, nil
}

// View implements [tea.Model].
func (m *model) View() tea.View {
	v := tea.NewView(m.screen.draw())
	v.AltScreen = true
	return v
}
