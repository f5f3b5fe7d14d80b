package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"talos.internal/api/machinepb"
	"talos.internal/api/statepb"
	"talos.internal/client"
	"talos.internal/internal/buildinfo"
	"talos.internal/secret"
)

func TestClusterAnswers(t *testing.T) {
	l := newLab(t, "e2e-answers", 51, options{workers: 1}).ready()
	admin := l.as(l.control(), secret.RoleAdmin)

	t.Run("through the client", func(t *testing.T) { l.answersClient(t, admin) })
	t.Run("through talosctl", l.answersTalosctl)
	t.Run("the control plane forwards to the worker", func(t *testing.T) {
		l := l.on(t)
		ctx := client.WithNode(l.context(), l.worker().Endpoint)
		got, err := client.Only(admin.Machine().Hostname(ctx, &emptypb.Empty{}))
		if err != nil || got.GetHostname() != l.worker().Name {
			t.Errorf("Hostname of the worker = %q, %v; want %q", got.GetHostname(), err, l.worker().Name)
		}
	})
	t.Run("a call for both comes back from both", func(t *testing.T) {
		l := l.on(t)
		reply, err := admin.Machine().Hostname(client.WithNodes(l.context(), l.control().Endpoint, l.worker().Endpoint), &emptypb.Empty{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, r := range client.Split(reply) {
			if r.Err != nil {
				t.Errorf("%s: %v", r.Node, r.Err)
			}
			got[r.Node] = r.Value.GetHostname()
		}
		for _, n := range l.nodes {
			if got[n.Endpoint] != n.Name {
				t.Errorf("%s is called %q; want %q", n.Endpoint, got[n.Endpoint], n.Name)
			}
		}
	})
	t.Run("a worker answers for itself and forwards nothing", func(t *testing.T) {
		l := l.on(t)
		direct := l.as(l.worker(), secret.RoleAdmin)
		got, err := client.Only(direct.Machine().Hostname(client.WithNode(l.context(), l.worker().Endpoint), &emptypb.Empty{}))
		if err != nil || got.GetHostname() != l.worker().Name {
			t.Errorf("Hostname = %q, %v; want %q", got.GetHostname(), err, l.worker().Name)
		}
		for name, ctx := range map[string]context.Context{
			"node":  client.WithNode(l.context(), l.control().Endpoint),
			"nodes": client.WithNodes(l.context(), l.control().Endpoint, l.worker().Endpoint),
		} {
			if err := version(ctx, direct); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%s: error = %v; want PermissionDenied", name, err)
			}
		}
	})
	t.Run("no process is a shell", func(t *testing.T) {
		l := l.on(t)
		for _, n := range l.nodes {
			list, err := client.Only(admin.Machine().Processes(client.WithNode(l.context(), n.Endpoint), &emptypb.Empty{}))
			if err != nil || len(list.GetProcesses()) < 2 {
				t.Fatalf("Processes of %s = %v, %v", n.Name, list, err)
			}
			for _, p := range list.GetProcesses() {
				if regexp.MustCompile(`(^|/)(ba|da|a|z|c|k|fi)?sh$|busybox|toybox`).MatchString(p.GetExecutable()) {
					t.Errorf("%s runs %s: %s", n.Name, p.GetExecutable(), p.GetArgs())
				}
			}
		}
	})
}

// answersClient asks the control plane by the methods of the API.
func (l *lab) answersClient(t *testing.T, c *client.Client) {
	t.Run("Version", func(t *testing.T) {
		l := l.on(t)
		v, err := client.Only(c.Machine().Version(l.context(), &emptypb.Empty{}))
		if err != nil {
			t.Fatal(err)
		}
		if v.GetVersion().GetTag() != buildinfo.Version || v.GetPlatform().GetName() != "container" || !v.GetFeatures().GetRbac() {
			t.Errorf("Version = %v; want %s in a container, with roles", v, buildinfo.Version)
		}
	})
	t.Run("State", func(t *testing.T) {
		l := l.on(t)
		for _, n := range l.nodes {
			want := n.Name
			l.until("the member "+want, func(ctx context.Context) error {
				names, err := list(client.WithNode(ctx, n.Endpoint), c, "cluster", "Members.cluster.talos.dev")
				if err == nil && !slices.Contains(names, want) {
					err = fmt.Errorf("the members are %q", names)
				}
				return err
			})
		}
	})
	t.Run("ServiceList", func(t *testing.T) {
		l := l.on(t)
		l.until("services to be healthy", func(ctx context.Context) error {
			all, err := services(ctx, c)
			for _, id := range []string{"machined", "apid", "trustd"} {
				if s := all[id]; s.GetState() != "Running" || id != "machined" && !s.GetHealth().GetHealthy() {
					return errors.Join(err, fmt.Errorf("%s is %v", id, s))
				}
			}
			return err
		})
		worker, err := services(client.WithNode(l.context(), l.worker().Endpoint), c)
		if err != nil || worker["trustd"] != nil {
			t.Errorf("services of the worker = %v, %v; want no trustd", worker, err)
		}
	})
	t.Run("Logs", func(t *testing.T) {
		l := l.on(t)
		got, err := text(c.Machine().Logs(l.context(), &machinepb.LogsRequest{Namespace: "system", Id: "machined", TailLines: -1}))
		if err != nil || !strings.Contains(got, "level=INFO") {
			t.Errorf("log of machined = %d bytes, %v; want lines", len(got), err)
		}
		tail, err := text(c.Machine().Logs(l.context(), &machinepb.LogsRequest{Namespace: "system", Id: "machined", TailLines: 2}))
		if err != nil || strings.Count(tail, "\n") != 2 {
			t.Errorf("its last two lines = %q, %v", tail, err)
		}
	})
	t.Run("List", func(t *testing.T) {
		l := l.on(t)
		s, err := c.Machine().List(l.context(), &machinepb.ListRequest{Root: "/"})
		var got []string
		for err == nil {
			var f *machinepb.FileInfo
			if f, err = s.Recv(); err == nil {
				got = append(got, f.GetRelativeName())
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for _, want := range []string{"etc", "run", "system", "usr", "var"} {
			if !slices.Contains(got, want) {
				t.Errorf("List / = %q; want %q in it", got, want)
			}
		}
	})
	t.Run("Read", func(t *testing.T) {
		l := l.on(t)
		got, err := text(c.Machine().Read(l.context(), &machinepb.ReadRequest{Path: "/etc/os-release"}))
		if err != nil || !strings.Contains(got, "VERSION_ID="+buildinfo.Version) {
			t.Errorf("Read /etc/os-release = %q, %v", got, err)
		}
		if _, err := text(c.Machine().Read(l.context(), &machinepb.ReadRequest{Path: "/none"})); status.Code(err) != codes.NotFound {
			t.Errorf("Read /none: %v; want NotFound", err)
		}
	})
}

// list returns the ids of the resources of a type.
func list(ctx context.Context, c *client.Client, namespace, kind string) ([]string, error) {
	s, err := c.State().List(ctx, &statepb.ListRequest{Namespace: namespace, Type: kind})
	var ids []string
	for err == nil {
		var r *statepb.ListResponse
		if r, err = s.Recv(); err == nil {
			ids = append(ids, r.GetResource().GetMetadata().GetId())
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return ids, err
}

// answersTalosctl runs commands. What changes from run to run is a pattern.
func (l *lab) answersTalosctl(t *testing.T) {
	ip, worker := regexp.QuoteMeta(l.control().Endpoint), regexp.QuoteMeta(l.worker().Endpoint)
	both := l.control().Endpoint + "," + l.worker().Endpoint
	for _, tc := range []struct {
		args []string
		want []string // patterns of lines, in their order
	}{
		{[]string{"version"}, []string{`^Client:$`, `^Server:$`, `^\tNODE: +` + ip + `$`, `^\tTag: +v1\.15`, `^\tGo version: +go1\.`,
			`^\tOS/Arch: +linux/`, `^\tEnabled: +RBAC$`}},
		{[]string{"-n", both, "version", "--short"}, []string{`^Client v1\.15`, `^Server ` + ip + ` v1\.15`, `^Server ` + worker + ` v1\.15`}},
		{[]string{"get", "members"}, []string{`^NODE +NAMESPACE +TYPE +ID +VERSION +HOSTNAME +MACHINE TYPE +OS +ADDRESSES +STATE$`,
			`^` + ip + ` +cluster +Member +` + l.control().Name + ` +\d+ +` + l.control().Name + ` +controlplane +Talos \(v1\.15.*\) +\["` + ip + `"\] +\S+$`}},
		{[]string{"services"}, []string{`^NODE +SERVICE +STATE +HEALTH +LAST CHANGE +LAST EVENT$`,
			`^` + ip + ` +apid +Running +OK +\S+ ago +`, `^` + ip + ` +machined +Running +`, `^` + ip + ` +trustd +Running +OK +\S+ ago +`}},
		{[]string{"service", "apid"}, []string{`^NODE +` + ip + `$`, `^ID +apid$`, `^STATE +Running$`, `^HEALTH +OK$`, `^EVENTS +\[Running\]: `}},
		{[]string{"logs", "machined", "--tail", "3"}, []string{`^` + ip + `: \S`, `^` + ip + `: \S`, `^` + ip + `: \S`}},
		{[]string{"list", "/"}, []string{`^NODE +NAME$`, `^` + ip + ` +\.$`, `^` + ip + ` +etc$`, `^` + ip + ` +var$`}},
		{[]string{"list", "-l", "/etc"}, []string{`^NODE +MODE +UID +GID +SIZE\(B\) +LASTMOD +LABEL +NAME$`}},
		{[]string{"read", "/etc/os-release"}, []string{`^NAME="Talos"$`, `^ID=talos$`}},
		{[]string{"memory"}, []string{`^NODE +TOTAL +USED +FREE +SHARED +BUFFERS +CACHE +AVAILABLE$`, `^` + ip}},
		{[]string{"mounts"}, []string{`^NODE +FILESYSTEM +SIZE\(GB\) +USED\(GB\) +AVAILABLE\(GB\) +PERCENT USED +MOUNTED ON$`}},
		{[]string{"processes"}, []string{`PID`, `/sbin/init`}},
		{[]string{"dmesg"}, []string{`^` + ip + `: `}},
		{[]string{"get", "hostname", "-o", "jsonpath={.spec.hostname}"}, []string{`^` + l.control().Name + `$`}},
		{[]string{"get", "addresses"}, []string{`^NODE +NAMESPACE +TYPE +ID +VERSION +ADDRESS +LINK$`, `eth0/` + ip + `/24`}},
		{[]string{"inspect", "dependencies"}, []string{`^digraph`}},
		{[]string{"time"}, []string{`NODE +NTP-SERVER`}},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			l := l.on(t)
			args := tc.args
			if args[0] != "-n" {
				args = append([]string{args[0]}, append([]string{"-n", l.control().Endpoint}, args[1:]...)...)
			}
			if args[0] == "inspect" {
				args = []string{"inspect", "dependencies", "-n", l.control().Endpoint}
			}
			out, errs, code := l.talosctl(args...)
			if code != 0 || errs != "" {
				t.Errorf("exit code %d, standard error:\n%s", code, errs)
			}
			lines := strings.Split(out, "\n")
			at := 0
			for _, pattern := range tc.want {
				re := regexp.MustCompile(pattern)
				i := slices.IndexFunc(lines[at:], re.MatchString)
				if i < 0 {
					t.Fatalf("no line %q (in this order) in\n%s", pattern, out)
				}
				at += i + 1
			}
		})
	}
	t.Run("a node that is not there is one line, and the other answers", func(t *testing.T) {
		l := l.on(t)
		gone := strings.TrimSuffix(l.control().Endpoint, ".2") + ".9"
		out, errs, code := l.talosctl("version", "--short", "-n", l.control().Endpoint+","+gone)
		if code != 1 || !strings.Contains(out, "Server "+l.control().Endpoint) || !strings.Contains(errs, gone) || strings.Count(errs, "\n") != 1 {
			t.Errorf("exit code %d\n%s\n%s", code, out, errs)
		}
	})
}
