package extservice

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const full = `name: nut-client
container:
    entrypoint: ./upsmon
    args:
        - -D
    environment:
        - NUT_QUIET=1
    environmentFile: /var/etc/nut/env
    mounts:
        - source: /var/run/nut
          destination: /run
          type: bind
          options: [rbind, rw]
        - destination: /tmp
          type: tmpfs
    security:
        writeableRootfs: true
        maskedPaths: []
        rootfsPropagation: rslave
depends:
    - service: containerd
    - path: /var/etc/nut
    - network: [addresses, connectivity]
    - time: true
    - configuration: true
restart: untilSuccess
logToConsole: true
`

func TestParse(t *testing.T) {
	got, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := Service{
		Name: "nut-client",
		Container: Container{
			Entrypoint: "./upsmon", Args: []string{"-D"}, Environment: []string{"NUT_QUIET=1"}, EnvironmentFile: "/var/etc/nut/env",
			Mounts: []Mount{
				{Source: "/var/run/nut", Destination: "/run", Type: "bind", Options: []string{"rbind", "rw"}}, {Destination: "/tmp", Type: "tmpfs"},
			},
			Security: Security{WriteableRootfs: true, MaskedPaths: []string{}, RootfsPropagation: "rslave"},
		},
		Depends: []Dependency{{Service: "containerd"}, {Path: "/var/etc/nut"}, {Network: []string{"addresses", "connectivity"}}, {Time: true}, {Configuration: true}},
		Restart: UntilSuccess, LogToConsole: true,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Parse (-want +got):\n%s", d)
	}
	if got.ID() != "ext-nut-client" {
		t.Errorf("ID = %s", got.ID())
	}
	if s, err := Parse([]byte("name: a\ncontainer:\n  entrypoint: /a\n")); err != nil || s.Restart != Always {
		t.Errorf("Parse of the least = %+v, %v", s, err)
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	const least = "name: a\ncontainer:\n  entrypoint: /a\n"
	for _, test := range []struct{ text, wrong string }{
		{"", "EOF"},
		{"name: ../a\ncontainer: {}\n", "name: expected"},
		{"name: ../a\ncontainer: {}\n", "container.entrypoint: it is missing"},
		{least + "  image: x\n", "image"},
		{least + "  environment: [x]\n", "container.environment[0]"},
		{least + "  environmentFile: a\n", "container.environmentFile"},
		{least + "  mounts: [{destination: a, source: /b}]\n", "container.mounts[0].destination"},
		{least + "  mounts: [{destination: /a}]\n", "container.mounts[0].source"},
		{least + "  mounts: [{destination: /a, type: bind, source: ../b}]\n", "container.mounts[0].source"},
		{least + "  security: {maskedPaths: [a]}\n", "container.security.maskedPaths[0]"},
		{least + "  security: {rootfsPropagation: all}\n", "rootfsPropagation"},
		{least + "depends: [{}]\n", "depends[0]: expected one of"},
		{least + "depends: [{time: true, path: /a}]\n", "depends[0]: expected one of"},
		{least + "depends: [{network: [dns]}]\n", "addresses, connectivity"},
		{least + "depends: [{path: a}]\n", "depends[0]: path"},
		{least + "restart: sometimes\n", "restart: expected"},
		{least + "---\n" + least, "more than one"},
	} {
		if _, err := Parse([]byte(test.text)); err == nil || !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("Parse(%q) = %v; want an error with %q", test.text, err, test.wrong)
		}
	}
}

func TestEnvironmentFiles(t *testing.T) {
	got, err := ParseEnvironment([]byte("# a comment\nA=1\n\n ; another\nB_2=x y=z\n"))
	if d := cmp.Diff([]string{"A=1", "B_2=x y=z"}, got); d != "" || err != nil {
		t.Errorf("ParseEnvironment (-want +got):\n%s%v", d, err)
	}
	if _, err := ParseEnvironment([]byte("A=1\nexport B=2\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("ParseEnvironment = %v; want an error about line 2", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("name: a"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err == nil && (strings.ContainsAny(s.Name, "/. ") || s.Container.Entrypoint == "") {
			t.Errorf("taken: %+v", s)
		}
		if env, err := ParseEnvironment(b); err == nil {
			for _, e := range env {
				if !strings.Contains(e, "=") {
					t.Errorf("taken: %q", e)
				}
			}
		}
	})
}
