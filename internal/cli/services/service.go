package services

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/client"
	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/internal/cli/nodes"
)

// An action changes a service; it returns what the machine says about it.
type action func(ctx context.Context, c *client.Client, id string) (string, error)

func actions() map[string]action {
	return map[string]action{
		"start": func(ctx context.Context, c *client.Client, id string) (string, error) {
			r, err := client.Only(c.Machine().ServiceStart(ctx, &machinepb.ServiceStartRequest{Id: id}))
			return r.GetResp(), err
		},
		"stop": func(ctx context.Context, c *client.Client, id string) (string, error) {
			r, err := client.Only(c.Machine().ServiceStop(ctx, &machinepb.ServiceStopRequest{Id: id}))
			return r.GetResp(), err
		},
		"restart": func(ctx context.Context, c *client.Client, id string) (string, error) {
			r, err := client.Only(c.Machine().ServiceRestart(ctx, &machinepb.ServiceRestartRequest{Id: id}))
			return r.GetResp(), err
		},
	}
}

func actionNames() []string { return []string{"start", "stop", "restart", "status"} }

func serviceCommand(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "service [ID [start|stop|restart|status]]",
		Aliases: []string{"services"},
		Short:   "Show the services of machines, or start, stop or restart one",
		Example: "  talosctl -n 10.5.0.2 service\n" +
			"  talosctl -n 10.5.0.2 service kubelet\n" +
			"  talosctl -n 10.5.0.2 service kubelet restart",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 2 {
				return command.Usagef(cmd, "expected at most two arguments, ID and what to do, got %d: %s", len(args), strings.Join(args, " "))
			}
			if len(args) < 2 || slices.Contains(actionNames(), args[1]) {
				return nil
			}
			if near := schema.Nearest(args[1], actionNames()); near != "" {
				return command.Usagef(cmd, "expected start, stop, restart or status, got %q (did you mean %q?)", args[1], near)
			}
			return command.Usagef(cmd, "expected start, stop, restart or status, got %q", args[1])
		},
	}
	f := nodes.Bind(cmd, env).BindInsecure(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch len(args) {
		case 0:
			return nodes.Complete(cmd, f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
				list, err := services(ctx, c)
				var ids []cobra.Completion
				for _, s := range list {
					ids = append(ids, s.GetId())
				}
				return ids, err
			})
		case 1:
			return actionNames(), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			switch {
			case len(args) == 0:
				return listServices(ctx, s)
			case len(args) == 1 || args[1] == "status":
				return showService(ctx, s, args[0])
			}
			do := actions()[args[1]]
			t := nodes.NewTable("NODE", "RESPONSE")
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (string, error) {
				return do(ctx, c, args[0])
			}) {
				t.Row(r.Node, r.Value)
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}

func services(ctx context.Context, c *client.Client) ([]*machinepb.ServiceInfo, error) {
	r, err := client.Only(c.Machine().ServiceList(ctx, &emptypb.Empty{}))
	if err != nil {
		return nil, err
	}
	list := r.GetServices()
	slices.SortFunc(list, func(a, b *machinepb.ServiceInfo) int { return cmp.Compare(a.GetId(), b.GetId()) })
	return list, nil
}

func listServices(ctx context.Context, s *nodes.Session) error {
	now := s.Env().Now()
	t := nodes.NewTable("NODE", "SERVICE", "STATE", "HEALTH", "LAST CHANGE", "LAST EVENT")
	for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) ([]*machinepb.ServiceInfo, error) {
		return services(ctx, c)
	}) {
		for _, svc := range r.Value {
			var at time.Time
			text := ""
			if e := svc.GetEvents().GetEvents(); len(e) > 0 {
				last := e[len(e)-1]
				at, text = last.GetTs().AsTime(), last.GetMsg()
			}
			t.Row(r.Node, svc.GetId(), svc.GetState(), health(svc.GetHealth()), nodes.Ago(now, at), text)
		}
	}
	return t.Write(s.Env().Stdout)
}

// health is one word: a service that was not checked, or has no check, is neither well nor ill.
func health(h *machinepb.ServiceHealth) string {
	switch {
	case h == nil || h.GetUnknown():
		return "?"
	case h.GetHealthy():
		return "OK"
	}
	return "Fail"
}

func showService(ctx context.Context, s *nodes.Session, id string) error {
	now := s.Env().Now()
	var b strings.Builder
	for _, r := range nodes.Each(ctx, s, nodes.Quick, func(ctx context.Context, c *client.Client, _ string) (*machinepb.ServiceInfo, error) {
		list, err := services(ctx, c)
		if err != nil {
			return nil, err
		}
		var ids []string
		for _, svc := range list {
			if svc.GetId() == id {
				return svc, nil
			}
			ids = append(ids, svc.GetId())
		}
		if len(ids) == 0 {
			return nil, errors.New("it has no services")
		}
		return nil, fmt.Errorf("it has no service %q; there are %s", id, strings.Join(ids, ", "))
	}) {
		describe(&b, r.Node, r.Value, now)
	}
	_, err := io.WriteString(s.Env().Stdout, b.String())
	return err
}

func describe(b *strings.Builder, node string, svc *machinepb.ServiceInfo, now time.Time) {
	row := func(name, format string, args ...any) {
		b.WriteString(strings.TrimRight(fmt.Sprintf("%-9s"+format, append([]any{name}, args...)...), " ") + "\n")
	}
	row("NODE", "%s", node)
	row("ID", "%s", nodes.Clean(svc.GetId()))
	row("STATE", "%s", nodes.Clean(svc.GetState()))
	well := health(svc.GetHealth())
	if m := svc.GetHealth().GetLastMessage(); m != "" && well != "OK" {
		well += ": " + m
	}
	row("HEALTH", "%s", nodes.Clean(well))
	name := "EVENTS"
	events := svc.GetEvents().GetEvents()
	for _, e := range slices.Backward(events) {
		row(name, "[%s]: %s (%s)", nodes.Clean(e.GetState()), nodes.Clean(e.GetMsg()), nodes.Ago(now, e.GetTs().AsTime()))
		name = ""
	}
}

func restartCommand(env command.Env) *cobra.Command {
	var kubernetes bool
	cmd := &cobra.Command{
		Use:     "restart ID",
		Short:   "Restart a container",
		Long:    "Ends the process of a container; what runs it starts it again. A service is restarted by 'talosctl service ID restart'.",
		Example: "  talosctl -n 10.5.0.2 restart -k kube-system/coredns-0:coredns",
		Args:    command.ExactArgs("ID"),
	}
	cmd.Flags().BoolVarP(&kubernetes, "kubernetes", "k", false, "the container is one of Kubernetes")
	f := nodes.Bind(cmd, env)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nodes.Complete(cmd, f, func(ctx context.Context, c *client.Client) ([]cobra.Completion, error) {
			namespace, driver := scope(kubernetes)
			r, err := client.Only(c.Machine().Containers(ctx, &machinepb.ContainersRequest{Namespace: namespace, Driver: driver}))
			var ids []cobra.Completion
			for _, info := range r.GetContainers() {
				ids = append(ids, info.GetId())
			}
			return ids, err
		})
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		namespace, driver := scope(kubernetes)
		return f.Run(cmd, func(ctx context.Context, s *nodes.Session) error {
			t := nodes.NewTable("NODE", "RESPONSE")
			for _, r := range nodes.Each(ctx, s, nodes.Slow, func(ctx context.Context, c *client.Client, _ string) (*machinepb.Restart, error) {
				return client.Only(c.Machine().Restart(ctx, &machinepb.RestartRequest{Namespace: namespace, Driver: driver, Id: args[0]}))
			}) {
				t.Row(r.Node, "container "+args[0]+" restarted")
			}
			return t.Write(env.Stdout)
		})
	}
	return cmd
}
