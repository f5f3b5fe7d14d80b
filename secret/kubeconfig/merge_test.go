package kubeconfig

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/internal/golden"
)

func read(t testing.TB, name string) []byte {
	t.Helper()

	return must(os.ReadFile("testdata/" + name))(t)
}

func TestMergeGolden(t *testing.T) {
	existing, incoming := read(t, "existing.kubeconfig"), read(t, "incoming.kubeconfig")

	for _, tt := range []struct {
		name     string
		existing []byte
		options  Options
		want     Result
	}{
		{"renamed", existing, Options{Rename: true}, Result{
			Renames: []Rename{{Clusters, "lab", "lab-1"}, {Users, "admin@lab", "admin@lab-1"}, {Contexts, "admin@lab", "admin@lab-1"}},
			Context: "admin@lab-1",
		}},
		{"replaced", existing, Options{Activate: true}, Result{
			Replaced: []Entry{{Clusters, "lab"}, {Users, "admin@lab"}, {Contexts, "admin@lab"}},
			Context:  "admin@lab",
		}},
		{"first", nil, Options{Rename: true}, Result{Context: "admin@lab"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := must(Merge(tt.existing, incoming, tt.options))(t)
			golden.Check(t, "merged-"+tt.name+".kubeconfig", got.Data)

			data := got.Data
			got.Data = nil

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Merge (-want +got):\n%s", diff)
			}

			again := must(Merge(data, incoming, tt.options))(t)
			if diff := cmp.Diff(string(data), string(again.Data)); diff != "" {
				t.Errorf("merging once more changes the file (-once +twice):\n%s", diff)
			}
		})
	}
}

// TestMergeKeepsWhatIsNotItsOwn compares meanings, apart from the golden text.
func TestMergeKeepsWhatIsNotItsOwn(t *testing.T) {
	existing := read(t, "existing.kubeconfig")
	got := must(Merge(existing, read(t, "incoming.kubeconfig"), Options{Rename: true}))(t)

	var before, after map[string]any
	if err := yaml.Unmarshal(existing, &before); err != nil {
		t.Fatal(err)
	}

	if err := yaml.Unmarshal(got.Data, &after); err != nil {
		t.Fatal(err)
	}

	for _, list := range []string{"clusters", "users", "contexts"} {
		entries := after[list].([]any)
		if len(entries) != 3 {
			t.Fatalf("%s has %d entries; want 3", list, len(entries))
		}

		after[list] = entries[:2]
	}

	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("what was there before (-want +got):\n%s", diff)
	}

	for _, comment := range []string{"# all of them", "# my clusters", "# I like it", "# at work", "# for now"} {
		if !strings.Contains(string(got.Data), comment) {
			t.Errorf("the comment %q is lost", comment)
		}
	}
}

// entries renders a kubeconfig as "cluster=server user=token context=cluster/user *current".
func entries(t *testing.T, data []byte) string {
	t.Helper()

	var f struct {
		Clusters []struct {
			Name    string
			Cluster struct{ Server string }
		}
		Users []struct {
			Name string
			User struct{ Token string }
		}
		Contexts []struct {
			Name    string
			Context struct{ Cluster, User string }
		}
		Current string `yaml:"current-context"`
	}
	if err := yaml.Unmarshal(data, &f); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}

	var out []string
	for _, c := range f.Clusters {
		out = append(out, c.Name+"="+c.Cluster.Server)
	}

	for _, u := range f.Users {
		out = append(out, u.Name+"="+u.User.Token)
	}

	for _, c := range f.Contexts {
		out = append(out, c.Name+"="+c.Context.Cluster+"/"+c.Context.User)
	}

	return strings.Join(append(out, "*"+f.Current), " ")
}

// small is a kubeconfig with one entry each.
func small(cluster, server, user, token, context string) string {
	return fmt.Sprintf("{clusters: [{name: %s, cluster: {server: %s}}], users: [{name: %s, user: {token: %s}}], "+
		"contexts: [{name: %s, context: {cluster: %s, user: %s}}], current-context: %s}",
		cluster, server, user, token, context, cluster, user, context)
}

func TestMerge(t *testing.T) {
	lab := small("lab", "s1", "u", "t1", "c")

	for _, tt := range []struct {
		name               string
		existing, incoming string
		options            Options
		want               string // entries
		renames            string
		errs               []string
	}{
		{"into nothing", "", lab, Options{}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"into a comment", "# mine\n", lab, Options{}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"into null", "null\n", lab, Options{}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"into what kubectl writes for nothing", "apiVersion: v1\nclusters: null\ncontexts: null\ncurrent-context: \"\"\nkind: Config\npreferences: {}\nusers: null\n",
			lab, Options{}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"into empty lists", "clusters: []\ncontexts: []\nusers: []\n", lab, Options{}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"the same", lab, lab, Options{Rename: true}, "lab=s1 u=t1 c=lab/u *c", "[]", nil},
		{"others", small("a", "s", "b", "t", "d"), lab, Options{Rename: true}, "a=s lab=s1 b=t u=t1 d=a/b c=lab/u *d", "[]", nil},
		{"others, activated", small("a", "s", "b", "t", "d"), lab, Options{Activate: true}, "a=s lab=s1 b=t u=t1 d=a/b c=lab/u *c", "[]", nil},
		{"new certificate of the same cluster, kept apart", lab, small("lab", "s1", "u", "t2", "c"), Options{Rename: true},
			"lab=s1 u=t1 u-1=t2 c=lab/u c-1=lab/u-1 *c", "[{users u u-1} {contexts c c-1}]", nil},
		{"new certificate of the same cluster, replaced", lab, small("lab", "s1", "u", "t2", "c"), Options{},
			"lab=s1 u=t2 c=lab/u *c", "[]", nil},
		{"renamed name is taken by another",
			"{users: [{name: u, user: {token: t1}}, {name: u-1, user: {token: t2}}]}", "{users: [{name: u, user: {token: t3}}]}", Options{Rename: true},
			"u=t1 u-1=t2 u-2=t3 *", "[{users u u-2}]", nil},
		{"renamed name is taken by the same",
			"{users: [{name: u, user: {token: t1}}, {name: u-1, user: {token: t2}}]}", "{users: [{name: u, user: {token: t2}}]}", Options{Rename: true},
			"u=t1 u-1=t2 *", "[{users u u-1}]", nil},
		{"incoming has the renamed name itself",
			"{users: [{name: u, user: {token: t1}}]}", "{users: [{name: u, user: {token: t2}}, {name: u-1, user: {token: t3}}]}", Options{Rename: true},
			"u=t1 u-1=t2 u-1-1=t3 *", "[{users u u-1} {users u-1 u-1-1}]", nil},
		{"order of keys and comments do not count", "users:\n- name: u\n  user:\n    a: 1 # one\n    b: 2\n", "{users: [{user: {b: 2, a: 1}, name: u}]}", Options{Rename: true},
			"u= *", "[]", nil},
		{"context of a cluster that is elsewhere", lab, "{contexts: [{name: d, context: {cluster: x, user: y}}]}", Options{}, "lab=s1 u=t1 c=lab/u d=x/y *c", "[]", nil},
		{"entry that makes no sense is kept", "{users: [{name: u}, {}, 7, {name: [x]}]}", "{users: [{name: v, user: {token: t}}]}", Options{}, "", "[]", nil},
		{"name that looks like a number", "", "{users: [{name: 7, user: {token: t}}], contexts: [{name: 8, context: {user: 7}}], current-context: 8}", Options{}, "7=t 8=/7 *8", "[]", nil},

		{"nothing to merge", lab, "", Options{}, "", "", []string{"new kubeconfig: it is empty"}},
		{"not YAML", "a: b: c", lab, Options{}, "", "", []string{"existing kubeconfig: yaml: "}},
		{"value with a star", "users: [{name: u, user: {token: *opensesame }}]", lab, Options{}, "", "", []string{"existing kubeconfig: a value that starts with * refers"}},
		{"a list", "- a", lab, Options{}, "", "", []string{"existing kubeconfig: line 1: want a mapping"}},
		{"another kind", "kind: Pod", lab, Options{}, "", "", []string{"existing kubeconfig: line 1: kind: want Config"}},
		{"another version", lab, "apiVersion: v2", Options{}, "", "", []string{"new kubeconfig: line 1: apiVersion: want v1"}},
		{"two documents", lab + "\n---\n" + lab, lab, Options{}, "", "", []string{"existing kubeconfig: want one YAML document"}},
		{"the same key twice", "users: []\nclusters: []\nusers: []\n", lab, Options{}, "", "", []string{`line 3: the key "users" is on line 1 already`}},
		{"mapping for a list", "users: {}\n", lab, Options{}, "", "", []string{"existing kubeconfig: line 1: users: want a list"}},
		{"incoming mapping for a list", lab, "users: {}\n", Options{}, "", "", []string{"new kubeconfig: line 1: users: want a list"}},
		{"incoming without name", lab, "users: [{user: {}}]\n", Options{}, "", "", []string{"new kubeconfig: line 1: users: want entries with a name"}},
		{"incoming twice", lab, "users: [{name: a}, {name: a}]\n", Options{}, "", "", []string{`the name "a" is there twice`}},
		{"incoming anchors", lab, "users: [&a {name: a}]\n", Options{}, "", "", []string{"YAML anchors are not supported"}},
		{"current context is not there", lab, "users: [{name: a}]\ncurrent-context: b\n", Options{}, "", "", []string{`its current context "b" is not among`}},
		{"list with an anchor", "users: &a []\nx: *a\n", lab, Options{}, "", "", []string{"a list with a YAML anchor"}},
		{"null with an anchor", "users: &a\n", lab, Options{}, "", "", []string{"a list with a YAML anchor"}},
		{"replaced anchor that is in use", "users:\n- name: u\n  user: &a {token: x}\n- name: v\n  user: *a\n", lab, Options{}, "", "", []string{"it uses YAML anchors"}},
		{"current context is a list", "current-context: []\n", lab, Options{}, "", "", []string{"line 1: current-context: want a string"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Merge([]byte(tt.existing), []byte(tt.incoming), tt.options)
			wantError(t, "Merge", err, tt.errs...)

			if err != nil {
				if got.Data != nil {
					t.Error("Merge returns data beside an error")
				}

				return
			}

			if tt.want != "" {
				if text := entries(t, got.Data); text != tt.want {
					t.Errorf("Merge\n got %s\nwant %s", text, tt.want)
				}
			}

			if text := fmt.Sprint(got.Renames); text != tt.renames {
				t.Errorf("Renames = %s; want %s", text, tt.renames)
			}

			again, err := Merge(got.Data, []byte(tt.incoming), tt.options)
			if err != nil || string(again.Data) != string(got.Data) {
				t.Errorf("merging once more: error %v; got\n%s\nwant\n%s", err, again.Data, got.Data)
			}
		})
	}
}

// FuzzMerge: whatever the existing file is, a merge keeps its entries, adds ours, and changes nothing when
// it is done again.
func FuzzMerge(f *testing.F) {
	incoming := read(f, "incoming.kubeconfig")

	f.Add(read(f, "existing.kubeconfig"), true)
	f.Add([]byte("users: &a [{name: u}]\n"), false)
	f.Add([]byte(small("lab", "s1", "admin@lab", "t1", "c")), true)
	f.Add([]byte("clusters:\n- &x {name: lab, cluster: {server: s}}\n- *x\n"), false)
	f.Add([]byte("<<: {users: [{name: a}]}\n"), true)

	f.Fuzz(func(t *testing.T, existing []byte, rename bool) {
		o := Options{Rename: rename}

		// As the incoming side it must not crash either.
		_, _ = Merge(incoming, existing, o)

		once, err := Merge(existing, incoming, o)
		if err != nil {
			return
		}

		doc, err := parse(once.Data)
		if err != nil {
			t.Fatalf("the merged file cannot be read: %v\n%s", err, once.Data)
		}

		list := value(doc.Content[0], "contexts")
		if list == nil || find(list, Contexts, once.Context) == nil {
			t.Fatalf("the merged file has no context %q:\n%s", once.Context, once.Data)
		}

		var before, after any
		if err := yaml.Unmarshal(once.Data, &before); err != nil {
			t.Fatalf("the merged file cannot be read: %v\n%s", err, once.Data)
		}

		twice, err := Merge(once.Data, incoming, o)
		if err == nil {
			err = yaml.Unmarshal(twice.Data, &after)
		}

		// Meanings, since comments at odd places move.
		if err != nil || len(twice.Replaced) > 0 || !cmp.Equal(before, after) {
			t.Errorf("merging once more: error %v, replaced %v\nonce\n%s\ntwice\n%s", err, twice.Replaced, once.Data, twice.Data)
		}
	})
}
