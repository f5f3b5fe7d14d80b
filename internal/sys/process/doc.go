// Package process starts, tells apart and ends processes, as PID 1 has to.
//
// PID 1 is the parent of every process whose own parent has ended, and has to collect each that ends. Waiting for any
// child at all takes the status away from whoever waits for one of them; so there is one loop that waits, [Reaper], and
// everything that PID 1 runs is started through it: [Reaper.Start] instead of exec.Cmd's Start, Run or Output. Code that
// calls these beside a running Reaper finds its child gone (ECHILD).
//
// The loop is free of races with os/exec, in this way. It only looks which child has ended (waitid with WNOWAIT), so that
// the number of the process stays taken. If the child was started here, it is collected by the Wait of its os.Process,
// which marks it as done under the lock that os.Process.Signal takes: no signal reaches a stranger with the same number.
// If it is unknown, the loop first lets the starts that are under way come to their end, and looks again: a child that
// ends before its start returns is not taken for an orphan, and a fork whose exec failed, which the syscall package
// collects itself, is left to that.
//
// [Options] are what a child shall be: user, capabilities, no_new_privs, cgroup. [Machine] are the verbs on the machine
// as a whole: host name, signals to all, reboot. [Kernel] does them, [Recorder] records them for tests.
//
// When a process is restarted, and what its output is, is not decided here. Linux only; anything may import the package
// that may import internal/sys.
package process
