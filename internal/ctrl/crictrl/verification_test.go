package crictrl

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/container"
	"talos.internal/internal/image"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/signature"
	"talos.internal/internal/supervise"
	"talos.internal/resource"
	"talos.internal/resource/security"
)

const publicKey = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"

const verified = mirror + `---
apiVersion: v1alpha1
kind: ImageVerificationConfig
rules:
    - image: registry.example.com/team/*
      publicKey:
          certificate: |
              -----BEGIN PUBLIC KEY-----
              MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
              -----END PUBLIC KEY-----
    - image: registry.example.com/bad/*
      deny: true
    - image: quay.io/*
      keyless: {issuer: "https://accounts.example.com", subjectRegex: "^jane@"}
    - image: "*"
      skip: true
`

func TestRulesForSignaturesFollowTheConfig(t *testing.T) {
	dir := t.TempDir()
	s := &services{loaded: map[string]supervise.Service{}}
	d := Deps{
		Services: s, Client: container.New(container.Options{}), Dir: filepath.Join(dir, "cri"), Root: filepath.Join(dir, "root"),
		Caches: []string{filepath.Join(dir, "cache")}, Seccomp: filepath.Join(dir, "seccomp"), Verifiers: filepath.Join(dir, "verifiers"),
		Host: func() (container.Host, error) { return container.Host{}, nil },
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		policy := func() signature.Policy {
			t.Helper()
			p, err := Policy(h.State)(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		if p := policy(); p != nil {
			t.Errorf("without a config the rules are %v; want none", p)
		}
		setConfig(h, mirror)
		s.take()
		// Without the program that is asked, containerd would let everything pass: it is left as it is.
		setConfig(h, verified)
		if got := s.take(); len(got) > 0 {
			t.Errorf("without the verifier, orders = %q; want none", got)
		}
		want := signature.Policy{
			{Pattern: "registry.example.com/team/*", Key: publicKey},
			{Pattern: "registry.example.com/bad/*", Deny: true},
			{Pattern: "quay.io/*", Identity: "^jane@ of https://accounts.example.com"},
			{Pattern: "*", Skip: true},
		}
		if diff := cmp.Diff(want, policy()); diff != "" {
			t.Errorf("the rules (-want +got):\n%s", diff)
		}
		controllertest.WantThat(h, "0002", "the third rule", func(r *resource.Typed[security.ImageVerificationRule]) bool {
			k := r.Spec().KeylessVerifier
			return r.Spec().ImagePattern == "quay.io/*" && k != nil && k.SubjectRegex == "^jane@"
		})
		if err := replace(filepath.Join(d.Verifiers, Verifier), "", 0o700); err != nil {
			t.Fatal(err)
		}
		setConfig(h, verified+"# once more\n")
		h.Advance(lookAgain)
		if got := s.take(); !slices.Contains(got, "restart containerd") {
			t.Errorf("with rules, orders = %q; want a restart of containerd", got)
		}
		b, err := os.ReadFile(filepath.Join(d.Dir, "containerd.toml"))
		if err != nil || !strings.Contains(string(b), `bin_dir = "`+d.Verifiers+`"`) {
			t.Errorf("containerd's configuration does not name the verifier: %v", err)
		}
		setConfig(h, mirror)
		h.Settle()
		if got := s.take(); !slices.Contains(got, "restart containerd") {
			t.Errorf("without rules again, orders = %q; want a restart of containerd", got)
		}
		controllertest.WantGone[security.ImageVerificationRule](h, "0000")
	}, Controllers(d)...)
}

func TestTheNodeImageHasTheVerifier(t *testing.T) {
	specs := image.Specs()
	node := specs[slices.IndexFunc(specs, func(s image.Spec) bool { return s.Name == image.Node })]
	want := strings.TrimPrefix(Deps{}.withDefaults().Verifiers, "/") + "/" + Verifier
	if !slices.ContainsFunc(node.Files, func(e rootfs.Entry) bool { return e.Path == want && e.Target == "../../sbin/init" }) {
		t.Errorf("the node image has no link %s to our program", want)
	}
}
