package compose

import (
	"slices"
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	const text = "{version} {bare} {major} {minor} {other}"
	if got, want := expand(text, "v1.37.2"), "v1.37.2 1.37.2 1 37 {other}"; got != want {
		t.Errorf("expand(%q) = %q; want %q", text, got, want)
	}
}

func TestEveryProgramIsPinnedReproducibleAndTried(t *testing.T) {
	for _, r := range Recipes() {
		for _, p := range r.Programs {
			args := r.buildArgs(p, "v1.2.3")
			for _, want := range []string{"-mod=readonly", "-trimpath", "-buildvcs=false"} {
				if !slices.Contains(args, want) {
					t.Errorf("%s: go %q; want %s in it", p.Name, args, want)
				}
			}
			if strings.ContainsAny(strings.Join(args, " "), "{}") {
				t.Errorf("%s: go %q has something that is not expanded", p.Name, args)
			}
			if len(p.Checks) == 0 {
				t.Errorf("%s has no check", p.Name)
			}
			if p.Static != (p.cgo() == "1") || p.Static && len(r.Packages) == 0 {
				t.Errorf("%s: static %v, CGO_ENABLED=%s, packages %q; want all or none", p.Name, p.Static, p.cgo(), r.Packages)
			}
		}
	}
}

func TestNoTwoResultsShareAName(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range Recipes() {
		if seen[r.Name] {
			t.Errorf("two recipes are named %s", r.Name)
		}
		seen[r.Name] = true
		names := make(map[string]bool)
		for _, p := range r.Programs {
			for _, name := range append([]string{p.Name}, p.Links...) {
				if names[name] {
					t.Errorf("%s has two files %s", r.Name, name)
				}
				names[name] = true
			}
		}
	}
}

func TestEnvironmentOfTheUserDecidesNothing(t *testing.T) {
	got := environ([]string{"GOFLAGS=-mod=mod", "GOOS=plan9", "HOME=/h", "GOPROXY=p", "GOTOOLCHAIN=auto"}, "CGO_ENABLED=0", "GOPROXY=off")
	for _, want := range []string{"GOFLAGS=-mod=readonly", "GOOS=linux", "HOME=/h", "GOPROXY=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0"} {
		if !slices.Contains(got, want) {
			t.Errorf("environ = %q; want %s in it", got, want)
		}
	}
	for _, bad := range []string{"GOFLAGS=-mod=mod", "GOOS=plan9", "GOPROXY=p", "GOTOOLCHAIN=auto"} {
		if slices.Contains(got, bad) {
			t.Errorf("environ = %q; want %s not in it", got, bad)
		}
	}
}

func TestCommandToRunAgainSurvivesTheShell(t *testing.T) {
	r, _ := recipe("pause")
	got := shellLine("d", "0", state{recipe: r, component: Component{Version: "v1.0.0"}}, r.Programs[0])
	const want = `cd d && GOFLAGS=-mod=readonly GOTOOLCHAIN=local CGO_ENABLED=0 go build -o /dev/null -mod=readonly -trimpath -buildvcs=false '-ldflags=-s -w -X=main.version=v1.0.0' .`
	if got != want {
		t.Errorf("shellLine = %s; want %s", got, want)
	}
}

func TestKubernetesModReplacesTheStagingModules(t *testing.T) {
	const upstream = `{"Module":{"Path":"k8s.io/kubernetes"},"Go":"1.26.0","Replace":[
		{"Old":{"Path":"k8s.io/api"},"New":{"Path":"./staging/src/k8s.io/api"}},
		{"Old":{"Path":"example.com/x"},"New":{"Path":"example.com/y","Version":"v1.0.0"}},
		{"Old":{"Path":"k8s.io/kubelet"},"New":{"Path":"./staging/src/k8s.io/kubelet"}}]}`
	got, err := kubernetesMod([]byte(upstream), "v1.38.1")
	if err != nil {
		t.Fatal(err)
	}
	const want = "module talos.internal/components/kubernetes\n\ngo 1.26.0\n\ngodebug default=go1.26\n\nrequire k8s.io/kubernetes v1.38.1\n\n" +
		"replace (\n\tk8s.io/api => k8s.io/api v0.38.1\n\tk8s.io/kubelet => k8s.io/kubelet v0.38.1\n)\n"
	if string(got) != want {
		t.Errorf("kubernetesMod = %s; want %s", got, want)
	}
	if _, err := kubernetesMod([]byte(upstream), "v2.0.0"); err == nil {
		t.Error("kubernetesMod of v2.0.0 = no error; want one")
	}
}
