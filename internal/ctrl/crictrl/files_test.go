package crictrl

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	transferimage "github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/container"
	"talos.internal/internal/image"
	"talos.internal/resource/cri"
	"talos.internal/resource/secrets"
)

var update = flag.Bool("update", false, "write the golden files")

// some are sources with something of everything.
func some() Sources {
	return Sources{
		Registries: cri.RegistryConfig{
			Mirrors: map[string]cri.RegistryMirror{
				"*":                  {Endpoints: []cri.RegistryEndpoint{cacheEndpoint, {URL: "https://any.example.com"}}},
				"docker.io":          {Endpoints: []cri.RegistryEndpoint{cacheEndpoint, {URL: "https://mirror.example.com:5000/v2/docker", OverridePath: true}}},
				"registry.k8s.io":    {Endpoints: []cri.RegistryEndpoint{cacheEndpoint, {URL: "https://a.example.com"}, {URL: "https://a.example.com"}}, SkipFallback: true},
				"closed.example.com": {SkipFallback: true},
			},
			Auths: map[string]cri.RegistryAuth{
				"docker.io":        {Username: "user", Password: "a\"b\\c\nd"},
				"auth.example.com": {Auth: "dTpw"}, "token.example.com": {IdentityToken: "token"},
			},
			TLS: map[string]cri.RegistryTLS{
				"mirror.example.com:5000": {CA: []byte("the authority\n"), ClientIdentity: &secrets.CertificateAndKey{Crt: []byte("crt\n"), Key: []byte("key\n")}},
				"insecure.example.com":    {InsecureSkipVerify: true},
			},
		},
		Customizations: map[string]cri.CustomizationConfig{"metrics": {Content: "[plugins.\"io.containerd.server.v1.metrics\"]\n  address = \"127.0.0.1:11234\"\n"}},
		Base:           map[string]any{"process": map[string]any{"cwd": "/", "noNewPrivileges": true}, "linux": map[string]any{"x": 1}},
		Overrides:      map[string]any{"process": map[string]any{"rlimits": []any{map[string]any{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}}, "noNewPrivileges": nil}, "hostname": "h"},
	}
}

func testDeps(dir string) Deps {
	return Deps{Dir: dir, Root: filepath.Join(dir, "root"), State: filepath.Join(dir, "state")}.withDefaults()
}

func TestFilesAreWhatTheGoldenFileSays(t *testing.T) {
	h := container.Host{Capabilities: []string{"CAP_SYS_RESOURCE"}}
	files, err := Files(Deps{}.withDefaults(), h, some())
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "testdata/files.txtar", files)
	// Where images are verified one file is another.
	verify := some()
	verify.Verify = true
	other, err := Files(Deps{}.withDefaults(), h, verify)
	if err != nil {
		t.Fatal(err)
	}
	checkGolden(t, "testdata/verify.txtar", map[string]string{"containerd.toml": other["containerd.toml"]})
	delete(files, "containerd.toml")
	delete(other, "containerd.toml")
	if d := cmp.Diff(files, other); d != "" {
		t.Errorf("where images are verified other files differ too:\n%s", d)
	}
}

func checkGolden(t *testing.T, golden string, files map[string]string) {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		b.WriteString("-- " + name + " --\n" + files[name])
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("Files differs from %s (-want +got):\n%s", golden, d)
	}
}

func TestOOMScoresAreRestrictedWhereTheyCannotBeLowered(t *testing.T) {
	for _, tc := range []struct{ caps, want string }{{"CAP_SYS_RESOURCE", "restrict_oom_score_adj = false"}, {"CAP_CHOWN", "restrict_oom_score_adj = true"}} {
		if got := containerdTOML(Deps{}.withDefaults(), container.Host{Capabilities: []string{tc.caps}}, nil, false, false); !strings.Contains(got, tc.want) {
			t.Errorf("with %s there is no %q in:\n%s", tc.caps, tc.want, got)
		}
	}
}

// TestContainerdReadsTheHostsFilesAsMeant gives the files to containerd's own reader.
func TestContainerdReadsTheHostsFilesAsMeant(t *testing.T) {
	dir := t.TempDir()
	s := some()
	s.Registries.TLS = map[string]cri.RegistryTLS{"insecure.example.com": {InsecureSkipVerify: true}, "other.example.com:5000": {InsecureSkipVerify: true}}
	files, err := Files(testDeps(dir), container.Host{}, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syncFiles(dir, files, map[string]bool{}); err != nil {
		t.Fatal(err)
	}
	hosts := config.ConfigureHosts(context.Background(), config.HostOptions{HostDir: config.HostDirFromRoot(filepath.Join(dir, hostsPrefix))})
	cache := "http://127.0.0.1:3172/v2"
	for _, tc := range []struct {
		registry string
		want     []string
		insecure bool // the last one
	}{
		{"docker.io", []string{cache, "https://mirror.example.com:5000/v2/docker", "https://registry-1.docker.io/v2"}, false},
		{"registry.k8s.io", []string{cache, "https://a.example.com/v2", "https://a.example.com/v2"}, false},
		{"quay.io", []string{cache, "https://any.example.com/v2", "https://quay.io/v2"}, false},
		{"closed.example.com", []string{cache}, false},
		{"insecure.example.com", []string{cache, "https://any.example.com/v2", "https://insecure.example.com/v2"}, true},
		{"other.example.com:5000", []string{cache, "https://any.example.com/v2", "https://other.example.com:5000/v2"}, true},
	} {
		got, err := hosts(tc.registry)
		if err != nil {
			t.Errorf("%s: %v", tc.registry, err)
			continue
		}
		var urls []string
		for _, h := range got {
			urls = append(urls, h.Scheme+"://"+h.Host+h.Path)
			if !h.Capabilities.Has(docker.HostCapabilityPull | docker.HostCapabilityResolve) {
				t.Errorf("%s: %s cannot pull", tc.registry, h.Host)
			}
		}
		if d := cmp.Diff(tc.want, urls); d != "" {
			t.Errorf("%s (-want +got):\n%s", tc.registry, d)
		}
		if tr, ok := got[len(got)-1].Client.Transport.(*http.Transport); !ok || tr.TLSClientConfig.InsecureSkipVerify != tc.insecure {
			t.Errorf("%s: insecure is not %v", tc.registry, tc.insecure)
		}
	}
}

func TestOnlyWhatContainerdReadsAtItsStartIsAReasonToRestart(t *testing.T) {
	dir, known := t.TempDir(), map[string]bool{}
	if err := os.MkdirAll(filepath.Join(dir, "conf.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "conf.d", "10-extension.part")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hosts := hostsPrefix + "a/hosts.toml"
	for _, tc := range []struct {
		name string
		want map[string]string
		is   bool
	}{
		{"first", map[string]string{"containerd.toml": "1", hosts: "1"}, true},
		{"nothing", map[string]string{"containerd.toml": "1", hosts: "1"}, false},
		{"a hosts file", map[string]string{"containerd.toml": "1", hosts: "2"}, false},
		{"a part comes", map[string]string{"containerd.toml": "1", hosts: "2", "conf.d/20-x.part": ""}, true},
		{"a part goes", map[string]string{"containerd.toml": "1", hosts: "2"}, true},
		{"a hosts file goes", map[string]string{"containerd.toml": "1"}, false},
	} {
		got, err := syncFiles(dir, tc.want, known)
		if err != nil || got != tc.is {
			t.Errorf("%s: sync = %v, %v; want %v", tc.name, got, err, tc.is)
		}
		for name, content := range tc.want {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != content {
				t.Errorf("%s: %s = %q, %v; want %q", tc.name, name, b, err, content)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, hostsPrefix, "a")); err == nil {
		t.Error("the directory of a host that is not wanted any more is there: containerd would not take the default")
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("a part of somebody else: %v", err)
	}
}

func TestThePauseImageIsTheOneThatIsMade(t *testing.T) {
	if !slices.ContainsFunc(image.Specs(), func(s image.Spec) bool { return s.Ref == pauseImage }) {
		t.Errorf("internal/image does not make %s", pauseImage)
	}
}

func TestCredentials(t *testing.T) {
	c := some().Registries
	for host, want := range map[string][2]string{
		"docker.io": {"user", "a\"b\\c\nd"}, "registry-1.docker.io": {"user", "a\"b\\c\nd"}, "auth.example.com": {"u", "p"},
		"token.example.com": {"", "token"}, "nobody.example.com": {"", ""},
	} {
		user, password, err := credentialsFor(c, host)
		if err != nil || [2]string{user, password} != want {
			t.Errorf("credentialsFor(%s) = %q, %q, %v; want %q", host, user, password, err, want)
		}
	}
	c.Auths["bad.example.com"] = cri.RegistryAuth{Auth: "!"}
	if _, _, err := credentialsFor(c, "bad.example.com"); err == nil {
		t.Error("credentialsFor(bad) = nil error")
	}
}

// transferTo pulls an image as the CRI plugin does where images are verified, without unpacking it.
func transferTo(ctx context.Context, d Deps, ref string) error {
	c, err := client.New(filepath.Join(d.State, "containerd.sock"), client.WithDefaultNamespace(container.Pods))
	if err != nil {
		return err
	}
	defer c.Close()
	from, err := registry.NewOCIRegistry(ctx, ref, registry.WithHostDir(filepath.Join(d.Dir, hostsPrefix)))
	if err != nil {
		return err
	}
	return c.Transfer(ctx, from, transferimage.NewStore(ref))
}

// component returns a program that "make components" builds.
func component(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv("TALOS_COMPONENTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "_out", "components")
	}
	p, err := filepath.Abs(filepath.Join(dir, name))
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("the component %s is missing: %v", name, err)
		}
		t.Skipf("%v: build it with \"make components\"", err)
	}
	return p
}

// TestContainerdTakesTheConfiguration starts containerd with it: every plugin that is named exists, the CRI plugin is up, and
// nothing that was said is ignored. Where images are verified it asks the program.
func TestContainerdTakesTheConfiguration(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("containerd needs root")
	}
	t.Run("plain", func(t *testing.T) { checkContainerd(t, false) })
	t.Run("verify", func(t *testing.T) { checkContainerd(t, true) })
}

// aVerifier lets the images of one team pass.
const aVerifier = "#!/bin/sh\ncase \"$2\" in *.test/trusted/*) echo fine; exit 0;; esac\necho \"not of the team: $2 $4\"\nexit 1\n"

func checkContainerd(t *testing.T, verify bool) {
	program := component(t, "containerd/containerd")
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := testDeps(dir)
	d.Snapshotter = Native
	d.Verifiers = filepath.Join(dir, "verifiers")
	if err := replace(filepath.Join(d.Verifiers, Verifier), aVerifier, 0o700); err != nil {
		t.Fatal(err)
	}
	host, err := container.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	s := some()
	s.Verify = verify
	mirror := newSource(t, nil)
	const trusted, stranger = "registry.example.test/trusted/app:v1", "registry.example.test/other/app:v1"
	s.Registries.Mirrors = map[string]cri.RegistryMirror{anyRegistry: {Endpoints: []cri.RegistryEndpoint{{URL: mirror.URL}}}}
	s.Customizations = map[string]cri.CustomizationConfig{"log": {Content: "[plugins.\"io.containerd.cri.v1.runtime\"]\n  max_container_log_line_size = 12345\n"}}
	base, err := defaultSpec()
	if err != nil {
		t.Fatal(err)
	}
	s.Base = base
	files, err := Files(d, host, s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syncFiles(dir, files, map[string]bool{}); err != nil {
		t.Fatal(err)
	}
	main := filepath.Join(dir, "containerd.toml")
	dump, err := exec.Command(program, "--config", main, "config", "dump").CombinedOutput()
	if err != nil {
		t.Fatalf("containerd config dump: %v\n%s", err, dump)
	}
	for _, want := range []string{
		"max_container_log_line_size = 12345", "config_path = '" + dir + "/conf.d/hosts'", "sandbox = '" + pauseImage + "'", "disable_apparmor = true",
		"netns_mounts_under_state_dir = true", "base_runtime_spec = '" + dir + "/conf.d/base-spec.json'",
		fmt.Sprintf("discard_unpacked_layers = %t", !verify), fmt.Sprintf("use_local_image_pull = %t", !verify),
	} {
		if !strings.Contains(string(dump), want) {
			t.Errorf("the configuration that containerd has lacks %q", want)
		}
	}
	cmd := exec.Command(program, "--config", main)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := container.New(container.Options{Socket: filepath.Join(d.State, "containerd.sock")})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	health := c.Healthy(ctx)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if verify {
		fill(t, trusted, mirror)
		if err := transferTo(ctx, d, trusted); err != nil {
			t.Errorf("pull of %s = %v; want it to pass", trusted, err)
		}
		fill(t, stranger, mirror)
		if err := transferTo(ctx, d, stranger); err == nil || !strings.Contains(err.Error(), "not of the team: "+stranger+" sha256:") {
			t.Errorf("pull of %s = %v; want that the verifier refuses it", stranger, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	if health != nil {
		t.Errorf("Healthy = %v", health)
	}
	said := log.String()
	for _, bad := range []string{"level=error", "level=fatal", "invalid", "unknown", "Ignoring unknown key"} {
		for _, line := range strings.Split(said, "\n") {
			// No CNI configuration is there yet.
			if strings.Contains(line, bad) && !strings.Contains(line, "cni config load failed") {
				t.Errorf("containerd says: %s", line)
			}
		}
	}
	for _, p := range unused {
		if verify && p == verifierPlugin {
			continue
		}
		if strings.Contains(said, "loading plugin\" id="+p+" ") {
			t.Errorf("the plugin %s is loaded", p)
		}
	}
	if !strings.Contains(said, "io.containerd.grpc.v1.cri") {
		t.Errorf("the CRI plugin is not loaded:\n%s", said)
	}
}
