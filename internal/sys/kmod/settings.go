package kmod

import (
	"strings"

	"talos.internal/internal/sys/proc"
)

// Settings are the parameters and the denied modules that a command line of the kernel has for modules:
// "nvme_core.io_timeout=60", "modprobe.blacklist=a,b", "module_blacklist=a".
func Settings(params []proc.Param) Options {
	o := Options{Args: map[string]string{}}
	for _, p := range params {
		if p.Key == "modprobe.blacklist" || p.Key == "module_blacklist" {
			for m := range strings.FieldsFuncSeq(p.Value, func(r rune) bool { return r == ',' }) {
				o.Deny = append(o.Deny, Name(m))
			}
			continue
		}
		name, word, ok := strings.Cut(p.Key, ".")
		// What has no dot is a parameter of the kernel, and "talos.x" is ours.
		if !ok || name == "" || word == "" || name == "talos" {
			continue
		}
		if p.Set {
			word += "=" + p.Value
		}
		if before := o.Args[Name(name)]; before != "" {
			word = before + " " + word
		}
		o.Args[Name(name)] = word
	}
	return o
}
