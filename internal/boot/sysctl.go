package boot

import "context"

// Sysctl sets a parameter of the kernel.
type Sysctl struct{ key, value string }

// String returns the parameter with its value.
func (s Sysctl) String() string { return "sysctl " + s.key + "=" + s.value }

func (s Sysctl) run(_ context.Context, h *Host, _ func(string)) error {
	return h.Processes.SetSysctl(s.key, s.value)
}

// sysctls are the published parameters of a machine (contract.md, section 5.10): first those that close what an attacker could
// use, then those that Kubernetes needs.
var sysctls = []Sysctl{
	{"dev.tty.ldisc_autoload", "0"},
	{"dev.tty.legacy_tiocsti", "0"},
	{"fs.protected_symlinks", "1"},
	{"fs.protected_hardlinks", "1"},
	{"fs.protected_fifos", "2"},
	{"fs.protected_regular", "2"},
	{"fs.suid_dumpable", "0"},
	{"kernel.kptr_restrict", "2"},
	{"kernel.dmesg_restrict", "1"},
	{"kernel.perf_event_paranoid", "3"},
	{"kernel.randomize_va_space", "2"},
	{"kernel.yama.ptrace_scope", "2"},
	{"user.max_user_namespaces", "0"},
	{"kernel.unprivileged_bpf_disabled", "1"},
	{"net.core.bpf_jit_harden", "2"},
	{"vm.unprivileged_userfaultfd", "0"},

	{"net.ipv4.ip_forward", "1"},
	{"net.ipv6.conf.default.forwarding", "1"},
	{"net.ipv6.conf.all.forwarding", "1"},
	{"net.ipv6.conf.default.accept_ra", "2"},
	{"net.ipv6.conf.all.accept_ra", "2"},
	{"net.ipv4.conf.all.send_redirects", "0"},
	{"net.ipv4.conf.default.send_redirects", "0"},
	{"net.ipv4.ip_local_reserved_ports", "50000,50001"},
	{"net.ipv4.tcp_keepalive_time", "600"},
	{"net.ipv4.tcp_keepalive_intvl", "60"},
	{"kernel.panic", "10"},
	{"kernel.panic_on_oops", "1"},
	{"kernel.pid_max", "262144"},
	{"vm.overcommit_memory", "1"},
	{"fs.inotify.max_user_instances", "8192"},
	{"fs.aio-max-nr", "1048576"},
}

// bridgeSysctls exist when br_netfilter is loaded: runtime.KernelParamSpecController sets them then.
var bridgeSysctls = []Sysctl{
	{"net.bridge.bridge-nf-call-iptables", "1"},
	{"net.bridge.bridge-nf-call-ip6tables", "1"},
}

// ThreeKeys has Ctrl, Alt and Del send SIGINT to PID 1 instead of a restart at once.
type ThreeKeys struct{}

// String says so.
func (ThreeKeys) String() string { return "Ctrl-Alt-Del sends SIGINT" }

func (ThreeKeys) run(_ context.Context, h *Host, _ func(string)) error {
	return h.Machine.CtrlAltDel(false)
}
