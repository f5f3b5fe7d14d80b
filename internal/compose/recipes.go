package compose

import (
	"slices"
	"time"
)

// Recipes returns the recipe of every component, in the order in which they are started.
//
// Two builds at a time do not know of each other: what both need and neither has yet, both compile.
// So the two versions of Kubernetes, which share the most, do not start together; the later one finds
// much of what it needs in the cache. The shortest come last, to leave no core idle at the end.
func Recipes() []Recipe {
	return []Recipe{
		kubernetes("kubernetes", ""),
		{
			Name: "containerd",
			Programs: []Program{
				{
					Name: "containerd", Package: "github.com/containerd/containerd/v2/cmd/containerd",
					// Pods and images live on overlayfs; the other snapshotters need file systems or
					// daemons that the image does not have.
					Tags:   []string{"urfave_cli_no_docs", "no_btrfs", "no_devmapper", "no_zfs", "no_tracing"},
					Stamps: []string{"github.com/containerd/containerd/v2/version.Version={version}"},
					Checks: []Check{{Args: []string{"--version"}, Want: " {version} "}},
				},
				{
					Name: "containerd-shim-runc-v2", Package: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
					// One shim runs for each pod: without gRPC it is smaller in memory. Upstream does the same.
					Tags:   []string{"urfave_cli_no_docs", "no_grpc"},
					Stamps: []string{"github.com/containerd/containerd/v2/version.Version={version}"},
					Checks: []Check{{Args: []string{"-v"}, Want: " {version}\n"}},
				},
			},
		},
		{
			Name: "coredns",
			Programs: []Program{{
				Name: "coredns", Package: ".",
				Checks: []Check{
					{Args: []string{"-version"}, Want: "CoreDNS-{bare}\n"},
					{Args: []string{"-plugins"}, Want: "\nkubernetes\n"},
				},
			}},
		},
		{
			Name: "flannel",
			Programs: []Program{{
				Name: "flanneld", Package: ".",
				Stamps: []string{"github.com/flannel-io/flannel/pkg/version.Version={version}"},
				Checks: []Check{{Args: []string{"--version"}, Want: "{version}\n"}},
			}},
		},
		{
			Name: "etcd",
			Programs: []Program{{
				Name: "etcd", Package: ".",
				Links: []string{"etcdutl"},
				Checks: []Check{
					{Args: []string{"--version"}, Want: "etcd Version: {bare}\n"},
					{As: "etcdutl", Args: []string{"version"}, Want: "etcdutl version: {bare}\n"},
				},
			}},
		},
		kubernetes("kubernetes-1.36", "v1.36.mod"),
		{
			Name:     "runc",
			Packages: []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
			Programs: []Program{{
				Name: "runc", Package: "github.com/opencontainers/runc", Static: true,
				Tags: []string{"seccomp", "urfave_cli_no_docs", "netgo", "osusergo"},
				Checks: []Check{
					{Args: []string{"--version"}, Want: "runc version {bare}\n"},
					{Args: []string{"--version"}, Want: "libseccomp: "},
				},
			}},
		},
		cni(),
		{
			Name: "govulncheck",
			Programs: []Program{{
				Name: "govulncheck", Package: "golang.org/x/vuln/cmd/govulncheck",
				Checks: []Check{{Args: []string{"-h"}, Want: "Govulncheck"}},
			}},
		},
		{
			Name: "pause",
			Programs: []Program{{
				Name: "pause", Package: ".",
				Stamps: []string{"main.version={version}"},
				Checks: []Check{{Args: []string{"-v"}, Want: "pause {version}\n"}},
			}},
		},
	}
}

// kubernetes is the multi-call program of one minor version. The versions share a folder and the
// text of main, and differ in the file that pins them.
func kubernetes(name, modfile string) Recipe {
	p := Program{Name: "kubernetes", Package: "."}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		p.Stamps = append(p.Stamps, pkg+".gitVersion={version}", pkg+".gitMajor={major}", pkg+".gitMinor={minor}")
	}
	for _, server := range []string{"kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"} {
		p.Links = append(p.Links, server)
		p.Checks = append(p.Checks, Check{As: server, Args: []string{"--version"}, Want: "Kubernetes {version}\n"})
	}
	p.Checks = append(p.Checks, Check{Args: []string{"kubelet", "--version"}, Want: "Kubernetes {version}\n"})
	p.Links = append(p.Links, "kubectl")
	p.Checks = append(p.Checks, Check{As: "kubectl", Args: []string{"version", "--client"}, Want: "Client Version: {version}\n"})
	return Recipe{Name: name, Dir: "kubernetes", Modfile: modfile, Limit: 90 * time.Minute, Programs: []Program{p}}
}

// cni is what flannel and the lab's own network need: nothing else calls a plugin. Upstream's
// plugins are each a package main, so they cannot be one multi-call program.
func cni() Recipe {
	r := Recipe{Name: "cni"}
	const plugins = "github.com/containernetworking/plugins/"
	for _, kind := range [][2]string{
		{"main", "bridge"}, {"ipam", "host-local"}, {"main", "loopback"}, {"meta", "portmap"},
	} {
		r.Programs = append(r.Programs, Program{
			Name: kind[1], Package: plugins + "plugins/" + kind[0] + "/" + kind[1],
			Stamps: []string{plugins + "pkg/utils/buildversion.BuildVersion={version}"},
			Checks: []Check{{Want: "plugin {version}\n"}},
		})
	}
	r.Programs = append(r.Programs, Program{
		Name: "flannel", Package: "./flannel",
		Stamps: []string{"main.programVersion={version}"},
		Checks: []Check{{Want: "plugin {version}\n"}},
	})
	return r
}

// recipe returns the recipe of that name; ok is false when there is none.
func recipe(name string) (r Recipe, ok bool) {
	all := Recipes()
	i := slices.IndexFunc(all, func(r Recipe) bool { return r.Name == name })
	if i < 0 {
		return Recipe{}, false
	}
	return all[i], true
}
