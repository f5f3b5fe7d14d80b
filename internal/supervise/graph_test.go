package supervise

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestOrderPutsDependenciesFirst(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after map[string][]string
		want  string
		cycle string
	}{
		{"nothing", map[string][]string{}, "", ""},
		{"by name where nothing else decides", map[string][]string{"b": nil, "a": nil}, "a b", ""},
		{"a chain", map[string][]string{"apid": {"containerd"}, "containerd": {"udevd"}, "udevd": nil}, "udevd containerd apid", ""},
		{"a diamond", map[string][]string{"d": {"b", "c"}, "b": {"a"}, "c": {"a"}, "a": nil}, "a b c d", ""},
		{"what is not loaded does not count", map[string][]string{"ext-x": {"etcd"}}, "ext-x", ""},
		{"itself", map[string][]string{"a": {"a"}}, "", "a → a"},
		{"a cycle, without what leads to it", map[string][]string{"x": {"a"}, "a": {"b"}, "b": {"c"}, "c": {"a"}}, "", "a → b → c → a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := order(tc.after)
			if tc.cycle != "" {
				if !errors.Is(err, ErrInvalid) || !strings.HasSuffix(err.Error(), ": "+tc.cycle) {
					t.Errorf("order(%v) = %v; want the cycle %s", tc.after, err, tc.cycle)
				}
				return
			}
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("order(%v) = %v, %v; want %s", tc.after, got, err, tc.want)
			}
		})
	}
}

// lab is services as a control-plane node has them.
var lab = map[string][]string{
	"containerd": nil, "cri": nil, "apid": {"containerd"}, "etcd": {"cri"}, "kubelet": {"cri", "etcd"}, "udevd": nil,
}

func TestStopOrderIsTheReverse(t *testing.T) {
	all := dependents(lab, []string{"containerd", "cri", "udevd"})
	for _, tc := range []struct {
		name string
		set  map[string]bool
		want []stopStep
	}{
		{"all", all, []stopStep{{"udevd", nil}, {"kubelet", nil}, {"etcd", []string{"kubelet"}}, {"cri", []string{"kubelet", "etcd"}},
			{"apid", nil}, {"containerd", []string{"apid"}}}},
		{"one with its dependents", dependents(lab, []string{"containerd"}), []stopStep{{"apid", nil}, {"containerd", []string{"apid"}}}},
		{"one that nobody needs", dependents(lab, []string{"kubelet"}), []stopStep{{"kubelet", nil}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, stopPlan{after: lab, set: tc.set}.steps()); diff != "" {
				t.Errorf("steps() differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsNotStoppedTakesNoTime(t *testing.T) {
	plan := stopPlan{after: lab, grace: map[string]time.Duration{"kubelet": time.Minute, "cri": time.Minute}, set: map[string]bool{"kubelet": true}}
	if grace, settle := plan.times("kubelet", 10*time.Second); grace != 9*time.Second || settle != time.Second {
		t.Errorf("times(kubelet, 10s) = %v, %v; want 9s, 1s", grace, settle)
	}
}

func TestTheTimeToStopIsSharedFairly(t *testing.T) {
	const s = time.Second
	plan := stopPlan{
		after: lab,
		grace: map[string]time.Duration{"containerd": 10 * s, "cri": 10 * s, "apid": 2 * s, "etcd": 20 * s, "kubelet": time.Hour},
		set:   dependents(lab, []string{"containerd", "cri", "udevd"}),
	}
	for _, tc := range []struct {
		name          string
		id            string
		left          time.Duration
		grace, settle time.Duration
	}{
		{"without a limit each has its own", "kubelet", 0, time.Hour, maxSettle},
		{"with time enough too", "apid", 60 * s, 2 * s, 3 * s},
		{"what does not run needs none", "udevd", 60 * s, 0, 0},
		{"the long ones are cut to the same length", "kubelet", 60 * s, 24 * s, 2 * s}, // 54 - 10 - 20: only one is longer
		{"the long ones are cut to the same length, two", "kubelet", 50 * s, 17501 * time.Millisecond, 1666 * time.Millisecond},
		{"the same for the one that comes then", "etcd", 20 * s, 9 * s, s},
		{"what was not used goes on to it", "etcd", 50 * s, 20 * s, 2500 * time.Millisecond},
		{"the last has all that is left", "cri", 5 * s, 4500 * time.Millisecond, 500 * time.Millisecond},
		{"who needs little loses little", "apid", 10 * s, 2 * s, 500 * time.Millisecond},
		{"next to no time", "kubelet", 1, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			grace, settle := plan.times(tc.id, tc.left)
			if grace != tc.grace || settle != tc.settle {
				t.Errorf("times(%s, %v) = %v, %v; want %v, %v", tc.id, tc.left, grace, settle, tc.grace, tc.settle)
			}
		})
	}
}
