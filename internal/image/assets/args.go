package assets

import (
	"fmt"
	"strings"

	"talos.internal/internal/image/verity"
)

// maxArgs is the kernel's limit for its command line on x86-64, in bytes, with the zero at its end.
const maxArgs = 2048

// hardening are the arguments that the kernel always gets, each with its reason.
func hardening() []string {
	return []string{
		"slab_nomerge",                  // caches of different kinds of objects stay apart, so that a freed one of one kind is never one of another
		"pti=on",                        // the kernel's memory is out of reach for programs on processors that leak it
		"init_on_alloc=1",               // memory is zero when the kernel hands it out
		"module.sig_enforce=1",          // only Debian's signed modules
		"proc_mem.force_override=never", // nobody writes through /proc/PID/mem where the memory itself is read-only
		"printk.devkmsg=on",             // PID 1 writes its log to the kernel's, and loses no line of it
		"consoleblank=0",                // the console is the dashboard
		"panic=10",                      // before PID 1 can set it: a machine that cannot start tries again
		"gpt",                           // the backup of a partition table counts when the first one is broken
	}
}

// Args returns the command line of a kernel that boots a root file system with the parameters given, with further arguments at its
// end. It fails for one that would be too long for the kernel, or have a line break.
func Args(p verity.Params, extra []string) (string, error) {
	args := []string{"talos.platform=metal", "console=ttyS0", "console=tty0", p.Args()}
	line := strings.Join(append(append(args, hardening()...), extra...), " ")
	if len(line) >= maxArgs {
		return "", fmt.Errorf("the kernel's command line would have %d bytes; it takes at most %d", len(line), maxArgs-1)
	}
	if strings.ContainsAny(line, "\n\r\x00") {
		return "", fmt.Errorf("the kernel's command line would have more than one line: %q", line)
	}
	return line, nil
}
