package schema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// pet is a document with one field of every shape.
type pet struct {
	Name     string                 `yaml:"name" required:"true"`
	Legs     uint8                  `yaml:"legs"`
	Weight   float64                `yaml:"weight"`
	Tame     *bool                  `yaml:"tame"`
	Sound    string                 `yaml:"sound" enum:"woof|meow|silence"`
	Nap      scalar.Duration        `yaml:"nap"`
	Chip     string                 `yaml:"chip" secret:"true"`
	Toys     []toy                  `yaml:"toys"`
	Labels   map[string]string      `yaml:"labels"`
	Args     scalar.Args            `yaml:"args"`
	Extra    scalar.Object          `yaml:"extra"`
	Owner    *owner                 `yaml:"owner"`
	Homes    []scalar.Prefix        `yaml:"homes"`
	Friends  map[string]*friendship `yaml:"friends"`
	Embedded `yaml:",inline"`
}

type Embedded struct {
	Color string `yaml:"color"`
}

type toy struct {
	Name  string `yaml:"name" required:"true"`
	Price int    `yaml:"price"`
}

type owner struct {
	Phone string `yaml:"phone" encode:"always"`
}

type friendship struct {
	Since int `yaml:"since"`
}

func (t *toy) Validate(r *schema.Reporter) {
	if t.Price < 0 {
		r.At("price").Hintf("toys are bought, not sold", "expected a price of at least 0, got %d", t.Price)
	}
}

func (f *friendship) Validate(r *schema.Reporter) {
	if f.Since == 0 {
		r.Errorf("a friendship begins somewhere")
	}
}

// decode reads the first document of text into a pet and returns it with the problems, one a line.
func decode(t *testing.T, text string) (pet, string) {
	t.Helper()
	var report schema.Report
	docs := schema.Parse("pet.yaml", []byte(text), &report)
	var p pet
	for _, d := range docs {
		r := schema.NewReporter(&report, "pet.yaml", "", d)
		schema.Decode(d, &p, r)
		schema.Validate(&p, r)
	}
	report.Sort()
	return p, report.String()
}

func TestDecodeSetsEveryShape(t *testing.T) {
	got, problems := decode(t, `
name: Rex
legs: 4
weight: 12.5
tame: no
sound: woof
nap: 1h30m
chip: s3cret
toys: [{name: ball, price: 3}]
labels: {port: 8080, on: true}
args: {v: 4, feature: [a, b]}
extra: {deep: [1, {x: null}], f: 0.5}
owner: {}
homes: [10.0.0.1/8]
friends: {tom: {since: 2019}}
color: brown
`)
	if problems != "" {
		t.Fatalf("problems:\n%s", problems)
	}
	tame := false
	want := pet{
		Name: "Rex", Legs: 4, Weight: 12.5, Tame: &tame, Sound: "woof",
		Nap: scalar.Duration{Duration: 90 * time.Minute}, Chip: "s3cret",
		Toys:   []toy{{"ball", 3}},
		Labels: map[string]string{"port": "8080", "on": "true"},
		Args:   scalar.Args{"v": {"4"}, "feature": {"a", "b"}},
		Extra:  scalar.Object{"deep": []any{int64(1), map[string]any{"x": nil}}, "f": 0.5},
		Owner:  &owner{}, Friends: map[string]*friendship{"tom": {2019}}, Embedded: Embedded{"brown"},
		Homes: got.Homes,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b scalar.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("Decode (-want +got):\n%s", diff)
	}
	if s := got.Homes[0].String(); s != "10.0.0.1/8" {
		t.Errorf("homes[0] = %s; want 10.0.0.1/8", s)
	}
}

func TestDecodeReportsEveryProblemAtOnce(t *testing.T) {
	_, got := decode(t, `
legs: four
weight: [1]
tame: maybe
sound: wof
nap: 30
chip: [x]
toys:
    - {name: ball, prise: 3}
    - price: -1
    - ball
labels: [a]
homes: [10.0.0.1, fd00::/129]
colour: brown
owner: {phoen: "1"}
friends: {tom: {}, tim: {since: x}}
name: ~
legs: 3
`)
	want := `pet.yaml:2: the key "name" is required
pet.yaml:2: legs: expected a whole number from 0 to 255, got "four"
pet.yaml:3: weight: expected a number, got a list
pet.yaml:4: tame: expected true or false, got "maybe"
pet.yaml:5: sound: expected one of woof, meow, silence, got "wof"; did you mean "woof"?
pet.yaml:6: nap: expected a duration such as 90s or 1h30m, got 30: the unit is missing; write 30s for seconds
pet.yaml:7: chip: expected a string
pet.yaml:9: toys[0].prise: unknown key; did you mean "price"?
pet.yaml:10: toys[1]: the key "name" is required
pet.yaml:10: toys[1].price: expected a price of at least 0, got -1; toys are bought, not sold
pet.yaml:11: toys[2]: expected a mapping with the keys name, price, got "ball"
pet.yaml:12: labels: expected a mapping of names to strings, got a list
pet.yaml:13: homes[0]: expected a prefix in CIDR notation such as 10.244.0.0/16, got "10.0.0.1": the prefix length is missing
pet.yaml:13: homes[1]: expected a prefix in CIDR notation such as 10.244.0.0/16, got "fd00::/129": "129" is no prefix length for that address
pet.yaml:14: colour: unknown key; did you mean "color"?
pet.yaml:15: owner.phoen: unknown key; did you mean "phone"?
pet.yaml:16: friends.tom: a friendship begins somewhere
pet.yaml:16: friends.tim: a friendship begins somewhere
pet.yaml:16: friends.tim.since: expected a whole number, got "x"
pet.yaml:18: legs: the key is there twice; it was first on line 2
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestQuotedNumberIsExplained(t *testing.T) {
	_, got := decode(t, "name: a\nlegs: \"4\"\n")
	want := "pet.yaml:2: legs: expected a whole number from 0 to 255, got \"4\"; write it without quotes\n"
	if got != want {
		t.Errorf("problems = %q; want %q", got, want)
	}
}

func TestSecretsStayOutOfMessages(t *testing.T) {
	type vault struct {
		Keys []scalar.Base64 `yaml:"keys" secret:"true"`
	}
	var report schema.Report
	docs := schema.Parse("", []byte("keys: ['hunter2!']\n"), &report)
	var v vault
	schema.Decode(docs[0], &v, schema.NewReporter(&report, "", "", docs[0]))
	if got := report.String(); strings.Contains(got, "hunter2") || !strings.Contains(got, "expected bytes in base64") {
		t.Errorf("problems = %q; want the expectation without the value", got)
	}
}

func TestAPrivateKeyInTheWrongPlaceIsNotShown(t *testing.T) {
	type doc struct {
		Cert scalar.CertPEM `yaml:"cert"`
	}
	var report schema.Report
	docs := schema.Parse("", []byte("cert: \"-----BEGIN PRIVATE KEY-----\\nMIGHAgEA\\n-----END PRIVATE KEY-----\""), &report)
	var d doc
	schema.Decode(docs[0], &d, schema.NewReporter(&report, "", "", docs[0]))
	if got := report.String(); strings.Contains(got, "MIGH") || !strings.Contains(got, "got a private key") {
		t.Errorf("problems = %q; want the key named and not shown", got)
	}
}

func TestAliasesAndMergeKeysExpand(t *testing.T) {
	got, problems := decode(t, `
name: Rex
labels: &l {a: "1", b: "2"}
args: {<<: *l, b: "3"}
toys:
    - &ball {name: ball, price: 1}
    - *ball
    - {<<: [*ball], price: 2}
`)
	if problems != "" {
		t.Fatalf("problems:\n%s", problems)
	}
	if diff := cmp.Diff(scalar.Args{"a": {"1"}, "b": {"3"}}, got.Args); diff != "" {
		t.Errorf("args (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]toy{{"ball", 1}, {"ball", 1}, {"ball", 2}}, got.Toys); diff != "" {
		t.Errorf("toys (-want +got):\n%s", diff)
	}
}

func TestEncodeWritesWhatDecodeReads(t *testing.T) {
	const text = `name: Rex
legs: 4
nap: 1h30m0s
toys:
    - name: ball
labels:
    a: "1"
    yes: "no"
args:
    feature:
        - a
        - b
    v: "4"
extra: {}
owner:
    phone: ""
color: |
    brown
    white
`
	got, problems := decode(t, text)
	if problems != "" {
		t.Fatalf("problems:\n%s", problems)
	}
	out, err := schema.Encode(schema.EncodeValue(&got))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(text, "yes: \"no\"", `"yes": "no"`, 1)
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("Encode (-want +got):\n%s", diff)
	}
}

func TestLocate(t *testing.T) {
	var report schema.Report
	docs := schema.Parse("", []byte("a:\n  \"x.y/z\":\n    - b: 1\n    - c: 2\n\"\": 1\n"), &report)
	for _, tc := range []struct {
		path string
		line int
	}{
		{"", 1}, {"a", 1}, {`a["x.y/z"]`, 2}, {`a["x.y/z"][0].b`, 3}, {`a["x.y/z"][1].c`, 4},
		{`[""]`, 5}, {`a["x.y/z"][1].missing`, 4}, {`a["x.y/z"][7]`, 2}, {"b.c", 1}, {"a[0", 1}, {"[", 1}, {`a["`, 1},
	} {
		if line, _ := schema.Locate(docs[0], tc.path); line != tc.line {
			t.Errorf("Locate(%q) = %d; want %d", tc.path, line, tc.line)
		}
	}
}
