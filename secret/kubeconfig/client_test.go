package kubeconfig

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"talos.internal/secret"
)

func TestClientReadsWhatMarshalWrote(t *testing.T) {
	ca := must(secret.NewAuthority(secret.Kubernetes, testNow))(t)
	pair := must(ca.Issue(secret.KubeAdmin(time.Hour), testNow))(t)
	text := string(must(Admin("lab", "https://10.5.0.2:6443", []*x509.Certificate{ca.Certificate()}, pair).Marshal())(t))

	got, err := Client([]byte(text))
	wantError(t, "Client", err)

	if string(got.CertificatePEM()) != string(pair.CertificatePEM()) || !got.Key().Equal(pair.Key()) {
		t.Error("Client returned another certificate or key")
	}

	key := text[strings.Index(text, "client-key-data: ")+len("client-key-data: "):]
	key, _, _ = strings.Cut(key, "\n")

	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "no user of the current context"},
		{"no YAML", "\t", "not a kubeconfig"},
		{"another context", strings.Replace(text, "current-context: ", "current-context: x", 1), "no user"},
		{"no base64", strings.Replace(text, "client-key-data: ", "client-key-data: '!'#", 1), "not base64"},
		{"no key", strings.Replace(text, "client-key-data: ", "x: ", 1), `user "admin@lab"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Client([]byte(tt.text))
			wantError(t, "Client", err, tt.want)

			if err != nil && strings.Contains(err.Error(), key) {
				t.Error("the error has the key")
			}
		})
	}
}
