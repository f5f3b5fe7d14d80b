package compose

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const listed = `{"Path":"example.org/fine","Version":"v1.0.0","Update":{"Path":"example.org/fine","Version":"v1.1.0"}}
{"Path":"example.org/back","Version":"v1.0.0","Retracted":["leaks | keys\nsee the notes"],"Update":{"Version":"v1.0.1"}}
{"Path":"example.org/silent","Version":"v1.0.0","Retracted":[]}
{"Path":"example.org/old","Version":"v1.0.0","Deprecated":"use new"}
{"Path":"example.org/here","Version":"v1.0.0","Replace":{"Path":"example.org/there","Version":"v2.0.0","Retracted":["by mistake"]}}
`

func TestWithdrawnModulesAreKept(t *testing.T) {
	list, err := parseWithdrawn("etcd", strings.NewReader(listed))
	if err != nil {
		t.Fatal(err)
	}
	const want = `Modules asked about: etcd (5).

| component | module | version | what | newest | its authors say | why it stays |
|---|---|---|---|---|---|---|
| etcd | ` + "`example.org/back`" + ` | v1.0.0 | **retracted** | v1.0.1 | leaks \| keys see the notes |  |
| etcd | ` + "`example.org/silent`" + ` | v1.0.0 | **retracted** | this | no reason is given | not used |
| etcd | ` + "`example.org/old`" + ` | v1.0.0 | deprecated | this | use new |  |
| etcd | ` + "`example.org/there`" + ` | v2.0.0 | **retracted** | this | by mistake |  |
`
	text := withdrawnTable([]string{"etcd (5)"}, list, map[string]string{"etcd example.org/silent@v1.0.0": "not used"})
	_, got, _ := strings.Cut(text, "arch/components.md).\n\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
	if _, err := parseWithdrawn("etcd", strings.NewReader(`{"Path":`)); err == nil {
		t.Error("of a report that is cut off: no error")
	}
	if list, err := parseWithdrawn("etcd", strings.NewReader(`{"Path":"a","Version":"v1"}`)); err != nil || len(list) > 0 {
		t.Errorf("of a module that is fine: %v, %v; want nothing", list, err)
	}
}

// pause links no modules: nothing is asked of the network.
func TestWithdrawnOfAComponentWithoutModules(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out strings.Builder
	b := &Builder{Source: tree, Out: t.TempDir(), Offline: true, Log: os.Stderr}
	if err := b.Withdrawn(ctx, &out, "pause"); err != nil || !strings.Contains(out.String(), "pause (0).\n\nNone was retracted") {
		t.Errorf("Withdrawn = %v:\n%s", err, &out)
	}
}

func TestEveryComponentIsInTheCommittedTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/components-withdrawn.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range append(Recipes(), ownState().recipe) {
		if !strings.Contains(string(text), " "+r.Name+" (") {
			t.Errorf("docs/components-withdrawn.md has nothing on %s; renew it: see its first lines", r.Name)
		}
	}
}
