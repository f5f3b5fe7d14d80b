package cgroups

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"talos.internal/internal/cli/nodes"
)

var update = flag.Bool("update", false, "write the golden files anew")

func archive(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(files); i += 2 {
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const uid = "3c1fd9ee-3b4b-4d8f-8a8c-2f8f1f0d7a11"

func machine(t testing.TB) []byte {
	const pod = "cgroup/kubepods/burstable/pod" + uid
	return archive(t,
		"cgroup/cgroup.controllers", "cpuset cpu io memory pids\n",
		"cgroup/cpu.stat", "usage_usec 900\n",
		"cgroup/init/memory.current", "139460608\n", "cgroup/init/memory.min", "100663296\n", "cgroup/init/memory.max", "max\n",
		"cgroup/init/cgroup.procs", "1\n", "cgroup/init/pids.current", "12\n", "cgroup/init/pids.max", "max\n",
		"cgroup/system/apid/memory.current", "980\n", "cgroup/system/apid/memory.max", "134217728\n", "cgroup/system/apid/memory.swap.max", "0\n",
		"cgroup/system/apid/cpu.max", "50000 100000\n", "cgroup/system/apid/cpu.weight", "100\n", "cgroup/system/apid/cpu.weight.nice", "0\n",
		"cgroup/system/apid/cpu.stat", "usage_usec 5000000\nuser_usec 4000000\nsystem_usec 1000400\n",
		"cgroup/system/cgroup.procs", "",
		"cgroup/system/apid/io.stat", "8:0 rbytes=1048576 wbytes=0 rios=10 wios=0 dbytes=0 dios=0\n254:0 rbytes=1048576 wbytes=4096 rios=1 wios=2\n",
		"cgroup/system/apid/io.pressure", "some avg10=1.25 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"cgroup/system/apid/memory.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"cgroup/system/apid/cpu.pressure", "some avg10=7.00 avg60=0.00 avg300=0.00 total=0\n",
		"cgroup/system/apid/cpuset.cpus", "\n", "cgroup/system/apid/cpuset.cpus.effective", "0-1\n", "cgroup/system/apid/cpuset.mems", "\n", "cgroup/system/apid/cpuset.mems.effective", "0\n",
		pod+"/0123456789ab/memory.current", "2147483648\n", pod+"/memory.current", "2147483648\n",
		"cgroup/kubepods/burstable/cgroup.procs", "",
	)
}

func TestPresets(t *testing.T) {
	for _, name := range Presets() {
		t.Run(name, func(t *testing.T) {
			g, err := Read(bytes.NewReader(machine(t)))
			if err != nil {
				t.Fatal(err)
			}
			g.Rename(map[string]string{uid: "kube-system/dns", "0123456789ab": "coredns"})
			s, err := Preset(name)
			if err != nil {
				t.Fatal(err)
			}
			headings := []string{"NAME"}
			for _, c := range s.Columns {
				headings = append(headings, c.Name)
			}
			table := nodes.NewTable(headings...)
			for _, row := range g.Rows(s) {
				var cells []any
				for _, c := range row {
					cells = append(cells, c)
				}
				table.Row(cells...)
			}
			var got bytes.Buffer
			if err := table.Write(&got); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, got.Bytes(), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got.String()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
	if _, err := Preset("../x"); err == nil || !strings.Contains(err.Error(), "psi") {
		t.Errorf("Preset(../x) = %v; want the presets that there are", err)
	}
}

func TestVersion1IsSaid(t *testing.T) {
	if _, err := Read(bytes.NewReader(archive(t, "cgroup/memory/tasks", "1\n"))); !errors.Is(err, errVersion1) {
		t.Errorf("Read of version 1 = %v", err)
	}
}

func TestSchemasAreChecked(t *testing.T) {
	for _, test := range []struct{ text, wrong string }{
		{"columns:\n  - {name: A, file: memory.stat, key: pgfault}\n", ""},
		{"columns: []\n", "no columns"},
		{"columns:\n  - {name: A}\n", "no file"},
		{"columns:\n  - {name: A, file: b, as: x}\n", "none of text"},
		{"columns:\n  - {name: A, file: b, template: x}\n", "template"},
		{"", "EOF"},
	} {
		_, err := ParseSchema([]byte(test.text))
		if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("ParseSchema(%q) = %v; want an error with %q", test.text, err, test.wrong)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(machine(f))
	f.Add([]byte("x"))
	s, err := Preset("io")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if g, err := Read(bytes.NewReader(b)); err == nil {
			g.Rows(s)
		}
	})
}

func FuzzFind(f *testing.F) {
	f.Add("some avg10=1.25 avg60=0.00\n8:0 a=1\n", "*.a")
	f.Add("max 100000\n", "")
	f.Fuzz(func(_ *testing.T, text, key string) {
		v, _ := find(text, key)
		for _, as := range forms {
			show(v, as)
		}
	})
}
