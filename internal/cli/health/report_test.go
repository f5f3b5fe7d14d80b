package health

import (
	"slices"
	"testing"

	"talos.internal/internal/vitals"
)

func TestAReportTellsWhatPassesAndWhatIsWaitedForFirst(t *testing.T) {
	r := NewReport()
	var got []string
	for _, e := range []vitals.Event{
		{Check: vitals.EtcdHealthy, State: vitals.Waiting, Text: "cp-1: no answer yet"},
		{Check: vitals.EtcdConsistent, State: vitals.Waiting, Text: "cp-1: no answer yet"}, // waits behind the first: no line
		{Check: vitals.EtcdHealthy, State: vitals.Waiting, Text: "cp-1: starting\x1b[31m"},
		{Check: vitals.APIReady, State: vitals.Passed},
		{Node: "w-1", State: vitals.Waiting, Text: "no route"},
		{Check: vitals.EtcdHealthy, State: vitals.Passed}, // and the next comes to light
		{Check: vitals.EtcdConsistent, State: vitals.Passed},
		{Check: vitals.DNSReady, State: vitals.Skipped, Text: "the config switches it off"},
		{Node: "w-1", State: vitals.Waiting},
	} {
		got = append(got, r.Lines(e)...)
	}
	want := []string{
		"waiting for etcd to be healthy: cp-1: no answer yet",
		"waiting for etcd to be healthy: cp-1: starting�[31m",
		"waiting for apid to be ready: OK",
		"w-1 does not answer: no route",
		"waiting for etcd to be healthy: OK",
		"waiting for etcd members to be consistent across nodes: cp-1: no answer yet",
		"waiting for etcd members to be consistent across nodes: OK",
		"waiting for coredns to report ready: SKIP (the config switches it off)",
		"w-1 answers again",
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines:\n%q\nwant:\n%q", got, want)
	}
	if check, _ := r.Head(); check != vitals.EtcdControlPlane {
		t.Errorf("Head = %q; want %q", check, vitals.EtcdControlPlane)
	}
}
