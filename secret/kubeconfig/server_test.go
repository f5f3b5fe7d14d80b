package kubeconfig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWithServerChangesTheServerAlone(t *testing.T) {
	const in = `apiVersion: v1
kind: Config
clusters:
  - name: lab
    cluster:
      server: https://10.5.0.2:6443 # inside
      certificate-authority-data: QQ==
users: []
`
	// Indented as kubectl does.
	const want = `apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: https://127.0.0.1:40001 # inside
    certificate-authority-data: QQ==
users: []
`
	got, err := WithServer([]byte(in), "https://127.0.0.1:40001")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("WithServer (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "kind: Pod\n", "- a\n"} {
		if _, err := WithServer([]byte(bad), "https://x"); err == nil {
			t.Errorf("WithServer(%q) is no error", bad)
		}
	}
}
