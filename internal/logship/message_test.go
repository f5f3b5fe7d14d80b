package logship

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 28, 20, 1, 2, 500, time.UTC)

func TestLinesBecomeMessages(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"any text", "listening on :50000", `{"msg":"listening on :50000","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"slog's text", `time=2026-11-28T19:00:00.25Z level=WARN msg="no cgroups: \"x\"" controller=a.B n=3`,
			`{"controller":"a.B","msg":"no cgroups: \"x\"","n":"3","talos-level":"warn","talos-service":"x","talos-time":"2026-11-28T19:00:00.25Z"}`},
		{"containerd", `time="2026-11-28T19:00:00.25+01:00" level=error msg=broken`,
			`{"msg":"broken","talos-level":"error","talos-service":"x","talos-time":"2026-11-28T18:00:00.25Z"}`},
		{"etcd's JSON", `{"level":"info","ts":"2026-11-28T19:00:00.250001Z","caller":"a.go:1","msg":"serving","peers":["a", "b"]}`,
			`{"caller":"a.go:1","msg":"serving","peers":["a","b"],"talos-level":"info","talos-service":"x","talos-time":"2026-11-28T19:00:00.250001Z"}`},
		{"kubelet's JSON", `{"ts":1795892400250.5,"level":"warn","v":0,"msg":"no"}`,
			`{"msg":"no","talos-level":"warn","talos-service":"x","talos-time":"2026-11-28T19:00:00.250499963Z","v":0}`},
		{"klog", `E1128 19:00:00.250000   12 a.go:7] "It failed" err="x"`,
			`{"msg":"E1128 19:00:00.250000   12 a.go:7] \"It failed\" err=\"x\"","talos-level":"error","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"JSON without a message", `{"a":1}`, `{"msg":"{\"a\":1}","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"half of an object", `{"msg":"a`, `{"msg":"{\"msg\":\"a","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"pairs that end badly", `level=error msg="a`, `{"msg":"level=error msg=\"a","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"a line that claims to be another's", `{"msg":"a","talos-service":"etcd","talos-level":"fatal"}`, `{"msg":"a","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"no UTF-8", "a\xffb<c>", `{"msg":"a�b<c>","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
		{"nothing", "\n", `{"msg":"","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := string(ParseLine("x", []byte(test.line), now).Append(nil, nil))
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("ParseLine(%q) (-want +got):\n%s", test.line, d)
			}
		})
	}
}

func TestTagsAreAddedAndWinOverFields(t *testing.T) {
	m := ParseLine("x", []byte(`{"msg":"a","rack":"b","n":1}`), now)
	got := string(m.Append(nil, map[string]string{"rack": "c", "msg": "no", "site": "north"}))
	want := `{"msg":"a","n":1,"rack":"c","site":"north","talos-level":"info","talos-service":"x","talos-time":"2026-11-28T20:01:02.0000005Z"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheKernelsRecordsHaveTheirClock(t *testing.T) {
	r := Record{Facility: "kern", Priority: "warn", Severity: 4, Sequence: 711, Clock: 6252819 * time.Microsecond, Text: "eth0: link is down"}
	got := string(FromKernel(r, now).Append(nil, nil))
	want := `{"clock":6252819,"facility":"kern","msg":"eth0: link is down","priority":"warn","seq":711,"talos-level":"warn","talos-service":"kernel","talos-time":"2026-11-28T20:01:08.2528195Z"}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{"", "a", `{"msg":"a","ts":1e300}`, `time=x level=y msg="z"`, "I1128 x", `{"ts":"x","time":{}}`, `a=b msg=`, "\xff\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		b := ParseLine("x", []byte(line), now).Append(nil, map[string]string{line: line})
		var m map[string]any
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatalf("%q is no JSON: %v", b, err)
		}
		if m["talos-service"] != "x" || !utf8.Valid(b) || strings.ContainsAny(string(b), "\n\r") {
			t.Fatalf("the message is %q", b)
		}
		for _, key := range []string{"msg", "talos-level", "talos-time"} {
			if _, ok := m[key].(string); !ok {
				t.Fatalf("%q has no %s", b, key)
			}
		}
	})
}
