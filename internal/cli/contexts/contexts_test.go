package contexts

import (
	"testing"
	"time"
)

func TestRelativeUsesTheLargestUnitThatFits(t *testing.T) {
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name string
		in   time.Duration
		want string
	}{
		{"ten years", 10 * 365 * day, "10 years from now"},
		{"a year, made a moment ago", 365*day - time.Second, "1 year from now"},
		{"seventeen months", 17 * 30 * day, "1 year from now"},
		{"two years", 730 * day, "2 years from now"},
		{"eleven months", 335 * day, "11 months from now"},
		{"three weeks", 21 * day, "3 weeks from now"},
		{"a day", day, "1 day from now"},
		{"almost a day", day - time.Minute, "1 day from now"},
		{"half a day", 12 * time.Hour, "12 hours from now"},
		{"an hour ago", -time.Hour, "1 hour ago"},
		{"two minutes", 2 * time.Minute, "2 minutes from now"},
		{"now", 0, "less than a minute from now"},
		{"a second ago", -time.Second, "less than a minute ago"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := relative(tc.in); got != tc.want {
				t.Errorf("relative(%s) = %q; want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestEndpointsAreWhatAClientCanConnectTo(t *testing.T) {
	for _, tc := range []struct {
		in       string
		endpoint bool
		node     bool
	}{
		{"10.5.0.2", true, true},
		{"fd00::2", true, true},
		{"fe80::1%eth0", true, true},
		{"lab.example.com", true, true},
		{"lab", true, true},
		{"10.5.0.2:50000", true, false},
		{"[fd00::2]:50000", true, false},
		{"lab:50000", true, false},
		{"https://lab.example.com:8443/talos", true, false},
		{"", false, false},
		{"lab:", false, false},
		{"lab:0", false, false},
		{"lab:65536", false, false},
		{"lab:http", false, false},
		{":50000", false, false},
		{"lab/x", false, false},
		{"a,b", false, false},
		{"a b", false, false},
		{"user@lab", false, false},
		{"https://", false, false},
		{"-lab", false, false},
	} {
		t.Run(tc.in, func(t *testing.T) {
			if got := isEndpoint(tc.in); got != tc.endpoint {
				t.Errorf("isEndpoint(%q) = %v; want %v", tc.in, got, tc.endpoint)
			}
			if got := isNode(tc.in); got != tc.node {
				t.Errorf("isNode(%q) = %v; want %v", tc.in, got, tc.node)
			}
		})
	}
}
