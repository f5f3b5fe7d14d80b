package netconf

import (
	"errors"
	"testing"
)

func TestReasonIsTheSameAtEachAttempt(t *testing.T) {
	for _, tt := range []struct{ err, want string }{
		{"lookup a on 10.5.0.1:53: read udp 10.5.0.2:41234->10.5.0.1:53: i/o timeout", "lookup a on 10.5.0.1:53: read udp 10.5.0.1:53: i/o timeout"},
		{"read tcp [fd00::2]:41234->[fd00::1]:80: connection reset\nask b: no", "read tcp [fd00::1]:80: connection reset ask b: no"},
		{"no such host", "no such host"},
	} {
		if got := Reason(errors.New(tt.err)); got != tt.want {
			t.Errorf("Reason(%q) = %q; want %q", tt.err, got, tt.want)
		}
	}
}
