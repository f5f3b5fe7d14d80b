package kubeconfig

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// labKubeconfig is the kubeconfig of a cluster that is gone.
const labKubeconfig = `apiVersion: v1
kind: Config
clusters:
  - name: lab
    cluster: {server: 'https://10.5.0.2:6443', certificate-authority-data: QQ==}
users:
  - name: admin@lab
    user: {token: a}
contexts:
  - name: admin@lab
    context: {cluster: lab, user: admin@lab}
current-context: admin@lab
`

func TestRemoveTakesOutOneClusterOnly(t *testing.T) {
	for _, tc := range []struct {
		name, existing, want string
		removed              []Entry
	}{
		{"an empty file", "", "", nil},
		{"a file without it", "# mine\ncurrent-context: x\n", "# mine\ncurrent-context: x\n", nil},
		{
			"it was all", labKubeconfig,
			"apiVersion: v1\nkind: Config\nclusters: []\nusers: []\ncontexts: []\ncurrent-context: \"\"\n",
			[]Entry{{Clusters, "lab"}, {Users, "admin@lab"}, {Contexts, "admin@lab"}},
		},
		{
			"it has another name, and others stay",
			`# mine
apiVersion: v1
kind: Config
clusters:
  - name: lab # the first
    cluster: {server: 'https://10.5.0.2:6443', certificate-authority-data: Qg==}
  - name: lab-1
    cluster: {server: 'https://127.0.0.1:6443', certificate-authority-data: QQ==}
users:
  - name: shared
    user: {token: s}
  - name: admin@lab-1
    user: {token: newer}
contexts:
  - name: admin@lab
    context: {cluster: lab, user: shared}
  - name: admin@lab-1
    context: {cluster: lab-1, user: admin@lab-1}
  - name: both
    context: {cluster: lab-1, user: shared}
current-context: both
`,
			`# mine
apiVersion: v1
kind: Config
clusters:
- name: lab # the first
  cluster: {server: 'https://10.5.0.2:6443', certificate-authority-data: Qg==}
users:
- name: shared
  user: {token: s}
contexts:
- name: admin@lab
  context: {cluster: lab, user: shared}
current-context: admin@lab
`,
			[]Entry{{Clusters, "lab-1"}, {Users, "admin@lab-1"}, {Contexts, "admin@lab-1"}, {Contexts, "both"}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, removed, err := Remove([]byte(tc.existing), []byte(labKubeconfig))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, string(got)); diff != "" {
				t.Errorf("Remove (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.removed, removed); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemoveUndoesMerge(t *testing.T) {
	mine := "apiVersion: v1\nkind: Config\nclusters:\n- name: lab\n  cluster:\n    server: https://x\nusers: []\ncontexts: []\n"
	merged, err := Merge([]byte(mine), []byte(labKubeconfig), Options{Rename: true})
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := Remove(merged.Data, []byte(labKubeconfig))
	if want := mine + "current-context: \"\"\n"; err != nil || string(got) != want {
		t.Errorf("Remove = %q, %v; want %q", got, err, want)
	}
}

func FuzzRemove(f *testing.F) {
	f.Add([]byte(labKubeconfig), []byte(labKubeconfig))
	f.Add([]byte("clusters: [{name: a, cluster: &x {}}, {name: b, cluster: *x}]"), []byte(labKubeconfig))
	f.Fuzz(func(t *testing.T, existing, own []byte) {
		data, removed, err := Remove(existing, own)
		if err == nil && len(removed) == 0 && string(data) != string(existing) {
			t.Errorf("Remove changed %q to %q and says that it did not", existing, data)
		}
	})
}
