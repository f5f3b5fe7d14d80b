package kubeconfig

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/internal/golden"
	"talos.internal/secret"
)

var testNow = time.Date(2027, 1, 15, 12, 30, 45, 0, time.UTC)

func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}

		return value
	}
}

// wantError checks that an error has all the texts; no text at all means no error.
func wantError(t *testing.T, call string, err error, texts ...string) {
	t.Helper()

	if len(texts) == 0 && err != nil {
		t.Errorf("%s: error = %v; want none", call, err)
	}

	for _, text := range texts {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error = %v; want it to contain %q", call, err, text)
		}
	}
}

// fixedPair is a throw-away certificate with its key that stays the same from run to run.
func fixedPair(t testing.TB) secret.Pair {
	t.Helper()

	return must(secret.ParsePair(
		must(os.ReadFile("testdata/admin.crt"))(t),
		must(os.ReadFile("testdata/admin.key"))(t),
	))(t)
}

func TestAdminMarshal(t *testing.T) {
	client := fixedPair(t)

	spec := Admin("lab", "https://192.168.1.100:6443", []*x509.Certificate{client.Certificate()}, client)
	got := must(spec.Marshal())(t)
	golden.Check(t, "admin.kubeconfig", got)

	if again := must(spec.Marshal())(t); string(again) != string(got) {
		t.Error("Marshal differs from one call to the next")
	}
}

func TestMarshalledCredentialsWork(t *testing.T) {
	ca := must(secret.NewAuthority(secret.Kubernetes, testNow))(t)
	rotated := must(secret.NewAuthority(secret.Kubernetes, testNow))(t)
	client := must(ca.Issue(secret.KubeScheduler(), testNow))(t)

	spec := Spec{
		Cluster: "lab", User: "scheduler", Context: "scheduler@lab", Server: "https://127.0.0.1:7445",
		CA: []*x509.Certificate{ca.Certificate(), rotated.Certificate()}, Client: client,
	}

	var file struct {
		Clusters []struct {
			Cluster map[string]string `yaml:"cluster"`
		} `yaml:"clusters"`
		Users []struct {
			User map[string]string `yaml:"user"`
		} `yaml:"users"`
		Contexts []struct {
			Name    string            `yaml:"name"`
			Context map[string]string `yaml:"context"`
		} `yaml:"contexts"`
		CurrentContext string `yaml:"current-context"`
	}
	if err := yaml.Unmarshal(must(spec.Marshal())(t), &file); err != nil {
		t.Fatal(err)
	}

	decode := func(s string) []byte { return must(base64.StdEncoding.DecodeString(s))(t) }
	user := file.Users[0].User

	if _, err := tls.X509KeyPair(decode(user["client-certificate-data"]), decode(user["client-key-data"])); err != nil {
		t.Errorf("the user's certificate and key: %v", err)
	}

	certs := must(secret.ParseCertificates(decode(file.Clusters[0].Cluster["certificate-authority-data"])))(t)
	if len(certs) != 2 || !certs[1].Equal(rotated.Certificate()) {
		t.Errorf("certificate-authority-data has %d certificates; want both", len(certs))
	}

	want := map[string]string{"cluster": "lab", "user": "scheduler"}
	if diff := cmp.Diff(want, file.Contexts[0].Context); diff != "" || file.CurrentContext != "scheduler@lab" {
		t.Errorf("context (-want +got):\n%s; current %q", diff, file.CurrentContext)
	}
}

func TestMarshalNamesWhatIsMissing(t *testing.T) {
	client := fixedPair(t)
	good := Admin("lab", "https://192.168.1.100:6443", []*x509.Certificate{client.Certificate()}, client)

	for _, tt := range []struct {
		name   string
		change func(*Spec)
		errs   []string
	}{
		{"complete", func(*Spec) {}, nil},
		{"IPv6", func(s *Spec) { s.Server = "https://[fd00::1]:6443" }, nil},
		{"nothing", func(s *Spec) { *s = Spec{} }, []string{
			"no name of the cluster", "no name of the user", "no name of the context", "server: want https", "authority", "client certificate",
		}},
		{"plain HTTP", func(s *Spec) { s.Server = "http://x" }, []string{"server: want https://host:port"}},
		{"no host", func(s *Spec) { s.Server = "https://:6443" }, []string{"server"}},
		{"password in the address", func(s *Spec) { s.Server = "https://u:opensesame@x" }, []string{"server"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec := good
			tt.change(&spec)

			_, err := spec.Marshal()
			wantError(t, "Marshal", err, tt.errs...)

			if err != nil && strings.Contains(err.Error(), "opensesame") {
				t.Errorf("Marshal: the error shows the password: %v", err)
			}
		})
	}
}
