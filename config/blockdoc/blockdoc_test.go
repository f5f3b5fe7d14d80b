package blockdoc_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/blockdoc"
	"talos.internal/config/schema"
)

var kinds = schema.NewRegistry(blockdoc.Kinds())

// decode reads a stream of documents as the facade does: kind by kind, then validates those without errors.
func decode(t testing.TB, text string) (schema.Set, schema.Report) {
	t.Helper()
	var report schema.Report
	var set schema.Set
	for _, node := range schema.Parse("", []byte(text), &report) {
		kind := schema.Child(node, "kind")
		if kind == nil {
			t.Fatalf("a document has no kind:\n%s", text)
		}
		k, ok := kinds.Kind(kind.Value)
		if !ok {
			t.Fatalf("Kinds() has no %s", kind.Value)
		}
		d := k.New()
		before := len(report.Of(schema.Error))
		r := schema.NewReporter(&report, "", "", node.Content[0])
		schema.Decode(node, d, r, "apiVersion", "kind")
		if len(report.Of(schema.Error)) == before {
			schema.Validate(d, r)
		}
		set = append(set, schema.Entry{Value: d, Node: node})
	}
	return set, report
}

func encode(t *testing.T, d schema.Document) string {
	t.Helper()
	n := schema.EncodeValue(d)
	n.Content = append([]*yaml.Node{
		schema.StringNode("apiVersion"), schema.StringNode("v1alpha1"),
		schema.StringNode("kind"), schema.StringNode(d.DocumentKind()),
	}, n.Content...)
	out, err := schema.Encode(n)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// equal compares documents by all their fields, unexported ones too: sizes keep their text.
func equal(a, b any) string {
	return cmp.Diff(a, b, cmp.Exporter(func(reflect.Type) bool { return true }))
}

func TestDocumentsRoundTrip(t *testing.T) {
	text, err := os.ReadFile("testdata/all.yaml")
	if err != nil {
		t.Fatal(err)
	}
	set, report := decode(t, string(text))
	if len(report) > 0 {
		t.Fatalf("decode(all.yaml) reports:\n%s; want nothing", report)
	}
	var seen []string
	var stream []string
	for _, e := range set {
		seen = append(seen, e.Value.DocumentKind())
		out := encode(t, e.Value)
		again, report := decode(t, out)
		if len(report) > 0 || len(again) != 1 {
			t.Fatalf("%s encoded does not decode: %s\n%s", e.Title(), report, out)
		}
		if diff := equal(e.Value, again[0].Value); diff != "" {
			t.Errorf("%s changes in a round trip (-before +after):\n%s", e.Title(), diff)
		}
		stream = append(stream, out)
	}
	if got := strings.Join(stream, "---\n"); got != string(text) {
		t.Errorf("documents are written differently (-file +encoded):\n%s", cmp.Diff(string(text), got))
	}
	for _, k := range blockdoc.Kinds() {
		if !slices.Contains(seen, k.Name) {
			t.Errorf("testdata/all.yaml has no %s", k.Name)
		}
	}
}

func TestNumbersThatAreNamesAreTaken(t *testing.T) {
	set, report := decode(t, "kind: RAIDArrayConfig\nname: a\nmetadata: 1.2\nprovisioning: {volumeSelector: {match: system_disk}}\n")
	if len(report) > 0 {
		t.Fatalf("decode reports %s; want nothing", report)
	}
	if got := set[0].Value.(*blockdoc.RAIDArrayConfig).Metadata; got != "1.2" {
		t.Errorf("Metadata = %q; want 1.2", got)
	}
}

func TestDefaults(t *testing.T) {
	set, report := decode(t, strings.Join([]string{
		"{kind: VolumeConfig, name: EPHEMERAL}",
		"{kind: VolumeConfig, name: ETCD, provisioning: {minSize: 2GiB}}",
		"{kind: VolumeConfig, name: IMAGECACHE}",
		"{kind: FilesystemTrimConfig}",
		"{kind: ZswapConfig}",
		"{kind: LVMLogicalVolumeConfig, name: a, type: raid10, provisioning: {volumeGroup: g, minSize: 1GiB}}",
		"{kind: RAIDArrayConfig, name: a, provisioning: {volumeSelector: {match: system_disk}}}",
		"{kind: RawVolumeConfig, name: a, provisioning: {diskSelector: {match: system_disk}, minSize: 1GiB}, encryption: {keys: [{tpm: {}}, {slot: 1, tpm: {options: {pcrs: []}}}]}}",
	}, "\n---\n"))
	if len(report) > 0 {
		t.Fatalf("decode reports %s; want nothing", report)
	}
	ephemeral, etcd, cache := set[0].Value.(*blockdoc.VolumeConfig), set[1].Value.(*blockdoc.VolumeConfig), set[2].Value.(*blockdoc.VolumeConfig)
	encryption := set[7].Value.(*blockdoc.RawVolumeConfig).Encryption
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"EPHEMERAL grows", ephemeral.GrowOrDefault(), true},
		{"ETCD does not grow", etcd.GrowOrDefault(), false},
		{"volumes are mounted securely", ephemeral.Mount.SecureOrDefault(), true},
		{"EPHEMERAL is xfs", ephemeral.FilesystemType(), blockdoc.XFS},
		{"IMAGECACHE is ext4", cache.FilesystemType(), blockdoc.Ext4},
		{"trim once a week", set[3].Value.(*blockdoc.FilesystemTrimConfig).IntervalOrDefault(), blockdoc.DefaultInterval},
		{"zswap pool", set[4].Value.(*blockdoc.ZswapConfig).MaxPoolPercentOrDefault(), 20},
		{"mirrors of raid10", set[5].Value.(*blockdoc.LVMLogicalVolumeConfig).MirrorsOrDefault(), 1},
		{"array level", set[6].Value.(*blockdoc.RAIDArrayConfig).LevelOrDefault(), "raid1"},
		{"array metadata", set[6].Value.(*blockdoc.RAIDArrayConfig).MetadataOrDefault(), "1.0"},
		{"cipher", encryption.CipherOrDefault(), "aes-xts-plain64"},
		{"registers", encryption.Keys[0].TPM.BoundPCRs(), []int{7}},
		{"no registers", encryption.Keys[1].TPM.BoundPCRs(), []int{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.got); diff != "" {
				t.Errorf("default (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKindsHaveTheContractsKeys(t *testing.T) {
	const provisioning = "provisioning.diskSelector.match provisioning.grow provisioning.minSize provisioning.maxSize "
	const encryption = "encryption.provider encryption.keys[].slot encryption.keys[].static.passphrase encryption.keys[].nodeID " +
		"encryption.keys[].kms.endpoint encryption.keys[].tpm.options.pcrs[] encryption.keys[].tpm.checkSecurebootStatusOnEnroll " +
		"encryption.keys[].lockToState encryption.cipher encryption.keySize encryption.blockSize encryption.options[] " +
		"encryption.allowDiscards "
	const upkeep = "trim.enabled trim.interval scrub.enabled scrub.interval "
	want := map[string]string{
		"VolumeConfig": "name " + provisioning + "filesystem.xfs.minAllocationGroupSize " + encryption +
			"mount.secure mount.disableAccessTime " + upkeep,
		"UserVolumeConfig": "name volumeType " + provisioning + "filesystem.type filesystem.projectQuotaSupport " +
			"filesystem.xfs.minAllocationGroupSize " + encryption + "mount.disableAccessTime mount.secure " + upkeep,
		"RawVolumeConfig": "name " + provisioning + encryption,
		"ExistingVolumeConfig": "name discovery.volumeSelector.match mount.readOnly mount.disableAccessTime mount.secure " +
			upkeep,
		"ExternalVolumeConfig":   "name filesystemType mount.readOnly mount.disableAccessTime mount.secure mount.virtiofs.tag",
		"SwapVolumeConfig":       "name " + provisioning + encryption,
		"ZswapConfig":            "maxPoolPercent shrinkerEnabled",
		"FilesystemTrimConfig":   "interval",
		"FilesystemScrubConfig":  "interval",
		"LVMVolumeGroupConfig":   "name provisioning.volumeSelector.match",
		"LVMLogicalVolumeConfig": "name type mirrors stripes provisioning.volumeGroup provisioning.minSize provisioning.maxSize",
		"RAIDArrayConfig":        "name level metadata provisioning.volumeSelector.match",
	}
	for _, k := range blockdoc.Kinds() {
		t.Run(k.Name, func(t *testing.T) {
			got := paths(schema.TypeOf(reflect.TypeOf(k.New())), "")
			if diff := cmp.Diff(strings.Fields(want[k.Name]), got); diff != "" {
				t.Errorf("keys of %s (-want +got):\n%s", k.Name, diff)
			}
		})
		delete(want, k.Name)
	}
	if len(want) > 0 {
		t.Errorf("Kinds() lacks %v", want)
	}
}

// paths lists the paths of all values below t.
func paths(t *schema.Type, at string) []string {
	switch {
	case t.Class == schema.List:
		return paths(t.Elem, at+"[]")
	case t.Class != schema.Struct || len(t.Fields) == 0:
		return []string{at}
	}
	var out []string
	for _, f := range t.Fields {
		name := f.Name
		if at != "" {
			name = at + "." + name
		}
		out = append(out, paths(f.Type, name)...)
	}
	return out
}

func FuzzDecode(f *testing.F) {
	for _, k := range blockdoc.Kinds() {
		f.Add(k.Name, "name: a\nprovisioning: {minSize: 1GiB}\nencryption: {keys: [{}]}\n")
	}
	f.Add("UserVolumeConfig", "name: {}\nscrub: [1]\ntrim:\nmount: null\n")
	f.Fuzz(func(t *testing.T, kind, text string) {
		k, ok := kinds.Kind(kind)
		if !ok {
			return
		}
		var report schema.Report
		for _, node := range schema.Parse("", []byte(text), &report) {
			d := k.New()
			r := schema.NewReporter(&report, "", "", node.Content[0])
			schema.Decode(node, d, r, "apiVersion", "kind")
			schema.Validate(d, r)
			blockdoc.Check(&schema.Check{Set: schema.Set{{Value: d, Node: node}}, Report: &report})
			schema.EncodeValue(d)
		}
	})
}
