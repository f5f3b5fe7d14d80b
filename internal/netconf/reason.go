package netconf

import "strings"

// Reason is the text of an error of the network without the ports of our own end, as in "read udp 10.5.0.2:41234->10.5.0.1:53: i/o
// timeout". They are others at each attempt: by Reason one sees whether the next attempt failed for the same reason.
func Reason(err error) string {
	words := strings.Fields(err.Error())
	for i, w := range words {
		if _, to, ok := strings.Cut(w, "->"); ok {
			words[i] = to
		}
	}
	return strings.Join(words, " ")
}
