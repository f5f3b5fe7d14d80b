// Command kubernetes is every program of a Kubernetes node and control plane in one executable.
//
// The programs share nearly all of their code, so one executable with six names takes a third of
// the space and of the link time of six. The program that runs is chosen by the base name of
// argv[0]; under any other name by the first argument: "kubernetes kubelet --version" is
// "kubelet --version". An unknown name prints the known ones and exits with 2.
//
// The same text builds against each supported minor version of Kubernetes: go.mod pins the default
// one, and every other *.mod beside it an older one, for go build -modfile.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // the image has no zoneinfo, and CronJobs name time zones

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's credential plugins
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of client-go
	_ "k8s.io/component-base/metrics/prometheus/version"  // the metric kubernetes_build_info
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// programs maps a name to what runs under it. Each function returns the exit code.
var programs = map[string]func() int{
	"kube-apiserver":          serve(apiserver.NewAPIServerCommand),
	"kube-controller-manager": serve(controllermanager.NewControllerManagerCommand),
	"kube-proxy":              serve(proxy.NewProxyCommand),
	"kube-scheduler":          serve(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	// kubelet installs the signal handler itself. Given a context that already has one, it panics.
	"kubelet": serve(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl": runKubectl,
}

// serve makes a program of a constructor. The command is made when it runs and not before: making
// one registers flags and feature gates, and those of two programs must not meet.
func serve(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl reports errors in kubectl's own way, which exits with a code of its own choice.
func runKubectl() int {
	// Building the command already logs (plugins, .kuberc), so -v must be in force before.
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck // a bad -v is reported when flags are parsed
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
		return 1
	}
	return 0
}

// choose returns the program that args ask for and the arguments it is to see as its own,
// or a nil program when there is none of that name.
func choose(args []string) (func() int, []string) {
	for range 2 {
		if len(args) == 0 {
			return nil, nil
		}
		if run := programs[filepath.Base(args[0])]; run != nil {
			return run, args
		}
		args = args[1:]
	}
	return nil, nil
}

// usage names the programs.
func usage(w io.Writer) {
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(w, "usage: kubernetes PROGRAM [ARGUMENT...], or run it under the name of one:\n  %s\n", strings.Join(names, "\n  "))
}

func main() {
	run, args := choose(os.Args)
	if run == nil {
		usage(os.Stderr)
		os.Exit(2)
	}
	os.Args = args
	os.Exit(run())
}
